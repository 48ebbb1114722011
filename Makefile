# Everything a newcomer types. Needs python3 (3.11 or newer), git and make; the rest is set up in .venv.

PYTHON ?= python3
BIN := .venv/bin

# The commands in dvc.yaml say `python`: this is the one they get. Nothing phones home.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# uv trusts whom pip and git trust, such as a company's own certificate.
UV_SYSTEM_CERTS ?= true
export UV_SYSTEM_CERTS
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# Bytecode is compiled when it is installed, once, so that the first run of every stage does not have to.
INSTALL := uv pip install --python $(BIN)/python --compile-bytecode

.DEFAULT_GOAL := help
.PHONY: help run rank plan flow ui worker test lint lock bench clean project

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-6s %s\n", $$1, $$2}' Makefile

run: .venv/.runtime project  ## run what is out of date of the pipeline, and print its verdict
	@$(BIN)/python -m flows run

rank: .venv/.runtime project  ## say which dataset and which encoder suit the target, before any training
	@$(BIN)/python -m flows rank

plan: .venv/.runtime project  ## list every stage with what will become of it, and why; runs nothing
	@$(BIN)/python -m flows plan

flow: .venv/.runtime project  ## the same through Prefect: a task a stage, with metrics and the map as artifacts
	@$(BIN)/python -m flows flow

ui: .venv/.runtime project  ## serve the flow and Prefect's UI, and print the address
	@$(BIN)/python -m flows ui

worker: .venv/.runtime project  ## run a worker in this clone, for the server that PREFECT_API_URL names
	@$(BIN)/python -m flows worker

test: .venv/.ready  ## run the tests
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadgroup --no-loadscope-reorder

lint: .venv/.ready  ## check format, style, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.ready project  ## measure what the README claims (minutes); each benchmark ends with a line of JSON
	@$(BIN)/python -m benchmarks.determinism
	@$(BIN)/python -m benchmarks.default_quality --seeds 1

# The second is of the developers' tools, which share what they can with the first.
lock: .venv/.ready  ## pin and hash every dependency for every platform (delete the locks for newer versions)
	@$(COMPILE) pyproject.toml --output-file requirements.lock
	@$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:  ## remove .venv and unfinished runs; results and DVC's cache stay
	@rm -rf .venv .graftline

project:
	@test -e .git || { echo "error: this folder is not a git repository, which DVC needs:" \
		"clone graftline with git, or run 'git init' here" >&2; exit 2; }
	@test -d .dvc || { echo "error: the folder .dvc is missing: get it back with 'git checkout .dvc'," \
		"or run '$(BIN)/dvc init' here" >&2; exit 2; }

# What runs the pipeline, and the command `graftline`. setuptools, which makes it, is in the lock as well.
.venv/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"error: graftline needs Python 3.11 or newer, but $(PYTHON) is %d.%d: install one and name it," \
		" as in make run PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(INSTALL) --require-hashes --requirements requirements.lock
	@$(INSTALL) --quiet --no-deps --no-build-isolation --editable . && touch $@

# And what the tests and `make lint` need on top.
.venv/.ready: .venv/.runtime requirements-dev.lock
	@$(INSTALL) --require-hashes --requirements requirements-dev.lock && touch $@
