# Every target sets up what it needs first (scripts/setup.sh): PYTHON=FILE and TTBRINGUP_VENV=DIR are explained there.
SHELL := /bin/sh
VENV := $(or $(TTBRINGUP_VENV),.venv)
PY := "$(VENV)/bin/python"
MODEL = smollm2-135m

# An environment shared between checkouts (.ci/run) holds an editable install of one of them; this one is to be tested.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.PHONY: help setup demo test proof lint type bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make or update the virtual environment (every other target does it too)
	@scripts/setup.sh

demo: setup ## bring up SmolLM2-135M (real weights, or MODEL=NAME) rung by rung, until it writes text
	$(PY) -m pytest model_tests --tt-model=$(MODEL)

test: setup ## run all quick tests, and the ladder for a tiny model
	$(PY) -m pytest tests model_tests -n 2 -m "not slow"

proof: setup ## run the slow proofs
	$(PY) -m pytest tests model_tests -m slow

lint: setup ## ruff: rules and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

type: setup ## mypy --strict
	$(PY) -m mypy

bench: setup ## print the ratios of benchmarks/, and what a layer of a 70B model takes (8 GB of memory)
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(PY) "$$script" || exit 1; done

clean: ## delete .venv and all caches in the checkout
	rm -rf .venv .venv.lock .venv.deleted .mypy_cache .ruff_cache .pytest_cache .hypothesis .tox dist generated
	find . -name __pycache__ -prune -exec rm -rf {} +
