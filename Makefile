# `make` alone prints this list. Everything happens in .venv; delete that folder to start afresh.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := pyproject.toml constraints.txt capacity/__init__.py
# tests start hundreds of processes; without bytecode each of them compiles all modules anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo check format test test-long test-fast bench scale design-bench coverage docs gpu-check gpu-bench torture clean

help: ## print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## virtual environment with the exact versions of constraints.txt

demo: install ## pocket study: train, fit the law, draw (minutes on two cores)
	$(BIN)/capacity sweep pocket
	$(BIN)/capacity fit-laws pocket
	@echo
	@echo "A file that proves it, for one model (2x16, load 5): its data come back from weights and a code."
	@echo "  $(BIN)/capacity certify 15e68e437ec8 --output certificate"

check: $(VENV)/.installed-dev ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## format all Python, mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

test: $(VENV)/.installed-test ## the first tier of tests: under ten minutes on two idle cores
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long"

test-long: $(VENV)/.installed-test ## the second tier: clusters, documented commands at full size
	$(BIN)/python -m pytest -n auto --dist worksteal -m long

test-fast: $(VENV)/.installed-test ## the first tier without the tests that are marked slow
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not long"

bench: $(VENV)/.installed-bench ## speed: stacks, a plain loop, roofline, rendering, start-up
	$(BIN)/python scripts/bench.py

scale: $(VENV)/.installed-bench ## 20,000 synthetic records: what status, table, fit-laws, report and sweep need
	$(BIN)/python scripts/scale.py

design-bench: install ## planned against naive designs of the same cost, on simulated truth (minutes)
	$(BIN)/python scripts/design.py

coverage: install ## do intervals of laws and of samples hold the truth? (twenty minutes on two idle cores)
	$(BIN)/python scripts/coverage.py
	$(BIN)/python scripts/coverage_samples.py
	$(BIN)/python scripts/coverage_sources.py
	$(BIN)/python scripts/coverage_arms.py
	$(BIN)/python scripts/coverage_canaries.py
	$(BIN)/python scripts/coverage_misfit.py

docs: $(VENV)/.installed-docs ## documentation: build/docs/index.html, a warning is an error, no network to read it
	rm -rf build/docs build/doctrees
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs/site -d build/doctrees . build/docs

gpu-check: ## GPU tests in four minutes, python3 of PATH, no hydra, no network
	$(PYTHON) scripts/gpu_check.py

gpu-bench: ## benchmark of a GPU, written after each part, python3 of PATH, no hydra, no network
	$(PYTHON) scripts/bench.py --device cuda --repeats 5 --only machine stacks plain render score

torture: $(VENV)/.installed-test ## kill a sweep a hundred times, here and on a SLURM of its own
	$(BIN)/python scripts/torture.py
	$(BIN)/python tests/helpers/slurm_cluster.py $(BIN)/python scripts/torture.py --slurm --steps 25000 --pause 1.5

clean: ## remove the environment and caches, keep results
	rm -rf $(VENV) build dist .pytest_cache .hypothesis .ruff_cache .import_linter_cache

$(VENV)/.created:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "capacity needs Python 3.11 or newer, this is %d.%d; name another with: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	@echo "installing (about a minute) ..."
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable '.[docs]'
	@touch $@
