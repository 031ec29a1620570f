# The whole interface of the project. `make` alone lists it.
# Needs Python 3.11 or newer (with venv) and a package index; everything else is installed from locked requirements.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.SUFFIXES:
.SILENT:

PYTHON ?= python3
# The Python of `make test`, `make lint` and `make run`: `make test PYTHON=python3.13` gets an environment of its own.
VENV := $(if $(filter-out python3,$(notdir $(PYTHON))),.venv-$(notdir $(PYTHON)),.venv)
IMAGE ?= awsidecar
BENCH_ARGS ?=
ARGS ?=
CASES ?= 20000
DIFFERENTIAL_ARGS ?=
PYTEST_ARGS ?=
# How the sidecars of the tests call DynamoDB: json, or sdk, the reference.
LANE ?= json
UPGRADE ?=

RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
EMBEDDED := .venv-embedded/.installed
BENCH := .venv-bench/.installed
CONTRACT := .venv-contract/.installed
LOCK := .venv-lock/.installed

STUBS := clients/python
# Writes the types of the Python client's operations from the stubs.
TYPES := clients/python/tools/shapes.py
PROTOS := $(sort $(patsubst proto/%,%,$(shell find proto -name '*.proto')))
SERVICE_PROTOS := $(filter %_service.proto %/credentials.proto,$(PROTOS))
LOCKED := run build dev embedded contract lock bench

PIP_INSTALL := -m pip --disable-pip-version-check --no-input install --quiet

.PHONY: help
help: ## List the targets
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Running

.PHONY: run
run: ## Serve on 127.0.0.1:50051 with a local AWS inside (ARGS="--data-dir data" keeps its data)
	$(MAKE) --no-print-directory -j2 $(RUN) $(EMBEDDED)
	AWSIDECAR_LOG_FORMAT=$${AWSIDECAR_LOG_FORMAT:-console} exec $(VENV)/bin/awsidecar serve --embedded $(ARGS)

.PHONY: image
image: ## Build the container image (IMAGE=name)
	docker build --tag $(IMAGE) .

## Checking

.PHONY: check
check: lint breaking test ## Everything that CI runs
	$(MAKE) --no-print-directory suite LANE=sdk PYTEST_ARGS="$(PYTEST_ARGS) tests/integration"

.PHONY: test
test: contract suite ## Run all tests (PYTHON=python3.13, PYTEST_ARGS="-k name")

.PHONY: suite
suite: $(DEV) $(EMBEDDED) ## Run the tests without those of the contract (LANE=sdk calls DynamoDB by way of the SDK)
	echo "==> tests on $$($(VENV)/bin/python --version), lane $(LANE)"
	AWSIDECAR_AWS_LANE=$(LANE) $(VENV)/bin/python -m pytest $(PYTEST_ARGS)

.PHONY: test-dynamodb-local
test-dynamodb-local: $(DEV) $(EMBEDDED) ## Run the tests that use AWS's DynamoDB Local (Java, npm), both ways of the sidecar
	for lane in json sdk; do \
		echo "==> tests on DynamoDB Local, lane $$lane"; \
		AWSIDECAR_REQUIRE_ALL=1 AWSIDECAR_AWS_LANE=$$lane \
			$(VENV)/bin/python -m pytest -m dynamodb_local $(PYTEST_ARGS) tests/integration; \
	done

.PHONY: differential
differential: $(DEV) $(EMBEDDED) ## Compare CASES=20000 requests through the sidecar and without it (DIFFERENTIAL_ARGS="--lane sdk")
	$(VENV)/bin/python -m tests.differential --cases $(CASES) $(DIFFERENTIAL_ARGS)

.PHONY: bench
bench: $(BENCH) ## Measure the sidecar beside the AWS SDKs (BENCH_ARGS=--quick: the bars only)
	.venv-bench/bin/python -m benchmarks $(BENCH_ARGS)

.PHONY: batches
batches: $(DEV) ## Write 100,000 items on DynamoDB Local while it fails at random (ARGS="--items 3000")
	PYTHONPATH=.:server:clients/python $(VENV)/bin/python -m tests.integration.batches_under_faults $(ARGS)

.PHONY: long-scan
long-scan: $(BENCH) ## Scan a million items for a slow reader, and past a sidecar that is killed (ARGS="--items 20000")
	.venv-bench/bin/python -m benchmarks.long_scan $(ARGS)

.PHONY: contract
contract: $(CONTRACT) ## Compare the contract with the newest AWS service models
	echo "==> contract"
	.venv-contract/bin/python -m pytest --quiet tests/contract

