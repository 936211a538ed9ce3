# Every target builds its own environment in .venv first: exact pins, about 2 GB, a few minutes once.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# Idle OpenMP threads must not spin: two of them beside another process cost a factor of 25.
export OMP_WAIT_POLICY := PASSIVE
# Seconds after which a test that is not slow is told to hang, by name, and the others go on.
HANGS := 600
# The pins also hold for what pip installs to build the package.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo notebooks test test-all bench mutants lint

help: ## list the targets
	@echo "make <target>; PYTHON=python3.12 chooses another interpreter (3.11 or newer)"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(READY) ## run the whole chain on phantom patients, into demo/
	$(BIN)/medssl demo out=demo

notebooks: $(READY) ## execute the notebooks, with outputs, into build/notebooks/
	$(BIN)/python -m notebooks.execute build/notebooks

test: export OMP_NUM_THREADS := 1
test: $(READY) ## run the tests, except the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/benchmarks --timeout $(HANGS)

test-all: export OMP_NUM_THREADS := 1
test-all: $(READY) ## run the tests, with the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/benchmarks -m ''

bench: $(READY) ## time what the documentation gives figures for
	$(BIN)/python -m pytest tests/benchmarks -m '' -s -n 0

mutants: export OMP_NUM_THREADS := 1
mutants: $(READY) ## break the methods line by line, and see that a test fails each time
	$(BIN)/python -m tests.mutants.run

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "medssl needs Python 3.11 or newer, and $(PYTHON) is not:" >&2; \
	  $(PYTHON) --version >&2; \
	  echo "Fix: install one and run make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "installing into .venv: about 2 GB, 1 to 5 minutes"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dicom,dev]'
	@$(BIN)/python --version
	@touch $@
