# What a developer types; `make` alone lists it. The work is done by tools/, this file only names it.
.DEFAULT_GOAL := help
.PHONY: help up down restart status logs load trace slow preview dashboards-pull dashboards-format alerts silence unsilence erase dead replay check drill plan docs test leaks mutants rulemutants dashboardmutants lint programs
.PHONY: lock audit bench clean

PYTHON ?= python3
OLDEST := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)".*/\1/p' pyproject.toml)
UV := 0.13.9
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
IN_STACK := $(PY) -m tools.stack.stack run --
PLAN := PYTHONPATH=service $(PY) -m tools.commands.plan

# Paths and texts are UTF-8 in every locale.
export PYTHONUTF8 := 1
# As curl does: a company's own certificates are known to the machine only.
export UV_SYSTEM_CERTS := 1

N ?= 200
RATE ?= 20

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: $(INSTALLED) ## Start everything without Docker; the first time programs are built, which takes a quarter of an hour
	@$(PY) -m tools.stack.stack up

down: $(INSTALLED) ## Stop everything, so that nothing sent is lost
	@$(PY) -m tools.stack.stack down

restart: $(INSTALLED) ## Restart one component after an edit: make restart S=otel-collector
	@$(PY) -m tools.stack.stack restart $(or $(S),$(error which one? make restart S=otel-collector))

status: $(INSTALLED) ## What runs, with CPU time, memory and address
	@$(PY) -m tools.stack.stack status

logs: $(INSTALLED) ## Logs of all components, or of one: make logs S=worker
	@$(PY) -m tools.stack.stack logs $(S)

load: $(INSTALLED) ## Send messages, compare with Prometheus: make load N=500 RATE=50 SEED=7
	@$(IN_STACK) $(PY) -m simulator load --messages $(N) --rate $(RATE) $(if $(SEED),--seed $(SEED))

trace: $(INSTALLED) ## Print a trace, the newest slow one or this one: make trace ID=…
	@$(PY) -m tools.show.trace $(ID)

slow: $(INSTALLED) ## The slowest requests by lane and the trace of the slowest; one lane: make slow LANE=price
	@$(PY) -m tools.show.slow $(LANE)

preview: $(INSTALLED) ## Draw the dashboards without Grafana; the day that ships: make preview FROM=day
	@$(PY) -m tools.commands.preview $(FROM) $(ARGS)

dashboards-pull: $(INSTALLED) ## Keep what was edited in Grafana: make dashboards-pull UID=… AS=healthcare-backend, or FILE=export.json
	@$(PY) -m tools.commands.dashboards pull $(UID) $(if $(AS),--as $(AS)) $(if $(FILE),--file "$$FILE")

dashboards-format: $(INSTALLED) ## Bring the dashboards' files into normal form
	@$(PY) -m tools.commands.dashboards format

alerts: $(INSTALLED) ## What fires, and who was told; wait for more: make alerts ARGS=--follow
	@$(PY) -m tools.show.firing show $(ARGS)

silence: $(INSTALLED) ## Tell nobody of an alert: make silence ALERT=HighErrorRate FOR=2h WHY="Ana mends it"
	@$(PY) -m tools.show.firing silence $(or $(ALERT),$(error which one? make silence ALERT=…)) \
		$(if $(FOR),--for $(FOR)) $(if $(WHY),--why "$$WHY")

unsilence: $(INSTALLED) ## End an alert's silences: make unsilence ALERT=…
	@$(PY) -m tools.show.firing unsilence $(or $(ALERT),$(error which one? make unsilence ALERT=…))

erase: $(INSTALLED) ## Remove a patient's messages, jobs and memories: make erase PATIENT=…
	@$(IN_STACK) $(PY) -m app.admin erase $(or $(PATIENT),$(error whose? make erase PATIENT=…))

dead: $(INSTALLED) ## Count the jobs that were given up
	@$(IN_STACK) $(PY) -m app.admin dead

replay: $(INSTALLED) ## Try the jobs that were given up again
	@$(IN_STACK) $(PY) -m app.admin replay

check: $(INSTALLED) ## Do the Collector's YAML, contract, rules, dashboards and docs agree? A second, nothing is started
	@$(PY) -m tools.commands.check

drill: $(INSTALLED) ## Make something go wrong and see its alert: make drill ALERT=HighErrorRate, or all; alone it lists them
	@$(PY) -m tools.commands.drill $(ALERT) $(ARGS)

plan: $(INSTALLED) ## What does my edit of the Collector's YAML, of rules or routes change? Against another commit: make plan BASE=main~3
	@$(PLAN) $(if $(PICTURE),--picture "$$PICTURE") $(or $(BASE),HEAD) || [ $$? -eq 2 ] # 2: something changes

docs: $(INSTALLED) ## Write what is generated: docs/metrics.md, the tables in docs/alerts.md, runbooks' first lines, the plans in docs/editing-*.md
	@$(PY) -m tools.write.metrics_page
	@$(PY) -m tools.write.alerts_page
	@PYTHONPATH=service $(PY) -m tools.write.plans
	@$(PY) -m tools.write.notifications

test: lint programs check ## Everything that is checked: style, types, tests; a part: make test ARGS=tests/unit
	@$(PY) -m pytest --numprocesses 2 --dist loadfile $(ARGS)

leaks: $(INSTALLED) programs ## The proof that no patient data reach telemetry
	@$(PY) -m pytest tests/leaks -s $(ARGS)

mutants: $(INSTALLED) ## Break the Collector's YAML, the contract and the redaction in every way: is each break caught?
	@PYTHONPATH=service $(PY) -m tools.mutants.collector $(ARGS)

rulemutants: $(INSTALLED) ## The same for Prometheus' rules: does a test of theirs fail for each break?
	@$(PY) -m tools.mutants.rules $(ARGS)

dashboardmutants: $(INSTALLED) ## The same for the dashboards, each value and query of theirs; seven minutes
	@$(PY) -m tools.mutants.dashboards $(ARGS)

lint: $(INSTALLED) ## Style and types
	@$(PY) -m ruff check
	@$(PY) -m mypy

programs: $(INSTALLED) ## Build the pinned Go programs, once for all clones
	@$(PY) -m tools.stack.programs

lock: $(INSTALLED) ## Write requirements/*.txt from pyproject.toml; newest versions: make lock UPGRADE=1
	@$(LOCK) --output-file requirements/service.txt
	@$(LOCK) --extra memory --output-file requirements/worker.txt
	@$(LOCK) --extra memory --extra tools --group dev --output-file requirements/dev.txt

LOCK = $(PY) -m uv pip compile pyproject.toml --quiet --universal --python-version $(OLDEST) --generate-hashes \
	--no-annotate --no-header --no-emit-index-url $(if $(UPGRADE),--upgrade)

audit: $(INSTALLED) programs ## Does somebody know of a vulnerability in what is pinned? Asks osv.dev and vuln.go.dev
	@$(PY) -m tools.commands.audit

bench: $(INSTALLED) ## Measure
	@$(PY) -m bench $(ARGS)

clean: ## Stop everything, delete all data and what was installed here; built programs stay
	@if [ -e $(INSTALLED) ]; then $(PY) -m tools.stack.stack clean; fi
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python $(OLDEST) or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || \
		{ echo "Python $(OLDEST) or newer is needed, $$($(PYTHON) --version) is too old: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing Python packages into $(VENV) …"
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@LC_ALL=C.UTF-8 $(PY) -m uv pip install --quiet --python $(PY) --require-hashes --compile-bytecode --requirement $<
	@touch $@
