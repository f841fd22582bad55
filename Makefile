PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test test-all check clean

demo: .venv/demo
	$(BIN)/evovae demo demo

test: .venv/dev
	$(BIN)/python -m pytest -m "not slow"

test-all: .venv/dev
	$(BIN)/python -m pytest

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow"

.venv/demo .venv/dev: .venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(if $(filter dev,$*),dev,all)]"
	touch $@

clean:
	rm -rf .venv demo
