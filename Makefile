# `make repro` and `make test` need git, make and Python 3.11, 3.12 or 3.13; `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help repro test test-all chaos check profile bench lock generated clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

repro: $(VENV)/run.stamp  ## Set up .venv and run the pipeline: download, split, train, evaluate, predict
	dvc repro

# One thread each, and no spinning: trainings that share the cores stall each other otherwise.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE pytest
# The longest first, one process per core; tests that share an expensive fixture stay in one process.
SHARED_OUT := -n auto --dist loadgroup --no-loadscope-reorder --durations=20

test: $(VENV)/dev.stamp  ## Set up .venv and test every behaviour; FIFTH=0 to 4 adds a fifth of the other tests
	$(PYTEST) $(SHARED_OUT) $(if $(FIFTH),--fifth $(FIFTH),-m "not thorough")

test-all: $(VENV)/dev.stamp  ## Run every test, also those that repeat others with more cases
	$(PYTEST) $(SHARED_OUT)

chaos: $(VENV)/dev.stamp  ## Run the long form of the tests that kill, damage and fuzz (hours)
	CHAOS=long $(PYTEST) -s tests/chaos

check: $(VENV)/dev.stamp  ## Check style and types, as pre-commit does
	ruff check .
	ruff format --check .
	mypy

lock: $(VENV)/dev.stamp  ## Renew requirements*.txt from the ranges in pyproject.toml
	uv pip compile --upgrade --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock' \
		pyproject.toml --output-file requirements.txt
	uv pip compile --upgrade --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock' \
		--group dev --constraint requirements.txt pyproject.toml --output-file requirements-dev.txt

profile: $(VENV)/run.stamp  ## Train for a minute and show where the time goes; needs the data of 'make repro'
	python tools/profile_training.py

bench: $(VENV)/dev.stamp  ## Measure the speed of this machine, in ten minutes; leave it alone meanwhile
	python benchmarks/short.py

generated: $(VENV)/dev.stamp  ## Renew what is generated: the README's table of parameters, the page of plots (needs npm)
	python tools/parameters_table.py
	python tools/plots_page.py

clean:  ## Remove .venv and the caches of the tools; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1); use 3.11, 3.12 or 3.13: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/dev.stamp: requirements-dev.txt | $(VENV)/bin/python
	python -m pip install --quiet --requirement requirements-dev.txt
	touch $@ $(VENV)/run.stamp
