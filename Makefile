# What a developer types; `make` alone lists it. Verbs are those of .venv/bin/clinic, which tools/ is; here it is installed.
.DEFAULT_GOAL := help

PYTHON ?= python3
OLDEST := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)".*/\1/p' pyproject.toml)
UV := 0.13.9
VENV := .venv
PY := $(VENV)/bin/python
CLINIC := $(PY) $(VENV)/bin/clinic
INSTALLED := $(VENV)/installed

# Paths and texts are UTF-8 in every locale.
export PYTHONUTF8 := 1
# As curl does: a company's own certificates are known to the machine only.
export UV_SYSTEM_CERTS := 1

# NAME=value of make's command line (not of the environment, which may have such names) as the verb's words and options.
given = $(if $(findstring command line,$(origin $1)),$2 "$$$1")
WORDS = $(foreach one,S ID LANE FROM ALERT PATIENT BASE UID,$(call given,$(one))) $(call given,N,--messages) \
	$(call given,RATE,--rate) $(call given,SEED,--seed) $(call given,FOR,--for) $(call given,WHY,--why) \
	$(call given,SINCE,--since) $(call given,AS,--as) $(call given,FILE,--file) $(call given,PICTURE,--picture) $(ARGS)

MORE := restart slow why preview dashboards-pull dashboards-format alerts silence unsilence erase dead replay drill mutants audit \
	bench
.PHONY: help up down status logs load trace check plan docs test lint clean $(MORE) programs leaks test-scale coverage lock

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  More: $(MORE) programs leaks test-scale coverage lock" | fold -sw 100 | sed '2,$$s/^/        /'
	@echo "  All of them with all options: $(VENV)/bin/clinic --help, docs/commands.md"

up: $(INSTALLED) ## Start everything without Docker; the first time programs are built, some minutes until the first series
	@$(CLINIC) up

down: $(INSTALLED) ## Stop everything, so that nothing sent is lost
	@$(CLINIC) down

status: $(INSTALLED) ## What runs, with CPU time, memory and address
	@$(CLINIC) status

logs: $(INSTALLED) ## Logs of all components, or of one: make logs S=worker
	@$(CLINIC) logs $(WORDS)

load: $(INSTALLED) ## Send messages, compare with Prometheus: make load N=500 RATE=50 SEED=7
	@$(CLINIC) load $(WORDS)

trace: $(INSTALLED) ## Print a trace, the newest slow one or this one: make trace ID=…
	@$(CLINIC) trace $(WORDS)

check: $(INSTALLED) ## Do the Collector's YAML, contract, rules, dashboards and docs agree? A second, nothing is started
	@$(CLINIC) check

plan: $(INSTALLED) ## What does my edit of the Collector's YAML, of rules or routes change? Against another commit: make plan BASE=main~3
	@$(CLINIC) plan $(WORDS) || [ $$? -eq 2 ] # 2: something changes

docs: $(INSTALLED) ## Write what is generated in docs/
	@$(CLINIC) docs $(WORDS)

# What a stack is made of is built first; what only tests and checks need beside them: who needs it waits for it, or says
# why it cannot be built.
test: lint ## Everything that is checked: style, types, tests; a part: make test ARGS=tests/unit
	@$(CLINIC) programs otelcol prometheus alertmanager jaeger
	@$(CLINIC) programs >$(VENV)/programs.log 2>&1 & \
		$(CLINIC) check && $(PY) -m pytest --numprocesses 2 $(ARGS); code=$$?; wait; exit $$code

lint: $(INSTALLED) ## Style and types
	@$(PY) -m ruff check
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

clean: ## Stop everything, delete all data and what was installed here; built programs stay
	@if [ -e $(INSTALLED) ]; then $(CLINIC) clean; fi
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage*

$(MORE): $(INSTALLED)
	@$(CLINIC) $(subst dashboards-,dashboards ,$@) $(WORDS)

programs: $(INSTALLED)
	@$(CLINIC) programs

# The proof that no patient data reach telemetry.
leaks: $(INSTALLED) programs
	@$(PY) -m pytest tests/leaks -s $(ARGS)

# What more than one machine needs: the chart, against a real Kubernetes API server, and a pair of Prometheus with Thanos.
# Builds programs that nothing else needs.
test-scale: $(INSTALLED)
	@$(CLINIC) programs --scale
	@$(PY) -m pytest tests/kubernetes tests/scale $(ARGS)

# Which branches of service/ the tests of it run, with the processes that they start; below the bar it fails.
coverage: $(INSTALLED)
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest --quiet $(or $(ARGS),tests/unit tests/process tests/service)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

# Writes requirements/*.txt from pyproject.toml; newest versions: make lock UPGRADE=1
lock: $(INSTALLED)
	@$(LOCK) --output-file requirements/service.txt
	@$(LOCK) --extra memory --output-file requirements/worker.txt
	@$(LOCK) --extra memory --extra tools --group dev --output-file requirements/dev.txt

LOCK = $(PY) -m uv pip compile pyproject.toml --quiet --universal --python-version $(OLDEST) --generate-hashes \
	--no-annotate --no-header --no-emit-index-url $(if $(UPGRADE),--upgrade)

$(INSTALLED): requirements/dev.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python $(OLDEST) or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || \
		{ echo "Python $(OLDEST) or newer is needed, $$($(PYTHON) --version) is too old: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing Python packages into $(VENV) …"
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV)
	@LC_ALL=C.UTF-8 $(PY) -m uv pip install --quiet --python $(PY) --require-hashes --compile-bytecode --requirement $<
	@LC_ALL=C.UTF-8 $(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@# Relative: Python reads these names in the locale's encoding, and a folder may be moved.
	@cd $(VENV)/lib/python*/site-packages && printf '%s\n' ../../../.. ../../../../service >_healthcare_observability.pth
	@touch $@
