# Turnout. `make help` lists what there is.

PYTHON := $(or $(PYTHON),$(shell command -v python3.11 2>/dev/null),$(shell command -v python3 2>/dev/null),python3)
BIN := .venv/bin

STORE ?= model_store
LISTEN ?= 127.0.0.1:8001
METRICS ?= 127.0.0.1:9464
SERVE_ARGS ?=
JOURNAL ?= build/journal
DEMO_ARGS ?=
EXPERIMENT_ARGS ?=
MODELS_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
FUZZ_SECONDS ?= 60
FUZZ_ARGS ?=

export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help

##@ Use

.PHONY: run
run: setup ## Set up, then serve model_store/ on 127.0.0.1:8001 (STORE, LISTEN, METRICS, JOURNAL, SERVE_ARGS)
	@exec $(BIN)/turnout serve --store $(STORE) --listen $(LISTEN) --metrics $(METRICS) \
	    --set journal.path=$(JOURNAL) $(SERVE_ARGS)

.PHONY: demo
demo: setup ## Send real requests to a running gateway and watch who answers (LISTEN, DEMO_ARGS)
	@exec $(BIN)/python clients/python/examples/demo.py --target $(LISTEN) $(DEMO_ARGS)

.PHONY: experiment
experiment: setup-dev ## Set up, then run a whole experiment with simulated shoppers, on a gateway of its own (EXPERIMENT_ARGS)
	@exec $(BIN)/python clients/python/examples/experiment.py --store $(STORE) $(EXPERIMENT_ARGS)

##@ Develop

# What tests the tools, and not what serves. `make test` doesn't look into these folders, unless PYTEST_ARGS names them.
TOOLS := tests/benchmarks tests/load tests/pipelines tests/soak

.PHONY: test
test: setup-dev ## Set up, then run every test but the tools' and show the coverage (PYTEST_ARGS="tests/routing -x")
	$(BIN)/python -m pytest -o norecursedirs=".* $(TOOLS)" --cov --cov-report=term $(PYTEST_ARGS)

.PHONY: test-tools
test-tools: setup-dev ## Set up, then run the tests of load generator, benchmarks, pipelines and soak; adds to the coverage
	$(BIN)/python -m pytest --cov --cov-append --cov-report=term $(TOOLS) $(PYTEST_ARGS)

.PHONY: test-engine
test-engine: setup-dev ## Set up, then run the engine's own tests, with cargo
	@$(BUILD_ENGINE) test

# But for the tests of `turnout bench`, a client that no plane is a part of.
.PHONY: test-portable
test-portable: setup-dev ## Set up, then run the end-to-end tests on Python's data plane, as where there is no engine
	TURNOUT_TEST_DATA_PLANE=python $(BIN)/python -m pytest tests/e2e --ignore=tests/e2e/test_bench.py $(PYTEST_ARGS)

.PHONY: test-loadgen
test-loadgen: ## Check and test the load generator of the benchmarks, with cargo
	@if command -v cargo >/dev/null; then cd benchmarks/loadgen && cargo fmt --check && \
	    CARGO_TARGET_DIR=../../engine/target cargo clippy --all-targets --locked -- -D warnings && \
	    CARGO_TARGET_DIR=../../engine/target cargo test --locked; \
	else echo "no cargo here: the load generator is not tested"; fi

.PHONY: check-fuzz
check-fuzz: setup-dev ## Check the fuzz targets of the engine, with cargo
	@if command -v cargo >/dev/null && command -v c++ >/dev/null; then \
	    CARGO_TARGET_DIR="$(CURDIR)/engine/target" $(BIN)/python -m fuzz --check; \
	else echo "no cargo or no C++ compiler here: the fuzz targets of the engine are not checked"; fi

.PHONY: soak
soak: setup-dev ## Set up, then try a server with everything at once, for a minute (SOAK_ARGS="--seconds 600")
	@$(BIN)/python -m tests.soak $(SOAK_ARGS)

# Nobody else needs atheris, nor a build of the engine that counts what is reached.
.PHONY: fuzz
fuzz: setup-dev ## Set up, then try every parser with what nobody would send, a minute each (FUZZ_SECONDS, FUZZ_ARGS="infer")
	@$(PYTHON) requirements/install.py fuzz
	@$(BIN)/python -m fuzz --check
	@$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

# Every check runs, also after one has failed; what failed is listed at the end.
CHECKS := ruff format types imports protos breaking stubs docker rust

.PHONY: check
check: setup-dev ## Set up, then run every check: style, types, imports, protos and what they broke, stubs, Dockerfile, Rust
	@failed=; for check in $(CHECKS); do \
	    echo "== $$check"; $(MAKE) --no-print-directory check-$$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; else echo "all checks passed"; fi

.PHONY: $(CHECKS:%=check-%)
check-ruff:
	@$(BIN)/ruff check .
check-format:
	@$(BIN)/ruff format --check .
check-types:
	@$(BIN)/mypy
check-imports:
	@PYTHONPATH=server:clients/python $(BIN)/lint-imports
check-protos:
	@$(BIN)/buf lint
