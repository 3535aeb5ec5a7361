.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export RUNTIME__DLTHUB_TELEMETRY = false

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: demo
demo: setup ## Export a made-up organisation for a month of nights and show what landed
	@$(BIN)/claribi-export demo $(if $(DESTINATION),--destination $(DESTINATION)) $(if $(NIGHTS),--nights $(NIGHTS))

.PHONY: setup
setup: .venv/installed ## Make .venv with everything for development

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "claribi-export needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	@echo "Making .venv (once; a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: format
format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lint
lint: setup ## Check format, lint, types and workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

.PHONY: test
test: setup ## Run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: proof
proof: setup ## Try nights in every way an account may speak, at every destination, killed more often, and a large account
	PROOF=1 $(BIN)/python -m pytest -n 2 --dist worksteal -rP tests/test_thirty_nights.py tests/test_any_nights.py \
		tests/test_incremental.py tests/test_crashes.py tests/test_csv_crashes.py tests/test_sheets_faults.py

.PHONY: check
check: lint test ## Everything a change must pass: lint and test

.PHONY: bench
bench: setup ## Measure speed and memory beside other ways of doing it
	$(BIN)/python -m benchmarks

.PHONY: docs
docs: setup ## Write the pages that follow from the code and the lock: docs/tables.md, docs/licences.md
	$(BIN)/python -m docs.generate

.PHONY: build
build: setup ## Build the wheel and the source archive into dist/
	$(BIN)/uv build --no-build-isolation --python $(BIN)/python

.PHONY: audit
audit: setup ## Look for known holes in the locked packages; asks the package index
	$(BIN)/uvx pip-audit --disable-pip -r requirements-run.lock

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock'

.PHONY: lock
lock: setup ## Lock the newest versions that work together: all of them, and apart what runs and what a build needs
	$(LOCK) pyproject.toml --upgrade --all-extras --group dev -o requirements.lock
	$(LOCK) pyproject.toml --no-annotate --extra postgres --extra sheets --extra watch -c requirements.lock -o requirements-run.lock
	$(LOCK) --no-annotate --group build -c requirements.lock -o requirements-build.lock
