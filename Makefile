# `make` alone lists the commands. Everything here may also be typed by hand; this file only says it once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
STACK ?= dev
MACHINE ?= trixie
RUNS ?= 3

VENV := .venv/bin
TOOLCHAIN := $(PYTHON) -m toolchain
# Where it is set, every process of the tests would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE
ifdef MAILHOST_CACHE
export MAILHOST_CACHE := $(abspath $(MAILHOST_CACHE))
endif
# A PULUMI_HOME with the official plugins, to be used instead of stand-ins.
ifdef MAILHOST_PLUGINS
export MAILHOST_PLUGINS := $(abspath $(MAILHOST_PLUGINS))
endif
CACHE := $(or $(MAILHOST_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mailhost)
# Python programs find the commands of this project first, the developer's own after them.
PYTEST := PATH="$(CURDIR)/$(VENV):$(CACHE)/bin:$$PATH" $(VENV)/python -m pytest
SCRIPTS := $(wildcard .ci/run)

##@ The lab (needs root; asks sudo when you are not). MAILHOST_PLUGINS=PULUMI_HOME uses the official plugins in there

ifeq ($(shell id -u),0)

.PHONY: up
up: lab-tools ## the whole mail host on this machine: tools, lab, `pulumi up`, a mail sent and read
	$(VENV)/python -m lab.newcomer

.PHONY: down
down: venv ## stop and remove everything that `make up` started; caches stay
	$(VENV)/python -m lab down

.PHONY: lab-status
lab-status: venv ## what runs in the lab
	$(VENV)/python -m lab status

.PHONY: shell
shell: venv ## SSH into a machine of the lab: MACHINE=trixie
	$(VENV)/python -m lab shell $(MACHINE)

.PHONY: preview
preview: check ## what a pull request gets: the checks, then the plan of stack dev, line by line
	@test -f .lab/env || { echo 'the lab is not up: make up' >&2; exit 1; }
	source .lab/env; pulumi preview --stack $(STACK) --diff --non-interactive

.PHONY: test
test: lab-tools actionlint ## every test, also those on the real Debian machines of the lab
	@$(MAKE) --jobs --output-sync=target lint lab-tests engine-tests quick-tests
	$(PYTEST) tests/e2e tests/parsers --numprocesses 5 --dist loadgroup --no-loadscope-reorder

.PHONY: bench
bench: lab-tools ## how fast and how heavy, beside references of the same run: RUNS=3
	$(VENV)/python -m tests.bench --runs $(RUNS)

else

# The user's own cache and .venv first, so that root finds them ready and leaves them the user's.
.PHONY: up down lab-status shell preview test bench
up bench: lab-tools
test: lab-tools actionlint
preview: check
up down lab-status shell preview test bench: ## (needs root: these run again under sudo)
	sudo env PATH="$$PATH" MAILHOST_CACHE='$(CACHE)' MAILHOST_PLUGINS='$(MAILHOST_PLUGINS)' $(MAKE) $@ STACK='$(STACK)' MACHINE='$(MACHINE)' RUNS='$(RUNS)'

endif

##@ A mail host

.PHONY: mailbox
mailbox: ## add or change one: ADDRESS=alice@example.com STACK=dev [NAME= QUOTA=5G ENABLED=no REMOVE=yes]; many: CSV=file
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,accounts) $(call given,ADDRESS,address) \
		$(call given,NAME,name) $(call given,QUOTA,quota) $(call given,ENABLED,enabled) $(call given,CSV,csv) \
		$(if $(REMOVE),--remove)

.PHONY: rotate
rotate: ## the DKIM keys one stage on; then `pulumi up`: STACK=dev [START=yes before it is due]; docs/operations.md
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,rotation) $(if $(START),--start)

.PHONY: doctor
doctor: ## what the world sees of it: STACK=dev [OPTIONS='--account alice@example.com']; docs/doctor.md
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,doctor) $(OPTIONS)

.PHONY: drift
drift: ## in what host and zones differ from the stack: STACK=dev [OPTIONS=--repair]; docs/operations.md
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,drift) $(OPTIONS)

.PHONY: preflight
preflight: ## whether everything is there that `pulumi up` needs and cannot make: STACK=dev
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,doctor) --preflight $(OPTIONS)

.PHONY: reports
reports: ## what other mail servers report of it (DMARC, TLS): STACK=dev [OPTIONS='--days 7']; docs/operations.md
	@$(TOOLCHAIN) tools >/dev/null
	@$(call on_stack,reports) $(OPTIONS)

# A program about one stack; the lab's environment goes with the lab's stack.
on_stack = if [ -f .lab/env ] && [ '$(STACK)' = dev ]; then source .lab/env; fi; \
	PATH="$(CURDIR)/$(VENV):$(CACHE)/bin:$$PATH" $(VENV)/python -m $1 --stack '$(STACK)'

# A variable of this command line as an option. make puts it into the environment, so no quoting can break it.
given = $(if $(findstring command,$(origin $1)),--$2 "$$$1")

##@ The code (no root, no lab)

.PHONY: check
check: venv actionlint ## all that is quick, under a minute: linters, types, every test that needs no lab
	@$(MAKE) --jobs --output-sync=target lint quick-tests

.PHONY: golden
golden: venv ## write the rendered files anew that the tests compare with; then read the diff
	$(PYTEST) tests/golden --update-golden

.PHONY: format
format: venv ## let ruff mend what it can, and format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

##@ The tools

.PHONY: tools
tools: ## pulumi, uv and .venv; skips what is there
	@$(TOOLCHAIN) tools

.PHONY: clean
clean: ## remove what builds and tests left in this folder; not .venv, not the lab
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Parts of the commands above, each to be run alone when it fails.
.PHONY: lab-tools venv actionlint lint lab-tests engine-tests quick-tests ruff format-check types imports shellcheck
lab-tools:
	@$(TOOLCHAIN) lab >/dev/null

venv:
	@$(TOOLCHAIN) venv >/dev/null

actionlint:
	@$(TOOLCHAIN) actionlint >/dev/null

lint: types ruff format-check imports shellcheck

types:
	$(VENV)/mypy

ruff:
	$(VENV)/ruff check

format-check:
	$(VENV)/ruff format --check

imports:
	PYTHONPATH=host $(VENV)/lint-imports --no-logo

shellcheck:
	$(VENV)/shellcheck $(SCRIPTS)

lab-tests:
	$(PYTEST) tests/lab --numprocesses 2 --dist loadgroup

engine-tests:
	$(PYTEST) -m 'engine and not lab'

quick-tests:
	$(PYTEST) -m 'not lab and not engine' --numprocesses auto --dist worksteal
