# Leukoscope. `make` alone lists what one can do. Needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VENDORED := static/vendor/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run deps test test-fast bench screenshots lint lint-style format lock clean

help: ## list these targets
	@echo 'Leukoscope: reading blood smears for leukemia. Research use only.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@echo 'PYTHON=python3.12 picks the Python, PORT and HOST the address, ARGS="..." is handed on to pytest and benchmarks.'

run: deps ## start everything at http://127.0.0.1:8000/ (PORT=8001, HOST=0.0.0.0 override); Ctrl-C stops it
	@exec $(BIN)/python -m webapp.serve

deps: $(INSTALLED) $(VENDORED) ## install what is needed into .venv and static/vendor (run, test and others do it themselves)

# What starts no browser, broker or server of its own runs in as many processes as there are cores, up to four.
test: deps ## run all tests (ARGS="tests/ml -k saliency" for some)
ifeq ($(strip $(ARGS)),)
	@failed=0; \
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile tests/diagnosis tests/ml || failed=1; \
	$(BIN)/python -m pytest --ignore=tests/diagnosis --ignore=tests/ml || failed=1; \
	exit $$failed
else
	@$(BIN)/python -m pytest $(ARGS)
endif

test-fast: deps ## run the tests that need no browser, broker or database server
	@$(BIN)/python -m pytest -m "not slow and not browser and not broker and not postgres and not data" $(ARGS)

bench: deps ## measure speed and memory (medians and ratios of this machine)
	@$(BIN)/python -m benchmarks $(ARGS)

lint: lint-style ## check style and types
	@$(BIN)/python -m mypy ml diagnosis/services webapp

screenshots: deps ## take every page, light and dark, wide and narrow, into build/screenshots
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

lint-style: deps
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: deps ## format the code
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

lock: ## write constraints.txt anew (with Python 3.11, whose versions 3.12 and 3.13 can install too)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "The lock is written with Python 3.11: make lock PYTHON=python3.11")'
	@$(PYTHON) -m webapp.lock

clean: ## remove what was installed and built; your data in var/ stay
	rm -rf $(VENV) node_modules static/vendor build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Leukoscope needs Python 3.11, 3.12 or 3.13, and this is %d.%d: name another with PYTHON=python3.12." % v)'
	@test -x $(BIN)/python || echo 'Installing Python packages into .venv (the first time takes some minutes) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'Python could not make a virtual environment: on Debian and Ubuntu, install python3-venv.'; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt --constraint constraints.txt
	@touch $@

$(VENDORED): package.json package-lock.json webapp/vendor.py $(INSTALLED)
	@$(BIN)/python -m webapp.vendor
	@touch $@
