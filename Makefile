# The front door. `make` alone lists what there is.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-keystone test-nova test-vm test-slides test-tempest check lint types imports unit bench docs lock clean
MAKEFLAGS += --no-print-directory
BIN := .venv/bin

help: ## list the targets
	@echo "make TARGET [ARGS=…], where ARGS go to the program behind it:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages (as root), .venv with the locked dependencies
	@scripts/setup dev

demo: ## set up, then run the main job in a private lab; leaves nothing behind
	@scripts/setup run
	@$(BIN)/naru demo $(ARGS)

test: ## set up, then check and run all tests that this machine can run
	@scripts/setup dev
	@status=0; \
	$(MAKE) -k check || { status=1; echo "==> the check failed, see above; the tests run all the same"; }; \
	$(BIN)/pytest $(ARGS) || status=1; \
	exit $$status

check: lint types imports ## style, types, and which room imports which

lint:
	@scripts/setup dev
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet && $(BIN)/ruff format --check --quiet || \
	  { echo "to repair what can be: $(BIN)/ruff check --fix && $(BIN)/ruff format"; exit 1; }

types:
	@scripts/setup dev
	@echo "==> mypy"
	@$(BIN)/mypy --no-error-summary

imports:
	@scripts/setup dev
	@echo "==> import-linter"
	@report="$$($(BIN)/lint-imports --no-logo)" || { echo "$$report"; exit 1; }

unit: ## the tests that take seconds and need nothing of the machine
	@scripts/setup dev
	@$(BIN)/pytest tests/unit tests/property $(ARGS)

test-keystone: ## set up a real Keystone (.venv-keystone), then test against it
	@scripts/setup dev
	@scripts/test-keystone $(ARGS)

test-nova: ## set up a real Nova (.venv-nova) and Keystone, then boot instances with them
	@scripts/setup dev rabbitmq-server
	@scripts/test-nova $(ARGS)

test-vm: ## boot Debian's kernel under emulation and run there the tests that need 8021q or Open vSwitch in the kernel
	@scripts/setup dev
	@scripts/test-vm -q tests/kernel/test_vlan.py tests/kernel/test_vlan_trunks.py $(ARGS)
	@scripts/test-vm -q tests/kernel/test_kernel_switch.py $(ARGS)
	@scripts/test-vm -q tests/contract/test_drivers.py -k trunks $(ARGS)
	@.venv/bin/pytest -q tests/kernel/test_machines.py $(ARGS)

test-slides: ## set up the last neutron command (.venv-neutronclient), then replay the tutorial with it
	@scripts/setup dev
	@scripts/venv neutronclient
	@$(BIN)/pytest tests/tutorial $(ARGS)

test-tempest: ## set up tempest (.venv-tempest), then run its network tests
	@scripts/setup dev
	@scripts/venv tempest
	@$(BIN)/python tests/tempest/run.py $(ARGS)

bench: ## the speed that the project promises, measured here
	@scripts/setup dev
	@$(BIN)/python tests/bench/bench.py $(ARGS)

docs: ## write docs/reference/commands.md, attributes.md and policy-rules.md anew from what they describe
	@scripts/setup dev
	@$(BIN)/python scripts/write-command-reference
	@$(BIN)/python scripts/write-attribute-reference
	@$(BIN)/python scripts/write-rule-reference

lock: ## resolve requirements/*.txt anew (ARGS=--upgrade: to the newest versions)
	@scripts/lock $(ARGS)

clean: ## remove .venv and every cache
	rm -rf .venv .vm .guest .venv-keystone .venv-neutronclient .venv-nova .venv-tempest .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