check-breaking:
	@git cat-file -e "$$(cat protos/baseline)^{commit}" 2>/dev/null || { \
	    echo "protos/baseline names $$(cat protos/baseline), which is not in this clone: git fetch --unshallow"; exit 1; }
	@$(BIN)/buf breaking --against ".git#ref=$$(cat protos/baseline)"
check-stubs:
	@$(BIN)/python protos/generate.py --check
check-docker:
	@$(BIN)/hadolint Dockerfile
check-rust:
	@$(BIN)/python -m engine.licenses --check
	@$(BUILD_ENGINE) check

.PHONY: fmt
fmt: setup-dev ## Sort imports, fix what can be fixed, format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	@$(BUILD_ENGINE) format

##@ Measure

BENCH = $(BIN)/python -m benchmarks

.PHONY: bench
bench: setup-bench ## Set up, then measure what a call costs, beside other servers; some minutes (BENCH_ARGS="--help", here and below)
	@$(BENCH) field $(BENCH_ARGS)

.PHONY: bench-hotpath
bench-hotpath: setup-bench ## Set up, then measure what a request costs in process, step by step
	@$(BENCH) hotpath $(BENCH_ARGS)

.PHONY: bench-overload
bench-overload: setup-bench ## Set up, then ask more of a model than it can do, and look at all callers
	@$(BENCH) overload $(BENCH_ARGS)

.PHONY: bench-attack
bench-attack: setup-bench ## Set up, then attack a gateway by what HTTP/2 allows, and look at its neighbour
	@$(BENCH) attack $(BENCH_ARGS)

.PHONY: bench-reload
bench-reload: setup-bench ## Set up, then reload a large model while another one is asked
	@$(BENCH) reload $(BENCH_ARGS)

.PHONY: bench-experiments
bench-experiments: setup-bench ## Set up, then look at simulated experiments after every batch, and count who is misled
	@$(BENCH) experiments $(BENCH_ARGS)

##@ Make

# Into an empty store first: a failure leaves model_store/ as it is, and versions are numbered from 1 again.
.PHONY: models
models: ## Set up, then train, evaluate, export and publish the models of model_store/ anew (MODELS_ARGS)
	@$(PYTHON) requirements/install.py pipelines
	rm -rf build/model_store
	PYTHONPATH=. $(BIN)/python -m pipelines --store build/model_store $(MODELS_ARGS)
	rm -rf $(STORE)/models $(STORE)/samples
	mkdir -p $(STORE)
	cp -R build/model_store/models build/model_store/samples $(STORE)/

.PHONY: protos
protos: setup-dev ## Generate the Python stubs from protos/
	$(BIN)/python protos/generate.py

.PHONY: typescript
typescript: setup-dev ## Generate and compile the TypeScript client's stubs, with npm and buf
	@$(BIN)/python clients/typescript/build.py

# uv keeps what is locked already, unless LOCK_ARGS="--upgrade" or "--upgrade-package grpcio" says otherwise.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" $(LOCK_ARGS)

.PHONY: lock
lock: setup-dev ## Lock the requirements again, after a change in pyproject.toml or requirements/*.in (LOCK_ARGS)
	$(COMPILE) pyproject.toml --extra server -o requirements/server.txt
	$(COMPILE) requirements/build.in -c requirements/server.txt -o requirements/build.txt
	$(COMPILE) requirements/engine.in -c requirements/build.txt -o requirements/engine.txt
	$(COMPILE) pyproject.toml --extra pipelines --extra experiments --no-emit-package torch requirements/build.in requirements/dev.in \
	    -c requirements/server.txt -c requirements/build.txt -o requirements/dev.txt
	$(COMPILE) requirements/fuzz.in -c requirements/dev.txt -o requirements/fuzz.txt
	$(COMPILE) requirements/uv.in -c requirements/dev.txt -o requirements/uv.txt
	$(COMPILE) requirements/bench.in -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) pyproject.toml --extra pipelines -c requirements/dev.txt --no-emit-package torch \
	    -o requirements/pipelines.txt
	$(COMPILE) --no-config requirements/torch.in -c requirements/pipelines.txt -o requirements/torch.txt
	$(BIN)/python -m engine.licenses

# A wheel of the engine in dist/, else one that cargo builds, else none: engine/build.py.
BUILD_ENGINE = $(BIN)/python -m engine.build

.PHONY: wheel
wheel: setup-dev ## Set up, then make the wheels of Turnout and of its engine in dist/
	@$(BIN)/python -m pip wheel -qq --no-deps --no-index --no-build-isolation --wheel-dir dist .
	@$(BUILD_ENGINE) wheel

.PHONY: setup
setup:
	@$(PYTHON) requirements/install.py server
	@$(BUILD_ENGINE) install

.PHONY: setup-dev
setup-dev:
	@$(PYTHON) requirements/install.py dev
	@$(BUILD_ENGINE) install

.PHONY: setup-bench
setup-bench:
	@$(PYTHON) requirements/install.py dev bench
	@$(BUILD_ENGINE) install

.PHONY: clean
clean: ## Remove what was generated here, .venv included
	rm -rf .venv .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist \
	    engine/target clients/typescript/node_modules clients/typescript/dist clients/*/gen
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this
	@awk 'BEGIN { FS = ":.*## " } \
	    /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	    /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
