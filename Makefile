PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TORCH := $(shell grep '^torch==' constraints.txt)
DEMO_ARGS ?=
PYTEST_ARGS ?= -n 2

# Without a display, MuJoCo renders through EGL.
ifeq ($(shell uname -s)$(DISPLAY),Linux)
export MUJOCO_GL ?= egl
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint format build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[.a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv: $(STAMP) ## make or update the environment (reused until pyproject.toml or constraints.txt change)

demo: $(STAMP) ## train a robot that throws a puck on floors it does not know, and film it (five minutes)
	@$(BIN)/python -m experiments.demo $(DEMO_ARGS)

# One torch thread for each of the two pytest workers, which share the cores.
test: export OMP_NUM_THREADS = 1
test: lint ## lint, then the whole test suite
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(STAMP) ## ruff, basedpyright, import-linter, codespell
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

format: $(STAMP) ## let ruff fix what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(STAMP) ## sdist and wheel in dist/
	$(BIN)/python -m build

clean: ## remove build artefacts and caches (keeps .venv and runs)
	rm -rf build dist .pytest_cache .ruff_cache .import_linter_cache .warp_cache MUJOCO_LOG.TXT *.egg-info envs/*.egg-info
	find metarl envs experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and by its exact version: a range may pick another build of it, with its CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "metarl needs Python >= 3.11; '$(PYTHON)' was not found. Name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "metarl needs Python >= 3.11; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=python3.11 ..."; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv .venv || { echo "Could not make .venv. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@
