# Everything runs in .venv, made by `make setup`. Only Python 3.11 or newer, make and git are needed beforehand.

VENV := .venv
PY := $(VENV)/bin/python
# What the service and the demo need, and what the checks need on top of it.
BASE := $(VENV)/installed
DEV := $(VENV)/installed-dev
PIP := $(PY) -m pip install -qq --disable-pip-version-check
# uv downloads and unpacks on all cores, in a third of pip's time; pip is there where uv does not get through.
UV := $(PY) -m uv
GET_UV := $(PIP) 'uv>=0.9,<1'
install = { $(GET_UV) && $(UV) pip install --quiet --python $(PY) -r $(1); } || $(PIP) -r $(1)
RECENT := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c '$(RECENT)' 2>/dev/null && echo $(name))))
PYTEST_ARGS ?=
# A file of tests is run by one process; they mostly wait for servers and children, hence more processes than cores.
PARALLEL ?= --numprocesses=4 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
# The tests start hundreds of processes: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup lock audit system demo test run lint bench faults clean

help:
	@echo 'make demo    подготовить CSV и XLSX на встроенном PostgreSQL и показать ход'
	@echo 'make test    все проверки'
	@echo 'make run     очередь на встроенном PostgreSQL с демонстрационным хранилищем, до Ctrl-C'
	@echo 'make setup   только установка в .venv'
	@echo 'make lock    версии в requirements*.lock заново по requirements*.txt'
	@echo 'make lint    стиль, типы и этажи'
	@echo 'make audit   известные уязвимости в версиях requirements*.lock'
	@echo 'make bench   замеры рядом с другими очередями'
	@echo 'make faults  отказы: убитые процессы, перезапуски PostgreSQL, потерянные пакеты'
	@echo 'make clean   убрать .venv и кэши (папка var остаётся)'

setup: $(DEV)

$(BASE): requirements.lock
	@test -n "$(PYTHON)" || { echo 'Нужен Python 3.11 или новее; если он не в PATH: make PYTHON=/путь/к/python3'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'У $(PYTHON) нет модуля venv; в Debian и Ubuntu: apt-get install python3-venv'; exit 1; }
	@echo 'Установка в $(VENV), минута-другая…'
	@$(PYTHON) -m venv $(VENV)
	@$(call install,requirements.lock)
	@touch $@

$(DEV): $(BASE) requirements-dev.lock
	@echo 'Установка того, что нужно проверкам…'
	@$(call install,requirements-dev.lock)
	@touch $@

# The .txt files say what the code bears, the .lock files what everybody gets. Versions stay while they still fit; newer
# ones: make lock LOCK_ARGS=--upgrade
LOCK_ARGS ?=
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --no-header $(LOCK_ARGS)
lock: $(BASE)
	@$(GET_UV)
	@$(COMPILE) --output-file requirements.lock requirements-web.txt
	@$(COMPILE) --constraint requirements.lock --output-file requirements-dev.lock requirements-dev.txt

# Asks PyPI for advisories of every version that the locks name; fails where one is found, or could not be asked for.
audit: $(BASE)
	@$(GET_UV)
	@for lock in requirements.lock requirements-dev.lock; do \
		$(UV) tool run --quiet 'pip-audit>=2.9,<3' --strict --no-deps --disable-pip --progress-spinner=off -r $$lock || exit 1; \
	done

# Programs that tests use: psql writes the CSV of reference, LibreOffice opens the XLSX, Chromium the page, promtool
# reads the metrics and the alerts, debootstrap and systemd-nspawn boot the units, RabbitMQ, Redis and NATS hand jobs
# out, PgBouncer shares connections, ip makes machines of their own. Debian starts the servers that it installs: those that are new here are stopped,
# for the tests start their own.
system:
	@missing=''; \
	command -v psql >/dev/null || missing="$$missing postgresql-client"; \
	command -v soffice >/dev/null || missing="$$missing libreoffice-calc"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v promtool >/dev/null || missing="$$missing prometheus"; \
	servers=''; \
	for server in redis-server rabbitmq-server nats-server pgbouncer; do \
		PATH="$$PATH:/usr/sbin" command -v $$server >/dev/null || servers="$$servers $$server"; \
	done; \
	missing="$$missing$$servers"; \
	PATH="$$PATH:/usr/sbin" command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v systemd-nspawn >/dev/null || missing="$$missing systemd-container"; \
	PATH="$$PATH:/usr/sbin" command -v debootstrap >/dev/null || missing="$$missing debootstrap"; \
	PATH="$$PATH:/usr/sbin" command -v clickhouse-server >/dev/null || missing="$$missing clickhouse-server"; \
	test -z "$$missing" && exit 0; \
	root=''; test "$$(id -u)" = 0 || root='sudo -n'; \
	if command -v apt-get >/dev/null && $$root true 2>/dev/null; then \
		echo "Установка для проверок:$$missing…"; \
		log=$$(mktemp); \
		{ $$root apt-get update -q && \
			$$root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
		} >"$$log" 2>&1 || { tail -n 5 "$$log"; echo "Не установилось:$$missing (весь вывод: $$log)"; exit 1; }; \
		rm -f "$$log"; \
		for server in $$servers; do \
			$$root systemctl disable --now $$server >/dev/null 2>&1 || $$root service $$server stop >/dev/null 2>&1 || true; \
		done; \
	else \
		echo "Проверкам нужны программы:$$missing; установите их: sudo apt-get install$$missing"; exit 1; \
	fi

demo: $(BASE)
	@$(PY) demo.py

run: $(BASE)
	@$(PY) demo.py run

test:
	@$(MAKE) --no-print-directory --jobs=2 setup system
	@$(PY) -m pytest $(PARALLEL) $(PYTEST_ARGS)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(PY) .ci/lint_imports.py

bench: setup system
	@$(PIP) -r requirements-bench.txt
	@$(PY) -m benchmarks

faults: setup system
	@$(PY) -m faults

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
