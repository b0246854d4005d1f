# Everything here sets itself up: a bare Debian with Python 3.11, git and make is enough.
.PHONY: start test lint types imports conformance exchanges bench check lock audit clean setup

start: setup  ## the main job on the embedded default: a hello page through the local edge
	@.venv/bin/python scripts/in-foreground .venv/bin/prx start --hello --lab

test: setup  ## all tests; PRX_TEST_CLOUDFLARED=/path/to/cloudflared adds those against the real program
	@.venv/bin/pytest -n 2

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

types: setup
	@.venv/bin/mypy

imports: setup  ## imports point one way
	@.venv/bin/lint-imports

conformance: setup  ## what passes through the lab, with the builtin and the real cloudflared, over HTTP/2 and QUIC
	@.venv/bin/python -m tests.conformance

exchanges: setup  ## 100,000 exchanges with services that misbehave: no byte of one is seen in another (some four minutes)
	@.venv/bin/python -m tests.connector.exchanges

bench: setup  ## what things cost, as ratios in one run
	@.venv/bin/python -m bench.idle
	@.venv/bin/python bench/lab/run.py

check: lint types imports test  ## what CI runs

lock: setup  ## choose the newest versions that pyproject.toml allows, with their hashes
	@.venv/bin/uv pip compile pyproject.toml --group dev --generate-hashes --universal --python-version 3.11 \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet -o requirements.lock

audit: setup  ## known vulnerabilities in what requirements.lock names; asks a vulnerability service, so CI does not run it
	@.venv/bin/uv tool run --quiet pip-audit --disable-pip --require-hashes -r requirements.lock $(AUDIT)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

setup:
	@./scripts/setup
