# Every target sets up what it needs in .venv on a fresh machine, and is quick when that is done already.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SETUP := $(VENV)/.installed-dev

KATEX := docs/.katex/node_modules/katex
SITE := build/site

.PHONY: demo test test-slow test-wheel chaos lint format browser bench docs site clean

demo: $(VENV)/.installed ## train both stages on glyphs and open the report: minutes
	$(BIN)/caselli demo

test: $(SETUP) ## the suite, under ten minutes on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(SETUP) ## what the suite leaves out
	$(BIN)/python -m pytest -m slow

test-wheel: $(SETUP) ## the built wheel: its contents, and the demo from it, in seconds
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

chaos: $(SETUP) ## kills, faults and made-up inputs: an hour and more
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/chaos
	$(BIN)/python -m tests.chaos.fuzz --seconds 60

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

browser: $(SETUP) ## what the studio's tests in a browser need; without it they are skipped
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	  || echo "no chromium, and no apt-get to get it by: the tests in a browser are skipped"
	@command -v npm >/dev/null && npm install --silent --no-audit --no-fund --prefix $(VENV)/axe axe-core@4.14.1 \
	  || echo "no npm: axe-core does not judge the pages"

bench: $(VENV)/.installed-bench ## ours and the peers in turn, in one process
	$(BIN)/python -m bench

docs: $(VENV)/.installed ## the figures and tables of docs/, from the commands they name
	$(BIN)/python docs/build.py

site: $(VENV)/.installed-site $(KATEX) ## the guide, the reference and the gallery as pages in build/site
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs $(SITE)
	$(BIN)/python docs/site/check.py $(SITE)

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

$(VENV)/.installed-site: $(VENV)/.installed
	$(PIP) install -q -c constraints.txt -e '.[site]'
	@touch $@

$(KATEX): | $(VENV)/.installed-site
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/npm install --silent --no-package-lock --prefix docs/.katex katex@0.19.1

clean:
	rm -rf $(VENV) demo build docs/.katex docs/reference docs/gallery
