# `make run` and `make test` install what they need first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Two processes at a time. Each has a Postgres of its own; groups (tests/support/groups.py) stay in one process.
PYTEST := $(BIN)/python -m pytest -n 2

.PHONY: run install test quick fix lint types layers unit steady bench peers chaos requirements locks clean

run: install
	@$(BIN)/mobvibe-tui

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mobvibe-tui needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (once; about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# The whole gate.
test: install lint types layers unit

# The inner loop, under 90 seconds: pure, widget and store tests, without those that build whole schemas.
QUICK := tests/app/ui tests/app/studio tests/app/preview tests/worker/agent tests/worker/workspace tests/worker/store --ignore tests/worker/store/schema
quick: install
	$(PYTEST) -q -m 'not (expo or docker or terminal or servers or long or chaos)' $(QUICK)

# Formats, and fixes what the linter can fix.
fix: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

layers: install
	$(BIN)/lint-imports --no-cache

# All tests, then those of the store again on Debian's Postgres 15.
WITHOUT ?= chaos
unit: install
	$(PYTEST) -m 'not ($(WITHOUT))'
	MOBVIBE_TEST_POSTGRES=15 $(PYTEST) -q -m 'not (servers or $(WITHOUT))' tests/worker/store tests/migrations tests/app/cli/db

# Shows flaky tests: the widget and store tests five times, then all tests twice, beside four busy processes.
# ROUNDS="5 0" leaves the second part out.
ROUNDS ?= 5 2
steady: install
	PYTHONPATH=tests $(BIN)/python tests/bench/beside_load.py $(ROUNDS)

# From nothing to the code on the screen; containers (needs an engine, or Debian and root); ten million events (5 GB
# below the temporary folder); then the queue beside its peers, if they are installed (`make peers`). About an hour.
bench: install
	PYTHONPATH=tests $(BIN)/python tests/bench/startup.py
	PYTHONPATH=tests $(BIN)/python tests/bench/previews.py
	PYTHONPATH=tests $(BIN)/python tests/bench/recent_events.py
	$(BIN)/mobvibe-tui bench events
	$(BIN)/mobvibe-tui bench queue

# What the bench measures against.
peers: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[bench]'

# Servers and workers killed under load, disks that fill up, the newer SDK's image and Compose's built from nothing
# (as root); half an hour.
chaos: install
	$(BIN)/python -m pytest -m chaos -s tests/chaos

# Needs uv. Hashes of every platform's wheel, no download addresses.
requirements:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --group dev --output-file requirements.txt pyproject.toml requirements.in

# npm's locks of the SDKs, after a change of sdks.toml. No download addresses.
locks: install
	PYTHONPATH=tests $(BIN)/python tests/pins/sdk_locks.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