.PHONY: lint
lint: $(DEV) ## Check style, types, imports, the protos and the generated stubs
	echo "==> ruff"
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	echo "==> mypy"
	$(VENV)/bin/mypy
	echo "==> import-linter"
	$(VENV)/bin/lint-imports
	echo "==> buf"
	$(VENV)/bin/buf lint
	$(VENV)/bin/buf format --diff --exit-code
	$(MAKE) --no-print-directory stubs-up-to-date

.PHONY: breaking
breaking: $(DEV) ## Check that the contract still serves the clients of the newest release
	tag=$$(git tag --list 'v*' --merged HEAD --sort=-version:refname 2>/dev/null | head -n 1 || true); \
	if [[ -z $$tag ]]; then echo "==> breaking: nothing is released yet (no tag v*)"; exit; fi; \
	echo "==> breaking: changes since $$tag"; \
	released=$$(mktemp -d); trap 'rm -rf "$$released"' EXIT; \
	git archive "$$tag" buf.yaml proto | tar -x -C "$$released"; \
	$(VENV)/bin/buf breaking --against "$$released"

.PHONY: format
format: $(DEV) ## Format Python and the protos
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/buf format --write

## Generating

# $(call generate,DIRECTORY): services get gRPC stubs, every file gets messages and their types.
define generate
$(VENV)/bin/python -m grpc_tools.protoc --proto_path=proto \
	--plugin=protoc-gen-mypy=$(VENV)/bin/protoc-gen-mypy \
	--python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS) && \
$(VENV)/bin/python -m grpc_tools.protoc --proto_path=proto \
	--plugin=protoc-gen-mypy_grpc=$(VENV)/bin/protoc-gen-mypy_grpc \
	--grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICE_PROTOS)
endef
checksums = find . -name '*_pb2*.py*' -not -path '*/__pycache__/*' -exec cksum {} + | sort -k 3

.PHONY: proto
proto: $(DEV) ## Generate the Python stubs from the protos
	find $(STUBS) -name '*_pb2*.py*' -delete
	$(call generate,$(STUBS))
	find $(STUBS)/awsidecar -type d -name v1 -exec touch {}/__init__.py {}/../__init__.py \;
	$(VENV)/bin/python $(TYPES)

.PHONY: stubs-up-to-date
stubs-up-to-date: $(DEV)
	echo "==> generated stubs"
	fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(call generate,"$$fresh"); \
	diff <(cd $(STUBS) && $(checksums)) <(cd "$$fresh" && $(checksums)) \
		|| { echo "the stubs in $(STUBS) are not those of proto/: run \`make proto\`"; exit 1; }
	$(VENV)/bin/python $(TYPES) --check

.PHONY: models
models: $(CONTRACT) ## Copy the newest AWS service models into the server
	.venv-contract/bin/python tools/aws_models.py

.PHONY: lock
lock: $(LOCK) ## Lock the requirements again (UPGRADE=--upgrade takes newer releases)
	cd requirements; for name in $(LOCKED); do \
		echo "==> requirements/$$name.txt"; \
		../.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate $(UPGRADE) "$$name.in" --output-file "$$name.txt"; \
	done

.PHONY: clean
clean: ## Remove environments, caches and builds (the data of `make run` stays)
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

## Environments: a stamp in each says that it holds what its lock file says

# $(call environment,DIRECTORY): an environment made before is kept, and so is one whose making was interrupted.
define environment
$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
[[ -x $(1)/bin/pip ]] || { echo "==> $(1): creating, with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(1); }
endef

# $(call install,DIRECTORY,NAMES): what requirements/NAME.txt lock.
define install
echo "==> $(1): installing $(2)"
$(1)/bin/python $(PIP_INSTALL) --require-hashes $(foreach name,$(2),-r requirements/$(name).txt)
endef

$(RUN): requirements/run.txt requirements/build.txt server/pyproject.toml clients/python/pyproject.toml
	$(call environment,$(VENV))
	$(call install,$(VENV),run build)
	$(VENV)/bin/python $(PIP_INSTALL) --no-index --no-deps --no-build-isolation -e clients/python -e server
	touch $@

$(DEV): requirements/dev.txt $(RUN)
	$(call install,$(VENV),dev)
	touch $@

$(EMBEDDED): requirements/embedded.txt
	$(call environment,.venv-embedded)
	$(call install,.venv-embedded,embedded)
	touch $@

$(BENCH): requirements/bench.txt server/pyproject.toml clients/python/pyproject.toml
	$(call environment,.venv-bench)
	$(call install,.venv-bench,bench)
	.venv-bench/bin/python $(PIP_INSTALL) --no-index --no-deps --no-build-isolation -e clients/python -e server
	touch $@

$(CONTRACT): requirements/contract.txt
	$(call environment,.venv-contract)
	$(call install,.venv-contract,contract)
	touch $@

$(LOCK): requirements/lock.txt
	$(call environment,.venv-lock)
	$(call install,.venv-lock,lock)
	touch $@
