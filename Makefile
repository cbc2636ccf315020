# Every target sets up what it needs in .venv on a fresh machine, and is quick when that is done already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SETUP := $(VENV)/.installed-dev

.PHONY: demo test test-slow lint format bench docs clean

demo: $(VENV)/.installed ## train both stages on glyphs and open the report: minutes
	$(BIN)/caselli demo

test: $(SETUP) ## the suite, under ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(SETUP) ## what the suite leaves out
	$(BIN)/python -m pytest -m slow

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench ## ours and the peers in turn, in one process
	$(BIN)/python -m bench

docs: $(VENV)/.installed ## the figures and tables of docs/, from the commands they name
	$(BIN)/python docs/build.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[eyes]'
	@touch $@

$(SETUP): $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(SETUP)
	$(PIP) install -q -c constraints.txt -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) demo
