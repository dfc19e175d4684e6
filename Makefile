# Two commands for a user: `make demo` and `make test`. Every target sets up .venv when needed.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Touched when set-up is complete, so that it is redone only when what it installs changes.
STAMP := .venv/.set-up

export MPLBACKEND := Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test lint format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    the tandem study at its quick size, on real input (results/ holds the output)"
	@echo "make test    all quick tests"
	@echo "make lint    ruff, and mypy on the built wheel"
	@echo "make format  rewrite the sources in the project's format"
	@echo "make setup   create or refresh .venv only"

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || \
		{ echo "Python 3.11 or newer is needed (set PYTHON=...)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/edge-marl reproduce tandem --quick

# The tests of a file stay in one process, because they share what takes long to make; the order of
# files is that of tests/conftest.py.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# mypy reads the installed wheel, not the tree: only there does every module have the one name
# under which it is imported (the tree would also offer `envs`, `algorithms`, `experiments`).
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/typecheck
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		--target build/typecheck .
	cd build/typecheck && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml \
		--cache-dir ../../.mypy_cache -p edge_marl

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist results .mypy_cache .pytest_cache .ruff_cache .hypothesis
