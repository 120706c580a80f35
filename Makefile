# Every target stands alone on a fresh machine: Python 3.11 to 3.13, git and make; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := agent models fleet bench tests

.PHONY: help setup demo check test gate bench lock train-reference format clean
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Roskva needs Python 3.11 to 3.13; say which with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv module is missing: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }

# pip is asked for hashes: what is installed is what the lock names, wherever it comes from.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

setup: $(VENV)/.dev ## Make the virtual environment with everything the tests need

demo: $(VENV)/.runtime ## Checkpoint to action, with real processes over a real broker (KEEP=1 leaves it running)
	$(BIN)/roskva demo $(if $(KEEP),--keep)

check: $(VENV)/.dev ## Lint, types and import contracts, in under a minute
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.dev ## All tests, on a real broker (installs Mosquitto where it is missing)
	sh tests/install-debian-packages
	$(BIN)/pytest

GATE_TESTS = tests/unit/control/test_gate_limits.py tests/properties/test_gate.py

gate: $(VENV)/.dev ## The gate's tests: every branch of it, and every small change to it noticed, in a minute
	$(BIN)/coverage run --branch --include=agent/control/gate.py --data-file=$(VENV)/gate.coverage -m pytest -q -p no:cacheprovider $(GATE_TESTS)
	$(BIN)/coverage report --data-file=$(VENV)/gate.coverage --fail-under=100
	rm -rf mutants
	$(BIN)/mutmut run >/dev/null
	@if $(BIN)/mutmut results | grep .; then echo "no test notices these; $(BIN)/mutmut show NAME shows one"; exit 1; fi

bench: $(VENV)/.dev ## List the benches; run one with python -m bench NAME --json
	$(BIN)/python -m bench

# PyTorch is an extra and no part of the locks: which build fits depends on the machine's GPU.
TRAINED = $(or $(OUT),training)
TRAINING_KEYS = $(or $(KEYS),$(TRAINED)/keys)

train-reference: $(VENV)/.dev ## Train the reference policy from nothing, and record it (MINUTES=80, OUT=training, KEYS=DIR, REASONING=no; goes on where it was stopped)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet 'torch>=2.9'
	$(BIN)/python -P -m models.reference.train --out $(TRAINED) --minutes $(or $(MINUTES),80) $(if $(filter no,$(REASONING)),--no-reasoning)
	@test -n "$(KEYS)" -o -e $(TRAINING_KEYS) || $(BIN)/roskva keys init $(TRAINING_KEYS)
	$(BIN)/roskva lineage record $(TRAINED)/checkpoint --key $(TRAINING_KEYS)/builder-trainer.pem --builder trainer --run-name reference --out $(TRAINED)/checkpoint.claim.jsonl

format: $(VENV)/.dev ## Format the sources
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lock: $(VENV)/bin/python ## Renew requirements/*.txt from pyproject.toml
	sh requirements/lock

clean: ## Remove what the targets made
	rm -rf $(VENV) mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
