# Needs Python 3.11 or newer, git and make; `uv` is used when it is there.  `make help` lists all.

PY := .venv/bin/python
STAMP := .venv/.installed
SITE_STAMP := .venv/.installed-site
PYTEST := $(PY) -m pytest
STRIP := $(PY) -m nbstripout --keep-id --extra-keys metadata.language_info.version

# Compiled programs outlive the process: a second start finds them, however small and quick.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES ?= -1

# On a GPU products would be rounded to ten bits, which curvature does not survive.
export JAX_DEFAULT_MATMUL_PRECISION ?= highest

# JupyterLab refuses to serve root, whom a container has, unless it is told.
ROOT := $(if $(filter 0,$(shell id -u 2>/dev/null)),--allow-root)

# PART=relaxations: the core's tests and that part's tests and notebooks.
export LABKIT_PART := $(PART)
ifeq ($(PART),)
TESTS := tests
NOTEBOOKS := notebooks
STAGES := lint unit notebooks browser
else
NOTEBOOKS := notebooks/$(PART)
PARTS := $(patsubst notebooks/%/.,%,$(wildcard notebooks/*/.))
OTHERS := browser __pycache__ $(filter-out $(PART),$(PARTS))
TESTS := $(wildcard tests/test_*.py) $(filter-out $(OTHERS:%=tests/%/.),$(wildcard tests/*/.))
STAGES := lint unit notebooks
ifeq ($(filter $(PART),$(PARTS)),)
$(error There is no part "$(PART)".  The parts: $(PARTS))
endif
endif

# STAGE name command...: runs the command between two lines that name and time it.
STAGE = stage() { name=$$1; shift; began=$$(date +%s); printf '\n== %s\n' "$$name"; \
	if "$$@"; then code=0; else code=$$?; fi; \
	printf '== %s: %s, %d s\n' "$$name" "$$([ $$code = 0 ] && echo passed || echo FAILED)" \
	$$(($$(date +%s) - began)); return $$code; }; stage

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install lab test test-all lint unit slow notebooks browser double gpu figures student site format lock clean distclean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

lab: $(STAMP)  ## open JupyterLab at the start notebook (LAB_ARGS=--no-browser is passed on)
	@exec $(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ROOT) $(LAB_ARGS)

# A test runs its programs for a moment and compiles them for seconds: compile quickly.  Without
# XLA's fusion emitters that takes about half the time, and a program without lines is found in the
# cache wherever it was written.
# `make unit`, `slow` and `double` by themselves compile as the lab does.
test: export JAX_TRACEBACK_IN_LOCATIONS_LIMIT ?= 0
test: export XLA_FLAGS ?= --xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false
test: $(STAGES)  ## lint, unit, notebooks, browser (PART=relaxations: the core and one part, no browser)

test-all: export LABKIT_BROWSER := all
test-all: test slow double gpu  ## the same with slow tests, a browser on every notebook, float64, a GPU

install: $(STAMP)  ## make .venv with the locked dependencies

lint: $(STAMP)
	@$(STAGE) lint sh -c '$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m pyright'

# worksteal gives each worker one half of the list: neighbours, which share demos, stay together.
unit: $(STAMP)
	@$(STAGE) unit $(PYTEST) -n 2 --dist worksteal -m "not browser and not gpu and not slow" \
		--durations 10 $(TESTS)

slow: $(STAMP)
	@$(STAGE) slow $(PYTEST) -n 2 --dist worksteal -m slow $(TESTS)

notebooks: $(STAMP)
	@$(STAGE) notebooks $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout 300 \
		-n 2 --dist loadfile $(NOTEBOOKS)

browser: $(SITE_STAMP)
	@$(STAGE) browser $(PYTEST) -n 2 --dist loadfile -m browser tests/browser

double: $(STAMP)
	@$(STAGE) double env JAX_ENABLE_X64=1 $(PYTEST) -n 2 --dist worksteal -m "not browser and not gpu and not slow" \
		$(TESTS)

