# One command each. `make run` and `make test` set up whatever is missing: system headers, the virtual environment,
# the native modules and the protobuf stubs. Each step leaves a stamp, so a second run only does what changed.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
JOBS   := $(shell nproc 2>/dev/null || echo 1)
NATIVE := $(shell find _native proto -type f 2>/dev/null)
# One more than there are cores: many tests wait for processes that they started.
PYTEST := $(PY) -m pytest -n $(shell expr $(JOBS) + 1) $(PYTESTFLAGS)
PIP    := $(PY) -m pip install -q --disable-pip-version-check
COMPILE = scripts/step.sh "native modules, compiled on $(JOBS) cores" $(PY) setup.py -q build_ext --inplace -j $(JOBS)
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help build native tools run check test wheel bench soak conformance lint debug clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(PY):
	@scripts/system.sh venv $(PYTHON)
	@scripts/step.sh "virtual environment in $(VENV)" $(PYTHON) -m venv $(VENV)

# What running needs comes first, so that `make run` waits for nothing else; `make test` adds the rest.
$(VENV)/.run: pyproject.toml | $(PY)
	@scripts/system.sh headers $(PY)
	@$(PY) -m scripts.requirements build admin redis >$@.txt
	@scripts/step.sh "packages to build and run, by pip" $(PIP) -r $@.txt
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.run
	@$(PY) -m scripts.requirements build dev >$@.txt
	@scripts/step.sh "packages to test, by pip" $(PIP) -r $@.txt
	@touch $@

build/.native: $(NATIVE) setup.py $(VENV)/.run
	@$(COMPILE)
	@touch $@

# After the compiler, whose results pip's own run of setup.py finds and keeps.
$(VENV)/.installed: pyproject.toml setup.py | build/.native
	@scripts/step.sh "prism-proxy and prism-admin in $(VENV)/bin" $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

build: $(VENV)/.dev build/.native $(VENV)/.installed ## set up .venv, the native modules, the stubs and .venv/bin/prism-proxy

native: $(VENV)/.run ## rebuild the native modules and stubs in place
	@$(COMPILE)

tools: build ## build the pinned test clients into .tools/ (needs Go)
	@$(PY) -m scripts.tools

run: build/.native $(VENV)/.installed ## start an admin and a proxy on 127.0.0.1:8980, make first calls, keep serving until Ctrl-C
	@$(PY) -m examples.run

check: build ## the quick tests: one module each, native code, and the contracts over the memory store
	$(PYTEST) -m check

test: build tools ## every test in its short form
	$(PYTEST)

wheel: build ## a wheel in dist/ that needs no compiler and no libraries where it is installed
	@$(PY) -m scripts.wheel

conformance: build tools ## h2spec and the gRPC interoperability cases only
	$(PYTEST) -m conformance

bench: build ## measure the server beside its baselines
	@$(PIP) --no-build-isolation -e '.[dev,bench]'
	$(PY) -m benchmarks
	$(PY) -m benchmarks.stores
	$(PY) -m benchmarks.messaging
	$(PY) -m benchmarks.queue_depth
	$(PY) -m benchmarks.messaging.envelope
	$(PY) -m benchmarks.sqlite_queue
	$(PY) -m benchmarks.crypto
	$(PY) -m benchmarks.object_streams
	$(PY) -m benchmarks.payloads
	$(PY) -m benchmarks.admin
	$(PY) -m benchmarks.cluster
	$(PY) -m benchmarks.floods
	$(PY) -m benchmarks.schema
	$(PY) -m benchmarks.registry

soak: build tools ## the same tests with their full durations, then full load for SOAK_MINUTES (30)
	PRISM_SOAK=1 $(PYTEST) --timeout 7200
	$(PY) -m benchmarks.soak --minutes $(or $(SOAK_MINUTES),30)

lint: build ## ruff, mypy, cython-lint, import-linter
	ruff check .
	mypy
	cython-lint _native
	lint-imports

debug: build tools ## native, contract, conformance and fuzz tests under the address and undefined-behaviour sanitizers
	$(PY) -m scripts.sanitize $(PYTESTFLAGS)

clean: ## remove what the build made; keep .venv and .tools
	rm -rf build dist prism prism_proxy/_native .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
