# Two commands for a fresh machine with Python 3.11 or newer: `make up` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DATA ?= data

.PHONY: help up test lint types slow browser bench clean

help:            ## what there is
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(VENV)/.server: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[server,demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

up: $(VENV)/.server  ## set everything up and run it on demo traffic
	$(BIN)/spanfold up --demo --data $(DATA)

test: $(VENV)/.dev   ## set everything up and run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope

lint: $(VENV)/.dev   ## ruff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy --strict
	$(BIN)/mypy

slow: $(VENV)/.dev   ## fault, fuzz and load runs
	$(BIN)/python -m pytest -m slow

browser: $(VENV)/.dev  ## headless Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pytest -m browser

bench: $(VENV)/.dev  ## the benchmark of docs/benchmarks.md
	$(BIN)/python benchmarks/run.py

clean:           ## forget the virtual environment
	rm -rf $(VENV)
