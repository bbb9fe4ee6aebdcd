# Everything starts here: `make run` and `make test` need Python 3.11 or newer, with venv, and make.
.DEFAULT_GOAL := help
.PHONY: help run test quick test-versions mutants coverage lint format lock bench screenshots reference release clean
SHELL := /bin/sh
BIN := .venv/bin

help: ## this text
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

run: .venv/runtime ## start everything: database, web server, job worker, message delivery (PORT=8000 DOOR_PORT=8001 HOST=127.0.0.1)
	@exec $(BIN)/python -m config.run.supervisor

test: .venv/development ## lint, types, checks and all tests
	@sh .ci/test

quick: .venv/development ## lint of what differs from the last commit and the tests of the rules, within a minute
	@sh .ci/quick

test-versions: .venv/development ## tests that depend on the version of PostgreSQL, on each that is here (ARGS=tests/…)
	@$(BIN)/python .ci/versions.py $(ARGS)

mutants: .venv/development ## break the code on purpose, and see whether a test notices (ARGS=--help)
	@$(BIN)/python .ci/mutants.py $(ARGS)

coverage: .venv/development ## all tests with their coverage, which pyproject.toml bounds from below
	@$(BIN)/python -m pytest -q -n $${TEST_WORKERS:-2} --dist loadfile --no-loadscope-reorder \
	  --cov --cov-report=term --cov-report=xml

lint: .venv/development ## lint, format check, types and import contracts
	@sh .ci/lint

format: .venv/development ## put the code into its one format
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: .venv/development ## measure starts, in ten minutes (ARGS=--quick, --help)
	@$(BIN)/python -m bench $(ARGS)

screenshots: .venv/development ## take the pictures of README.md again
	@$(BIN)/python -m docs.screenshots

reference: .venv/development ## write the pages of docs/reference/ that are made from the code
	@WRITE_REFERENCE=1 $(BIN)/python -m pytest -q -n 0 tests/docs/test_reference.py -k made

release: .venv/development ## build both wheels into dist/ and tag the version of pyproject.toml
	@sh .ci/release

lock: ## resolve pyproject.toml anew into the two requirements files (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean: ## remove what can be made again; the data in .tollgate/ stays
	rm -rf .venv .static build client/python/build dist .coverage coverage.xml .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/runtime: requirements.txt
	@sh .ci/environment requirements.txt
	@touch $@

.venv/development: requirements.txt requirements-dev.txt
	@sh .ci/environment requirements-dev.txt
	@touch .venv/runtime $@
