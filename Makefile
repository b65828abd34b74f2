# A machine with Python 3.11 or newer and make needs nothing else: the targets that need an environment make .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?= -q
# Two processes per suite: much of the time is compilation and start-up, which use one core.
PARALLEL ?= -n 2
# Which suites `make test` runs after the checks and the docs; each is a folder of tests/ and has its own process.
SUITES ?= core torch jax tensorflow keras report cross docs

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_PROGRESS_BAR := off
export TF_CPP_MIN_LOG_LEVEL ?= 2
export MPLBACKEND ?= Agg
export NO_MKDOCS_2_WARNING := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test bench check docs test-oldest test-gpu clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the environment .venv: all frameworks and tools, about 3 minutes and 4 GB

$(STAMP): pyproject.toml constraints.txt
	$(call environment,$(VENV))
	@echo "Installing the frameworks and tools into $(VENV): this takes a few minutes, once."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,bench]'
	@# an oracle of the tests; it asks for torchvision, which they do without
	@$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt zennit
	@touch $@

demo: $(STAMP) ## Explain real predictions on all frameworks and write whence-demo.html
	@$(BIN)/whence demo

test: $(STAMP) ## Check the code, build the docs, and run every suite in its own process
	@$(call suites,$(BIN),check docs-build $(SUITES))

bench: $(STAMP) ## Measure speed, memory and agreement with other libraries
	@$(BIN)/python -m benchmarks

check: $(STAMP) ## Run the linter, the type checker and the import contracts
	@status=0; for tool in 'ruff check' mypy lint-imports; do \
	    echo "$(BIN)/$$tool"; $(BIN)/$$tool || status=1; \
	done; exit $$status

docs: $(STAMP) ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

test-oldest: ## Run each framework's suites on the oldest supported releases, by hand (PyTorch: 3 GB)
	@failed=; \
	for framework in $(OLDEST); do \
	    $(MAKE) --no-print-directory oldest-$$framework || failed="$$failed $$framework"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed on the oldest releases:$$failed"; exit 1; fi

# `make test-oldest OLDEST=jax` runs one of them.
OLDEST ?= torch jax tensorflow
oldest-torch: extras := keras captum
oldest-jax: extras := keras equinox
oldest-%: .venv-oldest-%/.installed
	@$(call suites,.venv-oldest-$*/bin,core $* keras-$*)

.PRECIOUS: .venv-oldest-%/.installed
.venv-oldest-%/.installed: pyproject.toml constraints-oldest.txt
	$(call environment,$(@D))
	@echo "Installing the oldest supported releases into $(@D)."
	@$(@D)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[$*,test,tensorboard]' $(extras)
	@touch $@

test-gpu: ## Run the tests that need an accelerator with PYTHON as it is; installs nothing
	@export XLA_PYTHON_CLIENT_PREALLOCATE=false TF_FORCE_GPU_ALLOW_GROWTH=true; \
	failed=; skipped=; \
	for framework in torch jax tensorflow; do \
	    printf '\n=== %s on an accelerator ===\n' $$framework; \
	    if ! reason=$$($(PYTHON) -c "import pytest, $$framework" 2>&1); then \
	        echo "skipped: $$(echo "$$reason" | tail -n 1)"; \
	        skipped="$$skipped $$framework"; continue; \
	    fi; \
	    status=0; $(PYTHON) -m pytest $(PYTEST_ARGS) -rs -m device tests/$$framework || status=$$?; \
	    case $$status in \
	        0) ;; \
	        5) echo "skipped: no test of tests/$$framework is marked 'device'"; skipped="$$skipped $$framework" ;; \
	        *) failed="$$failed $$framework" ;; \
	    esac; \
	done; \
	printf '\n'; \
	if [ -n "$$skipped" ]; then echo "Not run:$$skipped (reasons above)"; fi; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; exit 1; fi

clean: ## Remove the environments, the caches and what was built
	rm -rf .venv .venv-oldest-* site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# $(call environment,DIR): make the virtual environment DIR, or make it anew where its Python is gone.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	    || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1) \
	    || { echo "$(PYTHON) cannot make virtual environments: install its venv package (python3-venv)"; exit 1; }
endef

# $(call suites,BIN,NAMES): run each, go on after a failure, and say at the end which failed.
define suites
	unset JAX_PLATFORMS KERAS_BACKEND; \
	passed=0; failed=; missing=; \
	run() { \
	    name=$$1; shift; started=$$(date +%s); \
	    printf '\n=== %s ===\n' "$$name"; \
	    if "$$@"; then passed=$$((passed + 1)); else failed="$$failed $$name"; fi; \
	    printf -- '--- %s: %s s\n' "$$name" $$(($$(date +%s) - started)); \
	}; \
	pytest() { \
	    if [ -d "$$2" ]; then run "$$1" env $$3 $(1)/python -m pytest $(PYTEST_ARGS) $$4 "$$2"; \
	    else missing="$$missing $$2"; fi; \
	}; \
	for suite in $(2); do \
	    case $$suite in \
	        check) run check $(MAKE) --no-print-directory check ;; \
	        docs-build) run docs-build $(MAKE) --no-print-directory docs ;; \
	        keras) for backend in tensorflow jax torch; do \
	                pytest keras-$$backend tests/keras KERAS_BACKEND=$$backend "$(PARALLEL)"; done ;; \
	        keras-*) pytest $$suite tests/keras KERAS_BACKEND=$${suite#keras-} "$(PARALLEL)" ;; \
	        torch|jax|tensorflow) pytest $$suite tests/$$suite "" "$(PARALLEL)" ;; \
	        cross) pytest $$suite tests/$$suite "" "$(PARALLEL) --dist loadfile" ;; \
	        *) pytest $$suite tests/$$suite "" "$(PARALLEL)" ;; \
	    esac; \
	done; \
	printf '\n'; \
	if [ -n "$$missing" ]; then echo "No such folder:$$missing"; fi; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed"; fi; \
	echo "suites: $$passed passed, $$(echo $$failed | wc -w | tr -d ' ') failed"; \
	[ -z "$$failed" ]
endef
