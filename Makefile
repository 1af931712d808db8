# Every target sets up first where that has not been done. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS ?= dev
# One more than the cores of a small machine, since tests also wait; in order, so that the longest files do not come last.
AT_ONCE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
ALONE = $(shell grep --recursive --files-with-matches --include='test_*.py' pytest.mark.alone tests)

.PHONY: help setup demo demo-search demo-spaces test test-fast fault check audit docs reference web format bench coverage noise-trial gpu-check gpu-check-rehearsal clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(STAMP): pyproject.toml requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint requirements/constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

setup: $(STAMP)  ## make .venv and install into it

demo: $(STAMP)  ## profile, serve, pull, loss, estimate, validate on this machine; results in build/demo
	$(BIN)/python scripts/demo.py

demo-search: $(STAMP)  ## search, derive, train, evaluate and validate on generated street scenes; results in build/demo-search
	$(BIN)/python scripts/demo_search.py

demo-spaces: $(STAMP)  ## search, derive, train, evaluate and validate in each search space; results in build/demo-spaces
	$(BIN)/python scripts/demo_spaces.py $(ARGS)

test: $(STAMP)  ## all tests, three at a time; those that judge real times last and alone
	$(BIN)/python -m pytest -m 'not benchmark and not alone' $(AT_ONCE)
	$(BIN)/python -m pytest -m 'alone and not benchmark' $(ALONE)

test-fast: $(STAMP)  ## tests that take no more than a few seconds each
	$(BIN)/python -m pytest -m 'not benchmark and not slow and not alone' $(AT_ONCE)

fault: $(STAMP)  ## the fault suite at full length: 100 killed services, 300 made-up histories, a database locked for 90 s
	$(BIN)/python -m pytest --fault-length=full tests/fault tests/integration/test_postgres.py tests/integration/test_workers.py \
		tests/integration/test_store_processes.py tests/integration/test_runner.py tests/integration/test_attacks.py \
		tests/integration/test_migrations.py tests/unit/profiler_service/storage tests/unit/profiler_service/jobs

check: $(STAMP) docs  ## ruff, mypy --strict, import-linter, the documentation's links
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit:  ## known vulnerabilities of the pinned versions, by pip-audit; asks the package index, so that `make check` leaves it out
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet 'pip-audit>=2.7'; }
	build/audit/bin/pip-audit --requirement requirements/constraints.txt --no-deps --disable-pip $(ARGS)

docs: $(STAMP)  ## the documentation as a site in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

reference: $(STAMP)  ## write docs/reference, docs/columns.md and docs/api.md from the code
	$(BIN)/python -m scripts.column_docs
	$(BIN)/python -m scripts.api_docs
	$(BIN)/python -m scripts.reference_docs

web:  ## build the scripts and the style of the pages from frontend/ into profiler_service/web/static; needs node and npm
	cd frontend && npm ci --ignore-scripts --no-audit --no-fund && npm run build

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## benchmarks; each prints a ratio
	$(BIN)/python -m pytest -m benchmark -s -q

coverage: $(STAMP)  ## how often 95 % intervals of entries cover, over fresh processes; on a quiet machine; results in build/coverage
	$(BIN)/python -m scripts.coverage $(ARGS)

noise-trial: $(STAMP)  ## what a busy neighbour does to a table; on a quiet machine; results in build/noise
	$(BIN)/python -m scripts.noise_trial $(ARGS)

gpu-check: $(STAMP)  ## what a GPU box has to show, in parts; PART=NAME runs one; results in build/gpu-check (docs/gpu.md)
	$(BIN)/profiler-service gpu-check $(addprefix --part ,$(PART)) $(ARGS)

gpu-check-rehearsal: $(STAMP)  ## the same on the CPU, in a small space: is everything in place?
	$(BIN)/profiler-service gpu-check --rehearse $(addprefix --part ,$(PART)) $(ARGS)

clean:  ## remove everything that was built, .venv included
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache *.egg-info
