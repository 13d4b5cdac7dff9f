# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs; twice is quick.
SHELL := /bin/bash
PY := .venv/bin/python
# A file's tests share what they set up, so one process runs them all.
PYTEST := $(PY) -m pytest -n 2 --dist loadfile
# Alone, and again where the editor itself was not ready: a click that came too early is no fault of devkit.
EDITOR_TESTS := $(PY) -m pytest tests/e2e --reruns 2
# The Pythons whose base images the engine tests use.
BASES := 3.13 3.11
.DEFAULT_GOAL := help
.PHONY: help demo test setup engine base test-engines lint fmt type test-unit test-engine test-editor soak bench wheel clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: engine ## the main job, watched: package, run, breakpoint, hot reload (2 to 5 minutes the first time)
	@$(PY) scripts/demo.py

test: base test-engines lint type ## everything that has to hold: lint, types, unit tests, tests on a real engine
	@if scripts/engine >/dev/null 2>&1; then \
	  if scripts/editor; then $(EDITOR_TESTS); else echo "No editor: its tests are left out."; fi && \
	  $(PYTEST) -m "not editor"; else \
	  echo "No container engine: the tests that need one are left out."; \
	  $(PYTEST) -m "not engine"; fi

setup: ## .venv with devkit and its tools
	@scripts/setup

engine: setup ## finds an engine, or installs and starts one (Debian, root); scripts/engine stop ends it
	@scripts/engine || [ $$? -eq 3 ]

base: engine ## the base images of the tests: pulled, or made from Debian packages
	@$(PY) scripts/base.py $(BASES)

test-engines: setup ## what the tests of other engines need: buildx, Podman, an ssh server (Debian, root)
	@scripts/test-engines

lint: setup ## style, formatting, and which module may import which
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@.venv/bin/lint-imports

fmt: setup ## formats the code
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

type: setup ## mypy --strict
	@$(PY) -m mypy

test-unit: setup ## the tests without an engine, in seconds
	@$(PYTEST) tests/unit tests/test_docs.py

test-engine: base test-engines ## the tests on a real engine
	@$(PYTEST) -m engine

test-editor: base ## F5 in a real VS Code in a real browser (a minute to install, three to run)
	@scripts/editor
	@$(EDITOR_TESTS)

soak: setup ## ten times the random edits of the sync's tests: a quarter of an hour
	@DEVKIT_SYNC_STEPS=200000 $(PYTEST) tests/sync/test_model.py tests/sync/test_model_rescans.py

bench: base ## every figure, beside what one would do by hand
	@$(PY) -m bench

wheel: setup ## dist/devkit-*.whl
	@$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean: ## what was built here; .venv, images and the engine stay
	rm -rf dist .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
