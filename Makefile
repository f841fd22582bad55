PYTHON ?= python3.11
BIN := .venv/bin
TORCH ?= torch
# Two processes on two cores: a thread for each, or they wait for each other. Files are handed out as tests/conftest.py
# has them, the longest first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
  --durations 25 --durations-min 3

.PHONY: demo style test test-all docs test-newest test-oldest clean

demo: .venv/demo
	$(BIN)/evovae demo demo --overwrite

style: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: style
	$(PYTEST) -m "not slow"

test-all: style
	$(PYTEST)

docs: .venv/dev
	$(BIN)/sphinx-build -W --keep-going docs docs/_build

# Files with the newest libraries that there are, without constraints, and with the oldest that are allowed.
FILE_TESTS := tests/test_io.py tests/test_science_formats.py tests/test_web.py tests/test_cli.py
OLDEST := imagecodecs==2025.3.30 pillow==11.1.0 soundfile==0.13.0 tifffile==2026.2.24 zarr==3.1.0 \
  astropy==7.2.0 mrcfile==1.5.3 nibabel==5.3.0
test-newest: .venv-newest/bin/evovae
	.venv-newest/bin/python -m pytest $(FILE_TESTS)

test-oldest: .venv-oldest/bin/evovae
	.venv-oldest/bin/python -m pip install --quiet $(OLDEST)
	.venv-oldest/bin/python -m pytest $(FILE_TESTS)

.venv-%/bin/evovae: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet $(TORCH)
	.venv-$*/bin/python -m pip install --quiet --editable ".[all]" pytest hypothesis httpx

.venv/demo .venv/dev: .venv/%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(if $(filter dev,$*),dev,all)]"
	touch $@

clean:
	rm -rf .venv .venv-newest .venv-oldest demo docs/_build docs/tutorials
