# Make targets. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help

# Let an environment, after its own packages, find those of the main one.
site = "$$($(1)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")"
before_main = @echo $(call site,$(VENV)) > $(call site,$(1))/main.pth

.PHONY: help demo ui test check checks format lint types calibration engines vendors lake e2e wheel bench soak constraints clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per extra: installed once, and again when the project's requirements change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing exd-dagster[$*] into $(VENV)"
	@$(PIP) -e '.[$*]'
	@touch $@

demo: $(VENV)/.installed-ui ## write sample records, audit them in Dagster, show what was blocked and notified
	@$(BIN)/exd-dagster demo

ui: $(VENV)/.installed-ui ## dagster dev on the demo project
	@$(BIN)/dagster dev -h 127.0.0.1 -p $(or $(PORT),3000)

test: $(VENV)/.installed-test ## install the test extra and run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not calibration and not e2e and not engines and not vendors and not lake" $(ARGS)

check: test checks ## everything CI runs

checks: format lint types calibration engines vendors lake e2e wheel

format: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

calibration: $(VENV)/.installed-test ## the statistical claims, by seeded simulation
	$(BIN)/python -m pytest tests/calibration -n 2 --dist worksteal -m calibration $(ARGS)

.venv-dbt/.installed: tests/dbt/requirements.txt
	$(PYTHON) -m venv .venv-dbt
	@.venv-dbt/bin/python -m pip install --quiet --disable-pip-version-check -r tests/dbt/requirements.txt
	@touch $@

# The stand-in for Snowflake needs a sqlglot of its own, before an environment that has everything else.
.venv-snowflake/.installed: tests/engines/requirements.txt $(VENV)/.installed-engines
	$(PYTHON) -m venv .venv-snowflake
	@.venv-snowflake/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/engines/requirements.txt
	$(call before_main,.venv-snowflake)
	@touch $@

engines: $(VENV)/.installed-engines .venv-dbt/.installed .venv-snowflake/.installed ## the same bins on Spark, PostgreSQL, ClickHouse, a stand-in for Snowflake
	$(BIN)/python -m pytest -m engines $(ARGS)
	.venv-snowflake/bin/python -m pytest -m engines tests/engines/test_snowflake.py $(ARGS)

# The SDKs need versions of their own, so they get an environment of their own.
.venv-vendors/.installed: tests/vendors/requirements.txt
	$(PYTHON) -m venv .venv-vendors
	@.venv-vendors/bin/python -m pip install --quiet --disable-pip-version-check -r tests/vendors/requirements.txt
	@touch $@

vendors: $(VENV)/.installed-test .venv-vendors/.installed ## what the vendors' own SDKs write, audited
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m vendors $(ARGS)

# A lake needs a DuckDB whose extensions the registry has, which is not the newest. It comes first on the path
# of an environment that has everything else from the main one.
.venv-lake/.installed: tests/lake/requirements.txt $(VENV)/.installed-engines
	$(PYTHON) -m venv .venv-lake
	@.venv-lake/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/lake/requirements.txt
	$(call before_main,.venv-lake)
	@touch $@

lake: .venv-lake/.installed ## a store that workers share, and the production example: PostgreSQL, an S3 server, kills
	.venv-lake/bin/python -m pytest -n 2 --dist loadfile -m lake tests/lake $(ARGS)

e2e: $(VENV)/.installed-test ## whole commands, a daemon, a browser
	$(BIN)/python -m pytest -n 2 --dist loadfile -m e2e $(ARGS)

wheel: $(VENV)/.installed-dev ## build the wheel and use it in an environment of its own
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build && wheel-venv/bin/python -c "import exd_dagster; print('wheel of', exd_dagster.__name__, 'imports from', exd_dagster.__file__.split('/')[-3])"
	cd build && wheel-venv/bin/exd-dagster --help >/dev/null

soak: $(VENV)/.installed-dev ## a bad week of 500 flags: kills, refusals, clock jumps; one line
	@$(BIN)/python -m tests.alerts.soak 500

bench: $(VENV)/.installed-dev $(if $(BIG),.venv-lake/.installed) ## benchmarks, one JSON object a line (BIG=1: the large ones, UI and lake too)
	@$(BIN)/python -m benchmarks

constraints: $(VENV)/.installed-dev ## resolve constraints.txt again, for all supported Pythons
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --extra engines \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml -o constraints.txt

clean: ## remove generated files
	rm -rf .demo .dagster build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