gpu: $(STAMP)
	@if $(PY) -c 'import jax; jax.devices("gpu")' 2>/dev/null; then $(STAGE) gpu $(PYTEST) -m gpu tests; \
	else echo "JAX finds no GPU here: the comparison of GPU and CPU was left out."; fi

figures: $(STAMP)  ## draw every picture in both themes into build/figures
	@$(PY) -m labkit figures build/figures

student: $(STAMP)  ## write student copies, solutions and an nbgrader course into build
	@$(PY) -m labkit student build

site: $(SITE_STAMP)  ## the course as static pages in build/site (SITE_NOTEBOOKS="00_start_here.ipynb": a few)
	@$(PY) docs/site/build.py $(SITE_NOTEBOOKS)

format: $(STAMP)  ## let ruff put the code right and empty the notebooks
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' -exec $(STRIP) {} +
	@$(PY) -m ruff check --fix --exit-zero --quiet .
	@$(PY) -m ruff format .

lock:  ## pin the dependencies anew (needs uv; LOCK_ARGS=--upgrade takes the newest)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --extra lab --extra test \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" \
		--quiet $(LOCK_ARGS) --output-file requirements.lock
	@uv pip compile pyproject.toml --universal --python-version 3.11 --extra lab --extra site \
		--constraint requirements.lock --no-emit-index-url --no-annotate \
		--custom-compile-command "make lock" --quiet $(LOCK_ARGS) --output-file requirements-site.lock

clean:  ## remove what tests and builds left
	@rm -rf build dist labkit.egg-info .pytest_cache .ruff_cache .hypothesis
	@find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -exec rm -rf {} +

distclean: clean  ## the same and .venv and the cache of compiled programs
	@rm -rf .venv .cache

# Beside what the lab needs, at the same versions.
$(SITE_STAMP): $(STAMP) requirements-site.lock
	@echo "Installing what makes the pages."
	@if command -v uv >/dev/null; then uv pip install --quiet --python $(PY) -r requirements-site.lock; \
	else $(PY) -m pip install --quiet --disable-pip-version-check -r requirements-site.lock; fi
	@touch $(SITE_STAMP)

# The stamp holds the place it was made for: a copied or moved checkout installs again, or it would
# import the old one.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

$(STAMP): pyproject.toml requirements.lock
	@set -e; \
	recent='import sys; sys.exit(sys.version_info < (3, 11))'; \
	uv=$$(command -v uv || true); \
	if ! $(PY) -c "$$recent" 2>/dev/null; then \
		if [ -n "$$uv" ]; then \
			uv venv --quiet --clear --python "$(or $(PYTHON),>=3.11)" .venv; \
		else \
			for python in $(PYTHON) python3 python python3.14 python3.13 python3.12 python3.11 none; do \
				if "$$python" -c "$$recent" 2>/dev/null; then break; fi; \
			done; \
			if [ "$$python" = none ]; then \
				echo "labkit needs Python 3.11 or newer, and none was found: install one, or say where it is with make PYTHON=/path/to/python3." >&2; \
				exit 1; \
			fi; \
			if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
				echo "$$python cannot make a virtual environment: install its venv module (Debian and Ubuntu: the package python3-venv)." >&2; \
				exit 1; \
			fi; \
			"$$python" -m venv --clear .venv; \
		fi; \
	fi; \
	echo "Installing the locked dependencies into .venv (a minute or two the first time)."; \
	if [ -n "$$uv" ]; then \
		uv pip install --quiet --python $(PY) -r requirements.lock; \
		uv pip install --quiet --python $(PY) --no-deps -e .; \
	else \
		$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null; \
		$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock; \
		$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi; \
	mkdir -p .venv/share/jupyter/lab/settings/overrides.d; \
	echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
		> .venv/share/jupyter/lab/settings/overrides.d/labkit.json; \
	printf '%s\n' "$(CURDIR)" > $(STAMP)
