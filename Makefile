# VENV=none takes the active environment (conda); PIP_ARGS adds to every pip install, for instance an index or a
# folder that holds the CPU build of torch; APT=skip leaves system packages alone; PYTHON names the interpreter.
# CUDA=1 builds for a GPU (TORCH_CUDA_ARCH_LIST=8.6 where there is none), CUDA=0 for the CPU again.
VENV ?= .venv
APT ?= auto
CUDA = auto
ifeq ($(VENV),none)
PYTHON ?= python
BIN := $(PYTHON)
else
PYTHON ?= $(shell for p in $(VENV)/bin/python python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
BIN := $(VENV)/bin/python
endif

.PHONY: help setup demo test bench bench-deps lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 17
	@sed -n 's/^# \(.*\)/\1/p' $(MAKEFILE_LIST)

setup:  ## system packages, .venv, pinned packages, MinkowskiEngine; does only what is missing
	@$(or $(PYTHON),python3) tools/setup.py --venv='$(VENV)' --apt='$(APT)' --cuda='$(CUDA)' --pip-args='$(PIP_ARGS)'

demo: setup  ## simulate, train, distil, evaluate: one table, the pictures and a report for a browser
	@$(BIN) tools/demo.py

test: setup  ## all tests; TESTS=tests/boxes for some
	@$(BIN) -m pytest $(TESTS)

bench: setup  ## speed beside peers, to benchmark.json; BENCH="--only knn" for some rows
	@$(BIN) tools/benchmark.py --json benchmark.json $(BENCH)

bench-deps: setup  ## what only the benchmark's peers need (spconv); nothing else needs it
	@$(BIN) -m pip --disable-pip-version-check install -q $(PIP_ARGS) -c requirements.txt -r requirements-bench.txt

lint: setup  ## ruff's rules and format, and mypy
	@$(BIN) -m ruff check mink_pd benchmarks tools viz tests
	@$(BIN) -m ruff format --check mink_pd benchmarks tools viz tests
	@$(BIN) -m mypy mink_pd benchmarks tools viz

clean:  ## remove caches and build folders; .venv, runs and data stay
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find mink_pd benchmarks tools viz tests -name __pycache__ -prune -exec rm -rf {} +
