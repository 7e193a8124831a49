# The same few commands for people and for CI. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first interpreter that runs and is new enough; a pyenv shim may exist and not run.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed
# What only tests and the demo need: a cloud on loopback, checkers of manifests, Debian's packages.
CLOUD := .venv-cloud/.installed
MANIFESTS := .venv-manifests/.installed
DEBIAN := .venv/.debian
CODE = $(wildcard syncd tests benchmarks demo config observability)
# Of a night of `make trust-nightly`; TRUST is passed on, for example TRUST='--only kill --seed 7'.
HOURS ?= 8
TRUST ?=
COMPILE = "$$scratch/bin/uv" pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --upgrade \
	--custom-compile-command "make lock"

.PHONY: help demo test bench lint fmt types lock trust trust-nightly clean cover

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1	\2/' | expand -t 17

demo: $(STAMP)  ## run the whole story on this machine, no container and no cloud
	@$(BIN)/python -m demo

test: $(STAMP) $(CLOUD) $(MANIFESTS) $(DEBIAN)  ## run every test once, then check the coverage of the pure core
	@rm -f .coverage .coverage.*
	@$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report= --cov-fail-under=0 tests
	@$(MAKE) cover

cover: $(STAMP)  ## check that the pure core is covered wholly, from the last `make test`
	@test -f .coverage || { echo "no coverage data yet: run 'make test' first" >&2; exit 1; }
	@$(BIN)/coverage report --skip-covered

trust: $(STAMP)  ## run every campaign of the trust harness, with the counts of CI: up to an hour
	@$(BIN)/python -m tests.trust $(TRUST)

trust-nightly: $(STAMP)  ## the same with the counts of many nights; HOURS=8, goes on where it was
	@$(BIN)/python -m tests.trust --nightly --resume --hours $(HOURS) $(TRUST)

bench: $(STAMP)  ## measure on this machine and print the figures
	@$(BIN)/python -m benchmarks

lint: $(STAMP)  ## check style, formatting and types
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run 'make fmt'" >&2; exit 1; }
	@$(MAKE) types

types: $(STAMP)  ## check types only
	@$(BIN)/mypy $(CODE)

fmt: $(STAMP)  ## format, and repair what can be repaired safely
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

lock:  ## make the hashed, host-free requirements anew from pyproject.toml
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(PYTHON) -m venv "$$scratch"; "$$scratch/bin/python" -m pip install -qq uv; \
	$(COMPILE) pyproject.toml --extra aws --extra sqlserver -o requirements/run.lock; \
	$(COMPILE) pyproject.toml --extra dev -o requirements/dev.lock; \
	$(COMPILE) requirements/cloud.in -o requirements/cloud.lock; \
	$(COMPILE) requirements/manifests.in -o requirements/manifests.lock; \
	$(COMPILE) requirements/msodbc.in -o requirements/msodbc.lock

clean:  ## remove everything that these targets made
	@rm -rf .venv .venv-cloud .venv-manifests .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, none was found" >&2; exit 1; }
	@echo "installing into .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --require-hashes --no-deps -r requirements/dev.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

.venv-%/.installed: requirements/%.lock
	@echo "installing into $(@D)"
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -qq --require-hashes --no-deps -r $<
	@touch $@

$(DEBIAN): requirements/debian.txt requirements/install_debian.sh $(STAMP)
	@requirements/install_debian.sh
	@touch $@
