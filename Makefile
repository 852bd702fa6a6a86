# Every target makes .venv by itself. Works with GNU make 3.81 (macOS) and in a path with spaces: all paths are relative.
#
#   make demo [ARGS=--headless]    the stages on a small model made on the spot
#   make test [ARGS="-k store"]    the tests
#   make lint                      style, types, contracts
#   make bench [PROFILE=full]      the measurements of tests/benchmarks: runs.db, and DPO against its peers
#   make lock                      resolve requirements.lock and requirements-eval.lock anew (needs uv)

SHELL := /bin/sh
PY := .venv/bin/python
STAMP := .venv/.installed
# Bytecode is kept, whatever was exported: without it each of the hundreds of processes that the tests start compiles all
# that it imports.
export PYTHONDONTWRITEBYTECODE :=
# The tests also want lm-evaluation-harness, which is 256 MB with all it needs; the demo does without.
EVAL_STAMP := .venv/.installed-eval

# The stamp holds the folder it was made in: an environment that was moved, or whose Python is gone, is made anew.
USABLE := $(shell [ "`cat $(STAMP) 2>/dev/null`" = "`pwd`" ] && $(PY) -c "print('yes')" 2>/dev/null)
ifneq ($(USABLE),yes)
.PHONY: $(STAMP)
endif

.PHONY: demo test lint bench lock
.DEFAULT_GOAL := test

demo: $(STAMP)
	@$(PY) -m dpotui demo $(ARGS)

# Two processes a core, of up to two: many tests wait for an engine, a screen or a clock.
test: $(EVAL_STAMP)
	@$(PY) -m pytest -n `$(PY) -c "import os; print(min(os.cpu_count() or 1, 2) * 2)"` --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command as main; main()"

# The full profile takes hours and writes docs/BENCHMARKS.md; tests/benchmarks/template.md says what it needs.
PROFILE ?= quick
bench: $(STAMP)
	@$(PY) -m pytest tests/benchmarks -s -o python_files='bench_*.py' $(ARGS)
	@$(PY) -m tests.benchmarks --profile $(PROFILE)

# A Python is tried by running it: a pyenv shim stands on PATH also where the version behind it is not switched on.
$(STAMP): pyproject.toml requirements.lock
	@set -eu; \
	uv=; if uv --version >/dev/null 2>&1; then uv=uv; fi; \
	if ! $(PY) -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then \
	  echo "making .venv"; \
	  if [ -n "$$uv" ]; then uv venv -q --clear --python '>=3.11' .venv; \
	  else \
	    found=; \
	    for python in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	      if $$python -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then echo "no Python >= 3.11 with venv found: install one (brew install python, apt-get install python3-venv) or uv" >&2; exit 1; fi; \
	    $$found -m venv --clear .venv; \
	  fi; \
	fi; \
	echo "installing requirements.lock"; \
	if [ -n "$$uv" ]; then \
	  uv pip install -q --compile-bytecode --python $(PY) -r requirements.lock; \
	  uv pip install -q --python $(PY) --no-deps -e .; \
	else \
	  $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip; \
	  $(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock; \
	  $(PY) -m pip install -q --disable-pip-version-check --no-deps -e .; \
	fi; \
	pwd > $(STAMP)

# The whole of requirements.lock stands in it too, in the same versions: one file to install, with every hash.
# On Linux MLX has g++ compile each fused kernel, three quarters of it this header: it is compiled once, with MLX's flags.
$(EVAL_STAMP): $(STAMP) requirements-eval.lock
	@set -eu; \
	echo "installing requirements-eval.lock"; \
	if uv --version >/dev/null 2>&1; then uv pip install -q --compile-bytecode --python $(PY) -r requirements-eval.lock; \
	else $(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-eval.lock; fi; \
	for include in .venv/lib/python3.*/site-packages/mlx/include; do \
	  header="$$include/mlx/backend/cpu/compiled_preamble.h"; \
	  if [ "`uname -s`" = Linux ] && [ -f "$$header" ] && g++ --version >/dev/null 2>&1; then \
	    g++ -std=c++17 -O3 -Wall -fPIC -I"$$include" -x c++-header "$$header" -o "$$header.gch" || rm -f "$$header.gch"; \
	  fi; \
	done; \
	pwd > $(EVAL_STAMP)

# One lock for macOS and Linux and every Python from 3.11 on; the second one has the extra `eval` on top of the first.
lock:
	uv pip compile -q --universal --python-version 3.11 --group dev pyproject.toml --upgrade --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --group dev --extra eval pyproject.toml -c requirements.lock \
	  --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  -o requirements-eval.lock
