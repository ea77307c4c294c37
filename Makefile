# Every target sets up what it needs, on a fresh Debian 12 too; the second time that takes no time.

SUITE ?= heart
ARGS ?=
VENV := .venv
PYTHON := $(VENV)/bin/python

# Published API descriptions and recordings of cloud vendors, one folder a cloud; tests hold the simulators to them.
SPECS ?= $(wildcard ../shared/specs)
ifneq ($(SPECS),)
export CLOUDNET_SPECS := $(abspath $(SPECS))
endif

.PHONY: help demo test unit bench fuzz soak lint format reference setup clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## a VPC on this machine, every fault, no lost connection; ARGS="--report build/demo.html"
	@scripts/host
	@mkdir -p build
	@$(PYTHON) -m cloudnet lab demo $(ARGS)

test: setup  ## all tests; root, for the real kernel and the lab
	@scripts/host
	@$(PYTHON) -m pytest --alone $(ARGS)

unit: setup  ## the tests that need no root and no servers
	@$(PYTHON) -m pytest -m "not kernel and not lab and not server" $(ARGS)

bench: setup  ## measure the promises: build/bench/SUITE.json; SUITE=heart
	@test -f tests/bench/$(SUITE).py || { echo "error: there is no suite '$(SUITE)'; there are:" \
		$(basename $(notdir $(wildcard tests/bench/[a-z]*.py))) >&2; exit 2; }
	@scripts/host
	@$(PYTHON) tests/bench/$(SUITE).py $(ARGS)

fuzz: setup  ## throw odd input at the doors, each for a while; ARGS="SECONDS SEED"
	@for program in tests/fuzz/fuzz_*.py; do echo $$program; $(PYTHON) $$program $(ARGS) || exit 1; done

soak: setup  ## a lab that lives with faults for a while; ARGS="SECONDS SEED STORE"
	@scripts/host
	@$(PYTHON) tests/soak/soak.py $(ARGS)

lint: setup  ## ruff, mypy, import contracts
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(VENV)/bin/lint-imports --no-cache

format: setup  ## let ruff format and fix
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

reference: setup  ## write the pages of docs/reference that follow from the code
	@$(PYTHON) scripts/reference.py

setup:  ## the virtual environment in .venv
	@scripts/setup $(VENV)

clean:  ## remove what make and the tools made
	rm -rf $(VENV) build dist cloudnet/cni/bin *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
