# Everything a contributor runs. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin

.PHONY: help setup demo test test-all lint format bench clean

help:
	@echo "make setup     create $(VENV) with the tested versions"
	@echo "make demo      export a real model for the Raspberry Pi 4 and for Android, and verify it"
	@echo "make test      what a contributor runs, under 10 minutes on 2 cores"
	@echo "make test-all  also the emulated boards and the large models"
	@echo "make lint      format, style, types, import contracts"
	@echo "make bench     the figures that README quotes"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("edgeexport needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/edgeexport demo

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-all: setup
	$(BIN)/python -m pytest -n $(WORKERS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache demo-bundle demo-bundle-phone sample_apps/browser/node_modules sample_apps/browser/dist
