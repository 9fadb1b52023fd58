# The same words for people and CI: make run, make test, make lint, make docs, make bench.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test lint docs bench audit test-all rabbitmq clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 16

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rpcservice needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

run: $(VENV)/.installed ## Run the shop example on the embedded broker; Ctrl-C stops it
	$(BIN)/rpcservice run --config config.yaml

rabbitmq:
	@bash .ci/install-rabbitmq

test: $(VENV)/.installed-dev rabbitmq ## Run all tests, against a private RabbitMQ node, with coverage
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report > .coverage-report || { cat .coverage-report; exit 1; }

lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev ## Build the documentation; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.installed-dev rabbitmq ## Measure side by side with nameko and FastStream
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

audit: $(VENV)/.installed-dev ## Look for known vulnerabilities of the dependencies
	$(BIN)/pip-audit --skip-editable

test-all: $(VENV)/.installed-dev rabbitmq ## Run all tests on Python 3.11, 3.12 and 3.13
	$(BIN)/tox

clean: ## Remove what was made
	rm -rf $(VENV) .tox build dist docs/_build .coverage .coverage.* .coverage-report
