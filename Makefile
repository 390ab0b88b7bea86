# millstream: `make help` lists what there is to do.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo down test soak check bench lock setup

# Kept, as in images: else each program that a test or a benchmark starts compiles all of it again.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV := .venv
SOAK_SECONDS := 1800
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
LOCK := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --universal \
	--python-version 3.11 --custom-compile-command "make lock"

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## the whole path on a local cluster: events to fresh, guarded recommendations
	$(RUN) -m demo

down: setup ## stop the local cluster and leave nothing running
	$(RUN) -m devcluster down

test: setup ## every check and test this machine can run
	$(MAKE) --no-print-directory check
	$(RUN) -m devcluster build
	@# e2e mostly waits for the cluster: what only computes goes on behind it, and gives way.
	@mkdir -p build/reports; log=build/reports/property.log; \
	nice -n 19 $(RUN) -m pytest tests/property >$$log 2>&1 & \
	beside=$$!; trap "kill $$beside 2>/dev/null || true" EXIT; \
	$(RUN) -m pytest tests/e2e; \
	echo "waiting for the property tests beside it"; \
	wait $$beside || { cat $$log; exit 1; }; cat $$log
	$(RUN) -m pytest --ignore tests/e2e --ignore tests/property \
		--numprocesses 3 --dist loadfile --no-loadscope-reorder

soak: setup ## half an hour of requests and new versions: SOAK_SECONDS=600 for less
	SOAK_SECONDS=$(SOAK_SECONDS) $(RUN) -m pytest tests/integration/serving/test_soak.py

check: setup ## style, types, layers, spelling, generated files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=cli:core:crds:operator:serving:trainer $(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/codespell
	$(RUN) -m millstream_api.crd --check

bench: setup ## what the tables cost, against peers and against the bars
	$(RUN) -m bench

bench-%: setup
	$(RUN) -m bench $*

lock: setup ## renew the pinned requirements of every image and of development
	$(LOCK) pyproject.toml --all-extras -o requirements/dev.txt
	$(LOCK) requirements/movielens.in --no-deps -o requirements/movielens.txt
	@# KServe wants an older protobuf than ours; torch, the largest by far, is downloaded once for both.
	$(LOCK) requirements/peers.in --no-annotate -o requirements/peers.txt \
		--constraint <(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/dev.txt)
	@# robyn wants an older uvloop than ours: its rivals get that one too.
	$(LOCK) requirements/http.in -o requirements/http.txt
	for program in operator serving trainer; do \
		$(LOCK) pyproject.toml --extra $$program --constraint requirements/dev.txt \
			-o images/$$program/requirements.txt; \
	done

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml requirements/dev.txt requirements/movielens.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "millstream needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "Python has no ensurepip: run 'apt-get install python3-venv'"; exit 1; }
	@echo "Installing Python packages into $(VENV) (about a minute; 6 GB, most of it torch)"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(RUN) -m pip install --quiet uv
	$(UV) pip sync --python $(RUN) --quiet --require-hashes requirements/dev.txt
	$(UV) pip install --python $(RUN) --quiet --no-deps --require-hashes -r requirements/movielens.txt
	$(UV) pip install --python $(RUN) --quiet --no-deps --no-build-isolation --editable .
	touch $@
