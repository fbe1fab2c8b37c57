# make train   train on the digits and print the test accuracy, e.g. make train ARGS=--config.seed=1
# make test    lint, types, docs and the quick tests, e.g. make test ARGS="-k gates"
# Both set up .venv first where it is missing or out of date; make test PYTHON=python3.13 takes
# another Python for it. CONTRIBUTING.md lists the rest.

PYTHON ?= python3
VENV ?= .venv
EXTRA ?= dev
ARGS ?=

PY := $(VENV)/bin/python
VERSION := $(shell $(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)
CONSTRAINTS ?= $(wildcard constraints/py$(subst .,,$(VERSION)).txt)
STAMP := $(VENV)/complete-$(VERSION)

.PHONY: train test test-slow test-lowest pytest lint format docs notebooks setup constraints clean

train: $(STAMP)
	$(PY) -m train --config=configs/digits.py --workdir=runs/digits $(ARGS)

test: lint docs pytest

test-slow: $(STAMP)
	$(PY) -m pytest -m slow $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(STAMP)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# The site, as build/docs/index.html; -E reads everything anew, so that every warning is seen.
docs: $(STAMP)
	JAX_PLATFORMS=cpu $(PY) -m sphinx --quiet --fail-on-warning --keep-going -E docs build/docs

# Runs the notebooks and writes what they show to docs/notebooks.
notebooks: $(STAMP)
	$(PY) -m notebooks.render $(ARGS)

# The oldest versions that pyproject.toml allows, on Python 3.11: the library, then all with the trainer.
test-lowest:
	@$(MAKE) --no-print-directory pytest VENV=.venv-lowest CONSTRAINTS=constraints/lowest.txt \
	  EXTRA=plot,hub,test ARGS="--ignore=tests/train --ignore=tests/test_loading.py $(ARGS)"
	@$(MAKE) --no-print-directory pytest VENV=.venv-lowest-train \
	  CONSTRAINTS=constraints/lowest-train.txt EXTRA=train,plot,hub,test

pytest: $(STAMP)
	$(PY) -m pytest -n auto --dist loadfile $(ARGS)

setup: $(STAMP)

# The stamp is written last and taken away first: a set-up that was interrupted starts from nothing,
# one that is only out of date is brought up to date.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n "$(VERSION)" || { echo "'$(PYTHON)' does not run." \
	  "Install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3."; exit 1; }
	@test -n "$(CONSTRAINTS)" || { echo "'$(PYTHON)' is Python $(VERSION), but 3.11, 3.12 or 3.13" \
	  "is needed. Name one of these: make PYTHON=python3.13."; exit 1; }
	@$(PYTHON) -c "import ensurepip, venv" || { echo "'$(PYTHON)' cannot make a virtual" \
	  "environment. On Debian or Ubuntu: apt install python3-venv."; exit 1; }
	@echo "Setting up $(VENV) for Python $(VERSION): one to three minutes, 1.3 GB ..."
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/complete-*
	@$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e ".[$(EXTRA)]"
	@touch $@

# The newest versions that this Python gets, by name and version: after a change of the dependencies.
constraints:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check ".[dev]"
	.venv-newest/bin/python -m pip freeze --exclude senet_jax > constraints/py$(subst .,,$(VERSION)).txt
	rm -rf .venv-newest

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
