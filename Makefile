# make train   train on the digits and print the test accuracy, e.g. make train ARGS=--config.seed=1
# make test    lint, types and the quick tests, e.g. make test ARGS="-k fused"
# Both set up .venv first, if it is missing or out of date. Another Python: make test PYTHON=python3.13

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
VERSION := $(shell $(PYTHON) -c "import sys; print('%d%d' % sys.version_info[:2])" 2>/dev/null)
CONSTRAINTS := $(wildcard constraints/py$(VERSION).txt)
STAMP := $(VENV)/complete-py$(VERSION)
SOURCES := senet_jax train configs tests

.PHONY: train test test-slow test-lowest lint format setup clean

train: $(STAMP)
	$(PY) -m train --config=configs/digits.py --workdir=runs/digits $(ARGS)

test: lint
	$(PY) -m pytest $(ARGS)

test-slow: $(STAMP)
	$(PY) -m pytest -m slow $(ARGS)

# The oldest versions that pyproject.toml allows, in an environment of their own.
test-lowest:
	@$(MAKE) --no-print-directory VENV=.venv-lowest CONSTRAINTS=constraints/lowest.txt test-core

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

setup: $(STAMP)

clean:
	rm -rf .venv* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./.*" -exec rm -rf {} +

# The stamp is written last and taken away first: a set-up that was interrupted starts from nothing,
# one that is only out of date is brought up to date.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c "import sys" || { \
	  echo "$(PYTHON) does not run: install Python 3.11, 3.12 or 3.13, or name one with make PYTHON=..."; exit 1; }
	@test -n "$(CONSTRAINTS)" || { \
	  echo "$(PYTHON) is Python $$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'), and this project is tested with 3.11, 3.12 and 3.13: name one of them, as in make PYTHON=python3.13 ..."; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" || { \
	  echo "$(PYTHON) cannot make a virtual environment (its venv or ensurepip is missing): on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (one to three minutes, about 1.5 GB) ..."
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/complete-*
	@$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@
