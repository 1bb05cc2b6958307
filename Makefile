# `make repro` and `make test` need git, make and Python 3.11, 3.12 or 3.13; `make` alone lists the targets.
# Of PyTorch they install the CPU wheels where there is no NVIDIA driver; CUDA=1 or CPU=1 decides, also later.
PYTHON ?= python3
VENV := .venv
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, as in many images, every process compiles torch and the rest of its imports again: 25 seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-dev repro test test-all chaos coverage check profile bench lock generated clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/run.stamp  ## Set up .venv to run the pipeline

setup-dev: $(VENV)/dev.stamp  ## Set up .venv to run the pipeline and the tests

repro: $(VENV)/run.stamp  ## Set up .venv and run the pipeline: download, split, train, evaluate, predict
	dvc repro

# One thread each, and no spinning: trainings that share the cores stall each other otherwise.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE pytest
# The longest first, one process more than cores, since many wait; tests that share an expensive fixture stay in one process.
SHARED_OUT := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --dist loadgroup --no-loadscope-reorder --durations=20

test: $(VENV)/dev.stamp  ## Set up .venv and test every behaviour; SHARE=0 to 19 adds a twentieth of the other tests
	$(PYTEST) $(SHARED_OUT) $(if $(SHARE),--share $(SHARE),-m "not thorough")

test-all: $(VENV)/dev.stamp  ## Run every test, also those that repeat others with more cases
	$(PYTEST) $(SHARED_OUT)

chaos: $(VENV)/dev.stamp  ## Run the long form of the tests that kill, damage and fuzz (hours)
	CHAOS=long $(PYTEST) -s tests/chaos

# What keeps states, packs, files and records: pyproject.toml lists it. Stages are measured in their own processes, too.
KEEPING := $(addprefix tests/darkroom/,base data sources stage health training/checkpoints) \
	tests/darkroom/training/callbacks/test_fit_head.py \
	$(addprefix tests/,test_pipeline.py test_kept_epochs.py test_machines.py chaos/test_kills.py chaos/test_faults.py)
coverage: $(VENV)/dev.stamp  ## Show which branches of what keeps states, packs and files no test takes (20 minutes)
	rm -rf .coverage
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE coverage run -m pytest -q $(SHARED_OUT) $(KEEPING)
	-coverage combine --quiet  # of processes that were killed there are torn files
	coverage report --show-missing --fail-under=99

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

generated: $(VENV)/dev.stamp  ## Renew docs/parameters.md, docs/third-party-licences.md and the page of plots (needs npm)
	python tools/parameters_table.py
	python tools/third_party_licences.py
	python tools/plots_page.py

clean:  ## Remove .venv and the caches of the tools; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

KIND := $(if $(filter 1,$(CUDA)),--cuda) $(if $(filter 1,$(CPU)),--cpu)
INSTALL := $(PYTHON) tools/install.py --venv $(VENV) $(KIND) $(if $(CPU_INDEX),--cpu-index $(CPU_INDEX))
# The stamps say that an environment is complete. Who names a kind wants it even in a complete one.
ifneq ($(strip $(KIND)),)
.PHONY: $(VENV)/run.stamp $(VENV)/dev.stamp
endif

$(VENV)/run.stamp: requirements.txt
	@$(INSTALL) requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt
	@$(INSTALL) requirements-dev.txt
	@touch $@ $(VENV)/run.stamp
