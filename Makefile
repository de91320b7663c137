# Everything runs in .venv of this checkout; what was built or pulled is kept outside it, in ~/.cache/kindstorm.
# KUBERNETES=1.36 chooses another line of Kubernetes, REGISTRY=host:port takes all images from there and builds none,
# ARGS="..." goes to the pytest that uses a cluster, PYTHON=... names the Python that .venv is made with.

PYTHON ?= python3
KUBERNETES ?=
REGISTRY ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
USER_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
SETUP = $(strip $(BIN)/kindstorm setup $(REGISTRY:%=--registry %) $(KUBERNETES:%=--kubernetes %))
LIVE = $(strip $(BIN)/pytest $(KUBERNETES:%=--kindstorm-kubernetes %) $(ARGS))

.DEFAULT_GOAL := run
.DELETE_ON_ERROR:
.PHONY: run test check full bench clean help

run: $(USER_STAMP) ## set this machine up and run the scenarios that gate every change (the default)
	$(SETUP)
	$(LIVE) scenarios -m "smoke and not full"

test: check ## lint, unit tests, then in one session on one cluster the live tests and the smoke scenarios
	$(BIN)/pytest tests -m "not live and not full"
	$(SETUP)
	$(LIVE) tests/live scenarios -m "(live or smoke) and not full"

check: $(DEV_STAMP) ## formatting, lint, types and import contracts; runs nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

full: check ## all of `test`, what is slow or long, and the smoke scenarios on the other line of Kubernetes
	$(BIN)/pytest tests -m "not live"
	$(BIN)/kindstorm setup $(REGISTRY:%=--registry %) --kubernetes 1.37 --kubernetes 1.36
	$(BIN)/pytest tests/live scenarios $(ARGS)
	$(BIN)/pytest scenarios -m "smoke and not full" --kindstorm-kubernetes 1.36 $(ARGS)

bench: $(DEV_STAMP) ## the measurements in bench/, each beside a peer or a limit, into docs/benchmarks.md
	$(SETUP)
	$(BIN)/python bench

clean: ## remove our clusters and stop an engine that we started; what was built stays
	@if [ -x $(BIN)/kindstorm ] && command -v docker >/dev/null; then \
	  $(BIN)/kindstorm clusters --remove && $(BIN)/kindstorm stop-engine; \
	else echo "nothing of ours runs here"; fi

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 8

# An installation is made anew only when pyproject.toml has changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kindstorm needs Python 3.11 or later; name one: make PYTHON=python3.13")'
	$(PYTHON) -m venv $(VENV)

$(USER_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(USER_STAMP)
