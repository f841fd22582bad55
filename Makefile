PYTHON ?= python3.11
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: demo test test-all check clean

demo: .venv/demo
	$(BIN)/evovae demo demo --overwrite

test: .venv/dev
	$(PYTEST) -m "not slow"

test-all: .venv/dev
	$(PYTEST)

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m "not slow"

.venv/demo .venv/dev: .venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(if $(filter dev,$*),dev,all)]"
	touch $@

clean:
	rm -rf .venv demo
