# Everything sets itself up; only Python 3.11 or newer and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup check test demo bench bench-nexmark bench-live chaos fuzz lock audit chart compose k8s k8s-tools k8s-node k8s-node-tools fmt clean
help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(STAMP)

setup: $(STAMP) ## Make the virtual environment

check: $(STAMP) ## Style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(STAMP) ## All tests, on a real Kafka that starts by itself
	$(BIN)/python -m pytest --numprocesses 2

demo: $(STAMP) ## The flights topology on 336,776 real departures; DEMO_ONCE=1 ends after the check
	@$(BIN)/streamflow demo

bench: $(STAMP) ## Throughput beside plain Faust and Quix Streams, latency, restart; ROUNDS=3 for medians; writes bench/RESULTS.md
	$(BIN)/pip install --quiet --editable '.[dev,bench]'
	$(BIN)/python -m bench --rounds $(or $(ROUNDS),1)

bench-nexmark: $(STAMP) ## Nexmark on a real Kafka, checked against DuckDB; EVENTS=1000000, ROUNDS=1; writes bench/NEXMARK.md
	$(BIN)/python -m bench.nexmark --events $(or $(EVENTS),1000000) --rounds $(or $(ROUNDS),1)

bench-live: $(STAMP) ## From HTTP to the delta at 200 clients, and what clients cost the data path; writes bench/LIVE.md
	$(BIN)/python -m bench.live

chaos: $(STAMP) ## Exactly once under kills and stalls, long form; BROKERS=3 loses brokers instead
	$(BIN)/python -m tests.chaos $(if $(BROKERS),--brokers $(BROKERS))

fuzz: $(STAMP) ## Requests made up from the OpenAPI document, against a worker; SECONDS=120
	$(BIN)/pip install --quiet --editable '.[dev,fuzz]'
	$(BIN)/python -m tests.fuzz

lock: $(STAMP) ## Write requirements.lock: every package of the image by version and digest
	$(BIN)/pip install --quiet 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet pyproject.toml --generate-hashes --universal --python-version 3.11 --upgrade \
		--custom-compile-command 'make lock' --output-file requirements.lock
	for each in cron models objects parquet postgres tracing wasm; do $(BIN)/uv pip compile --quiet pyproject.toml --extra $$each \
		--constraint requirements.lock --generate-hashes --universal --python-version 3.11 \
		--custom-compile-command 'make lock' --output-file requirements/$$each.lock || exit 1; done

audit: $(STAMP) ## Known vulnerabilities of all that is locked, and bills of materials in sbom/; ADVISORIES=a clone of pypa/advisory-database
	$(BIN)/pip install --quiet 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'
	$(BIN)/python -m tests.supply $(if $(ADVISORIES),--advisories $(ADVISORIES))

chart: $(STAMP) ## Write values.yaml and values.schema.json of the chart from the models
	$(BIN)/python -m streamflow.deploy.chart_files helm/streamflow

k8s-tools: ## Helm and a Kubernetes control plane into .streamflow/k8s; needs Go, ten minutes once
	tests/k8s/tools/build.sh $(CURDIR)/.streamflow/k8s

k8s-node-tools: ## What `make k8s-node` takes besides: kubelet, containerd, CoreDNS; root, Debian
	apt-get install --yes --no-install-recommends runc containernetworking-plugins iptables conntrack buildah debootstrap
	tests/k8s/tools/build.sh $(CURDIR)/.streamflow/k8s node

k8s-node: $(STAMP) k8s-node-tools ## The image, built here, on a real node with a real Kafka: deaths, upgrades, scaling; STREAMFLOW_K8S_RATE=5000
	STREAMFLOW_K8S_NODE=1 $(BIN)/python -m pytest -s tests/k8s/test_node.py

compose: $(STAMP) ## docker compose up, watched as its user would; needs an engine and its registries, ports 8080 9090 9092 3000
	STREAMFLOW_COMPOSE=1 $(BIN)/python -m pytest tests/deploy/test_compose.py

k8s: $(STAMP) k8s-tools ## The chart: manifests, mutants, and on a real control plane
	STREAMFLOW_K8S=1 $(BIN)/python -m pytest tests/k8s tests/deploy

fmt: $(STAMP) ## Format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was made
	rm -rf $(VENV) .streamflow .mypy_cache .ruff_cache .pytest_cache build *.egg-info
