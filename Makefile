# The same words for people and CI: make run, make test, make lint, make docs, make bench.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test faults soak lint docs bench bench-growth audit test-all rabbitmq chromium redis postgresql clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

# Stamps: the environment is made once, and installed again only when what it is made from has changed.
$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "rpcservice needs Python 3.11 or newer; install it, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rpcservice needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian: sudo apt-get install -y python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made setup.cfg pyproject.toml
	$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.installed $@

run: $(VENV)/.installed ## Run the examples on the embedded broker; Ctrl-C stops them
	@exec $(BIN)/rpcservice run --config config.yaml

rabbitmq:
	@bash .ci/install-rabbitmq

chromium:
	@bash .ci/install-chromium

redis:
	@bash .ci/install-redis

postgresql:
	@bash .ci/install-postgresql

# Coverage is looked at after the tests, and is shown only when it is too low: the last words are the tests' summary.
test: $(VENV)/.installed-dev rabbitmq chromium redis postgresql ## Run all tests, in parallel, against private RabbitMQ nodes, with coverage
	@rm -f .coverage .coverage.*
	@echo 'Running the tests; this takes some minutes.'
	@$(BIN)/python -m coverage run tests/in_parallel.py $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report > .coverage-report || { cat .coverage-report; exit 1; }

# What is left of a run that was broken off would be counted again. FAULTS_TABLE=docs/faults.csv renews the docs' table.
faults: $(VENV)/.installed-dev rabbitmq ## Kill brokers, services and networks under load, and count; takes some 20 minutes
	@rm -f .faults-report
	@export FAULTS_REPORT=$(CURDIR)/.faults-report; run="$(BIN)/python -m pytest -q -m faults tests/faults"; \
		$$run $(PYTEST_ARGS); code=$$?; \
		if [ $$code = 1 ]; then echo 'Running again what failed.'; $$run --last-failed; code=$$?; fi; \
		$(BIN)/python tests/faults/figures.py .faults-report $(FAULTS_TABLE); exit $$code

# A variable of make alone: bash has one of this name.
SECONDS = 600

soak: $(VENV)/.installed-dev rabbitmq ## Keep services busy and close their connections for ten minutes, or SECONDS=60
	@SOAK_SECONDS=$(SECONDS) $(BIN)/python -m pytest -q -s --show-capture=no -m faults tests/faults/test_soak.py

lint: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev ## Build the documentation; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation is in docs/_build/html/index.html"

bench: $(VENV)/.installed-dev rabbitmq ## Measure side by side with nameko, FastStream, aio-pika and the bare libraries
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-growth: $(VENV)/.installed-dev rabbitmq ## Measure how cost grows, check its limits, draw docs/growth.rst; takes some minutes
	$(BIN)/python -m benchmarks.growth $(BENCH_ARGS)

# Not part of CI: a vulnerability that becomes known today must not stop unrelated work.
audit: $(VENV)/.installed-dev ## Look for known vulnerabilities of the dependencies
	@$(BIN)/python .ci/audit.py $(BIN)/pip-audit

# Interpreters of pyenv count too, although its shims offer only the chosen one.
test-all: $(VENV)/.installed-dev rabbitmq chromium ## Run all tests on Python 3.11, 3.12 and 3.13
	@PATH="$$PATH$$(printf ':%s' $(wildcard $(HOME)/.pyenv/versions/3.1[123].*/bin))" $(BIN)/tox run

clean: ## Remove what was made
	rm -rf $(VENV) .tox build dist docs/_build .coverage .coverage.* .coverage-report
