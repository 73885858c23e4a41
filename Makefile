# Everything works from a fresh clone with Python 3.11+, make and a package index.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test check bench mutate requirements wheel clean

help: ## this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: .venv/demo.stamp ## record a real model, explain a trade, serve it (Ctrl-C ends)
	$(BIN)/otel-events demo

test: .venv/test.stamp ## all tests; those that need more than Python skip with a sentence
	$(BIN)/python -m pytest

check: .venv/test.stamp ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/test.stamp ## the figures of the README, side by side with the peers
	$(BIN)/python -m tests.bench

mutate: .venv/test.stamp ## break every invariant once and see its test fail
	$(BIN)/python -m tests.mutate

requirements: .venv/test.stamp ## number, requirement, test, result
	$(BIN)/python -m tests.requirements

wheel: .venv/test.stamp ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what make made
	rm -rf .venv dist build

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "expected Python 3.11 or newer, got $$($(PYTHON) --version); say which with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/%.stamp: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
