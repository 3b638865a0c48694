PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

SIZE ?= full
WRITE ?=

.PHONY: demo test check peers bench format clean

demo: .venv/installed  ## run a two-phase workflow on the bundled S&P 500 bars and show what came of it
	$(BIN)/admf run train_test

test: .venv/installed-dev  ## run all tests
	$(BIN)/pytest -q -n auto --dist worksteal

check: .venv/installed-dev  ## everything that must pass before a commit
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n auto --dist worksteal

peers: .venv-bench/installed-small  ## install the peers that tests compare with, in an environment of their own

bench: .venv/installed .venv-bench/installed-$(SIZE)  ## compare with peers; SIZE=small: not timed; WRITE=docs/benchmarks.md
	$(BIN)/python -m admf.benchmarks.bench --size $(SIZE) --peers .venv-bench/bin/python $(if $(WRITE),--write $(WRITE))

format: .venv/installed-dev  ## let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment and all caches; runs in .admf stay
	rm -rf .venv .venv-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --upgrade pip
	$(BIN)/pip install -qq --disable-pip-version-check -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[dev,peers]'
	touch $@

.venv-bench/installed-%: benchmarks/peers/%.txt benchmarks/peers/small.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install -qq --disable-pip-version-check -r $<
	touch $@
