# Everything here sets itself up: a bare Debian with Python 3.11, git and make is enough.
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: browser photos chromium start test cloudflared lint types imports sdk manifests conformance conformance-relay exchanges catch bench peers relay outages storm replicas fleet live man siege image umoci check lock audit clean setup

start: setup  ## the main job on the embedded default: a hello page through the local edge
	@.venv/bin/python scripts/in-foreground .venv/bin/prx start --hello --lab

test: cloudflared  ## all tests, also against a real cloudflared; PRX_TEST_CLOUDFLARED=/path/to/cloudflared chooses another
	@echo "the whole suite takes some 15 minutes; .venv/bin/pytest tests/ui runs a part of it"
	@.venv/bin/pytest -n 4 --dist worksteal

cloudflared: setup  ## the real program for the tests, its SHA-256 checked; nothing is installed outside of .venv
	@.venv/bin/python scripts/real-cloudflared

lint: setup
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

types: setup
	@.venv/bin/mypy

imports: setup  ## imports point one way
	@.venv/bin/lint-imports

sdk: setup  ## Cloudflare's own Python SDK (105 MB, into .venv/sdk) against the lab's API
	@.venv/bin/uv pip install --quiet --target .venv/sdk --group sdk
	@PYTHONPATH=.venv/sdk .venv/bin/pytest -n 0 tests/lab/edge/api/sdk_contract.py

manifests: setup  ## deploy/ and the workflows, by the tools for each kind of file (210 MB, into .venv/manifests)
	@.venv/bin/uv pip install --quiet --target .venv/manifests --group manifests
	@PRX_TEST_MANIFESTS=1 .venv/bin/pytest -n 0 tests/deploy

image: cloudflared umoci  ## the container image, built and run without an engine (minutes; root; a Debian of 200 MB, into .venv/image)
	@.venv/bin/pytest -n 0 tests/deploy/image_contract.py

umoci:
	@command -v umoci debootstrap >/dev/null || { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq umoci debootstrap >/dev/null; }

conformance: setup  ## what passes through the lab, with the builtin and the real cloudflared, over HTTP/2 and QUIC
	@.venv/bin/python -m tests.conformance

conformance-relay: setup  ## the same through the relay of --inspect, compared byte by byte (some ten minutes)
	@.venv/bin/python -m tests.traffic.whole_conformance

exchanges: setup  ## 100,000 exchanges with services that misbehave: no byte of one is seen in another (some four minutes)
	@.venv/bin/python -m tests.lab.connector.exchanges

catch: setup  ## 10,000 webhooks for a service that is down, with kill -9 of prx and of the service (some minutes)
	@.venv/bin/python -m tests.traffic.storm $(CATCH)

bench: setup  ## what things cost, as ratios in one run
	@.venv/bin/python -m bench.idle
	@.venv/bin/python bench/lab/run.py

peers: setup  ## prx beside supervisord, circus, honcho, pm2, runit and cloudflared alone (an hour); writes docs/reference/benchmarks.md
	@.venv/bin/python -m bench.peers --page $(PEERS)

browser: setup chromium  ## the dashboard in Debian's Chromium: axe, the keyboard alone, hostile logs; its API with schemathesis
	@PYTHONPATH=.venv/browser .venv/bin/pytest -n 0 tests/web/browser/page_contract.py tests/web/browser/api_contract.py

photos: setup chromium  ## every state of the dashboard, into .venv/photos; and the picture of the README, into docs/images
	@mkdir -p .venv/photos
	@PYTHONPATH=.venv/browser .venv/bin/python -m tests.web.browser.photos .venv/photos

chromium: setup
	@command -v chromium >/dev/null || { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq chromium >/dev/null; }
	@[ -d .venv/browser/playwright ] || .venv/bin/uv pip install --quiet --target .venv/browser --group browser

relay: setup  ## what inspection costs, and what its relay bears: 500 MB streams, 1 GB bodies, 1,000 WebSockets
	@.venv/bin/python -m bench.relay --write

outages: setup  ## prx beside bare cloudflared in the same outages; hours, or minutes with OUTAGES=--quick
	@.venv/bin/python -m bench.outages $(OUTAGES)

storm: setup  ## random faults by seed: which verdicts are shown, what is restarted, what is lost
	@.venv/bin/python -m bench.storm $(STORM)

live: setup  ## against Cloudflare itself, with CLOUDFLARE_API_TOKEN and ZONE=example.com; never in CI
	@.venv/bin/python -m bench.live

replicas: setup  ## what visitors lose while connectors are killed, restarted, reconfigured and upgraded (eleven minutes)
	@.venv/bin/python -m bench.replicas $(REPLICAS)

man: setup  ## write the manual pages and the reference of the command line again, from the help of the commands
	@.venv/bin/python -m prx.cli.manual man man
	@.venv/bin/python -m prx.cli.manual page >docs/reference/command-line.md

fleet: setup  ## several hosts in network namespaces, one token, under load: rolling update, one cut off, one frozen (six minutes)
	@.venv/bin/python -m bench.fleet $(FLEET)

siege: setup  ## hostile clients of the dashboard beside a calm run: how soon prx answers and reacts (two minutes)
	@.venv/bin/python -m bench.siege $(SIEGE)

check: lint types imports test  ## what CI runs

lock: setup  ## choose the newest versions that pyproject.toml allows, with their hashes
	@.venv/bin/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --universal --python-version 3.11 \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade --quiet -o requirements.lock

audit: setup  ## known vulnerabilities in what requirements.lock names; asks a vulnerability service, so CI does not run it
	@.venv/bin/uv tool run --quiet pip-audit --disable-pip --require-hashes -r requirements.lock $(AUDIT)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

setup:
	@[ -e .venv/.ready ] || echo "the first time: .venv gets the locked libraries, each checked by its hash; half a minute or more" >&2
	@./scripts/setup
