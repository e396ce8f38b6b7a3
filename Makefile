# The commands that a person runs and that CI runs, as they stand.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow test-browser test-live results lint types imports check bench models clean

$(BIN)/ets: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[local]"
	@touch $@

$(VENV)/.dev: $(BIN)/ets pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[local,cbc,report]" --group test --group lint
	@touch $@

demo: $(BIN)/ets  ## a fresh environment, the package, one search on an example problem
	$(BIN)/ets solve --example

test: $(VENV)/.dev  ## the default suite
	$(BIN)/python -m pytest

test-slow: $(VENV)/.dev  ## what takes longer than the default suite should
	$(BIN)/python -m pytest -m "slow and not live"

test-browser: $(VENV)/.dev  ## the page of a search in headless Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pip install --quiet --group browser
	$(BIN)/python -m pytest -m browser

test-live: $(VENV)/.dev  ## what needs something that is not in this repository; says what it skips, and why
	$(BIN)/python -m pytest -m live

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev  ## which room may import which
	$(BIN)/lint-imports

check: lint types imports test  ## all that must pass before a commit

results: $(VENV)/.dev  ## docs/results.md and its plots again, from the records in docs/results
	$(BIN)/python docs/make_results.py

bench: $(VENV)/.dev  ## selection: HiGHS against PuLP/CBC on the same programmes
	$(BIN)/python benchmarks/selection.py

models:  ## the miniature models from nothing, in an environment of their own (half an hour on two cores)
	training/make-models

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
