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

.PHONY: help setup demo test test-long fuzz bench bench-deps sanitize core engine lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 17
	@sed -n 's/^# \(.*\)/\1/p' $(MAKEFILE_LIST)

setup:  ## system packages, .venv, pinned packages, MinkowskiEngine; does only what is missing
	@$(or $(PYTHON),python3) tools/setup.py --venv='$(VENV)' --apt='$(APT)' --cuda='$(CUDA)' --pip-args='$(PIP_ARGS)'

demo: setup  ## simulate, train, distil, evaluate: one table, the pictures and a report for a browser
	@$(BIN) tools/demo.py

test: setup  ## all tests, in one process per core and at most four; TESTS=tests/boxes for some, in one
	@$(BIN) -m pytest $(or $(TESTS),-n auto --maxprocesses 4 --dist worksteal)

test-long: setup  ## kills, full disks, lost processes, growth of memory; TESTS=tests/long/test_kills.py for a part
	@$(BIN) -m pytest -v -o timeout=1200 $(or $(TESTS),tests/long)

fuzz: setup  ## 100,000 mutated files through every reader, twenty minutes at most
	@$(BIN) tests/fuzz/fuzz.py --inputs 100000 --minutes 20

bench: setup engine  ## speed beside peers, to benchmark.json; BENCH="--only knn" for some rows
	@$(BIN) tools/benchmark.py --json benchmark.json $(BENCH)

bench-deps: setup  ## what only the benchmark's peers need (spconv); nothing else needs it
	@$(BIN) -m pip --disable-pip-version-check install -q $(PIP_ARGS) -c requirements.txt -r requirements-bench.txt

## The sanitizers' libraries must come before all others of the process (LD_PRELOAD), and with them the C++ library, whose
## exceptions they watch. Python and torch never free some of their memory, so leaks are not looked for.
SANITIZED = tests/sparse tests/points tests/distill tests/models tests/native/test_operators.py
PRELOADED = $(foreach name,libasan.so libubsan.so libstdc++.so,$(shell $(or $(CXX),c++) -print-file-name=$(name)))
sanitize: export MINK_PD_SANITIZE = 1
sanitize: setup  ## the compiled operators under address and undefined-behaviour sanitizers, through their tests
	@$(BIN) -m mink_pd.native.build
	@LD_PRELOAD="$(PRELOADED)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(BIN) -m pytest -o timeout=1200 $(or $(TESTS),$(SANITIZED))

## Needs cmake; for aarch64 Debian's g++-aarch64-linux-gnu and qemu-user. The engine's files are written by Python.
CORE = cmake -S mink_pd/native/csrc -DMINK_PD_TESTS=$(CURDIR)/tests/native
core: setup  ## core and engine without torch, by cmake: their tests here, under sanitizers, and for aarch64 in an emulator
	@$(CORE) -B build/core && cmake --build build/core -j 4 && build/core/core_tests
	@$(CORE) -B build/core-address -DMINK_PD_SANITIZE=address && cmake --build build/core-address -j 4 && build/core-address/core_tests
	@$(CORE) -B build/core-thread -DMINK_PD_SANITIZE=thread && cmake --build build/core-thread -j 4 && build/core-thread/core_tests
	@$(CORE) -B build/core-aarch64 --toolchain $(CURDIR)/mink_pd/native/csrc/aarch64.cmake -DMINK_PD_TUNE=-march=armv8.2-a+dotprod && cmake --build build/core-aarch64 -j 4
	@ctest --test-dir build/core-aarch64 --output-on-failure
	@$(BIN) tests/native/engine_builds.py build/core build/core-address build/core-thread build/core-aarch64

## Where the system has no cmake, PyPI's.
CMAKE = $(or $(shell command -v cmake),build/cmake/bin/cmake)
build/cmake/bin/cmake:
	@$(or $(PYTHON),python3) -m venv build/cmake && build/cmake/bin/pip --disable-pip-version-check install -q $(PIP_ARGS) cmake
engine: $(if $(shell command -v cmake),,build/cmake/bin/cmake)  ## libminkpd and minkpd-detect, in build/engine; needs a C++ compiler, and no Python where cmake is
	@mkdir -p build && $(CMAKE) -S mink_pd/native/csrc -B build/engine > build/engine.log || { cat build/engine.log; exit 1; }
	@MAKEFLAGS=--no-print-directory $(CMAKE) --build build/engine -j 4 --target minkpd-detect
	@ls -l build/engine/libminkpd.so build/engine/minkpd-detect

lint: setup  ## ruff's rules and format, mypy, clang-format
	@$(BIN) -m ruff check mink_pd benchmarks tools viz tests
	@$(BIN) -m ruff format --check mink_pd benchmarks tools viz tests
	@$(BIN) -m mypy mink_pd benchmarks tools viz
	@$(dir $(shell command -v $(BIN)))clang-format --dry-run -Werror $$(find mink_pd/native tests/native examples -name '*.cpp' -o -name '*.h')

clean:  ## remove caches and build folders; .venv, runs and data stay
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find mink_pd benchmarks tools viz tests -name __pycache__ -prune -exec rm -rf {} +
