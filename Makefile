# Warren's verbs. Each does all its own set-up: `make testnet-up` and `make test` are enough on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

NODE_VERSION := 24.21.0
NODE_ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x64,$(shell uname -m)))
NODE_PACKAGE := node-linux-$(NODE_ARCH)
NODE_HOME := $(CURDIR)/.tools/node/node_modules/$(NODE_PACKAGE)
export PATH := $(CURDIR)/node_modules/.bin:$(NODE_HOME)/bin:$(PATH)
export npm_config_update_notifier := false

TOPOLOGY ?= testnet
RUNTIME ?= auto
SEED ?= warren
NODES ?=
SCENARIO ?=
DEPTH ?= short
BENCH ?=
JSON ?=
CAPTURE ?=
RELAY ?=
# What some scenarios are told besides; the help and scenarios/README.md say which.
export RUNS ?=
export PAIRS ?=
export TRANSPORTS ?=
export LINK ?=
export LOSS ?=
export AT_ONCE ?=

TESTNET := node scenarios/harness/cli.ts
UP_FLAGS = --topology $(TOPOLOGY) --runtime $(RUNTIME) --seed $(SEED) $(if $(NODES),--nodes $(NODES)) $(if $(filter-out 0,$(CAPTURE)),--capture)

.PHONY: help setup lab testnet-up testnet-status testnet-down test contract scenarios faults bench doctor docker-engine compose images \
	build run-node run-relay run-gateway browser example screenshots lint format coverage sqlite3 clean

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Variables: TOPOLOGY=testnet|nat-pair|lan|many|./file.ts  RUNTIME=docker|netns  SEED=word  NODES=30  SCENARIO=name  BENCH=name  JSON=1  CAPTURE=1"
	@echo "  SCENARIO=hole-punching, network-events also: RUNS=50  PAIRS=full-cone:symmetric,…  TRANSPORTS=tcp,quic  LINK=15|50 (ms)  LOSS=5 (%)  AT_ONCE=2"
	@echo "  SCENARIO=punch-swarm also: TRANSPORTS=tcp,quic  LINK=15|50 (ms)  LOSS=5 (%)"

setup: ## Node and packages, when they are missing or the lockfile changed
	@./.ci/setup $(NODE_PACKAGE) $(NODE_VERSION)

lab: setup
	@./netem/tools.sh

testnet-up: setup ## Bring up the small internet: TOPOLOGY, RUNTIME, SEED, NODES, CAPTURE=1
	@$(TESTNET) up $(UP_FLAGS)

testnet-status: setup ## Look at it (JSON=1 for machines)
	@$(TESTNET) status $(if $(JSON),--json)

testnet-down: setup ## Remove all of it and prove that nothing is left
	@$(TESTNET) down

test: lab ## Lint, types, unit and README tests, then the contract suite and first scenario on netns
	@$(MAKE) lint
	@npm run --silent test
	@$(TESTNET) contract --runtime netns
	@mocha scenarios/house/readme.examples.ts
	@$(TESTNET) run store-through-nat --runtime netns

contract: lab ## The contract suite that every runtime keeps: RUNTIME
	@$(TESTNET) contract --runtime $(RUNTIME)

scenarios: setup ## Scenario suites: SCENARIO, RUNTIME, DEPTH=short|full, CAPTURE=1; reports under reports/
	@$(TESTNET) run $(if $(SCENARIO),$(SCENARIO),--all) --runtime $(RUNTIME) --seed $(SEED) --depth $(DEPTH) $(if $(filter-out 0,$(CAPTURE)),--capture)

faults: setup ## Kill -9, failing system calls and flipped bits on stores: KILLS=100 PACK_KILLS=40 NODE_KILLS=10 NTH=2 PACK_NTH=1 FLIPS=200 PACK_FLIPS=100
	@node node/faults/kill.ts --kills $(or $(KILLS),100)
	@node node/faults/kill.ts --kills $(or $(PACK_KILLS),40) --packed
	@node node/faults/kill-node.ts --kills $(or $(NODE_KILLS),10)
	@node node/faults/inject.ts --nth $(or $(NTH),2) || [ $$? = 3 ]
	@node node/faults/inject.ts --nth $(or $(PACK_NTH),1) --packed || [ $$? = 3 ]
	@node node/faults/flips.ts --flips $(or $(FLIPS),200)
	@node node/faults/flips.ts --flips $(or $(PACK_FLIPS),100) --packed

bench: lab ## Benchmarks as ratios, JSON and Markdown under reports/bench/: BENCH=name for one
	@node bench/main.ts $(BENCH)

doctor: setup ## What this machine can run, and how to get the rest
	@$(TESTNET) doctor $(if $(JSON),--json)

docker-engine: ## Install a Docker engine with Compose v2 (Debian, root)
	@./compose/engine.sh

compose: setup ## Render the topologies as Compose files
	@node compose/generate.ts

images: setup ## Build the images (and a local base where no registry answers)
	@node compose/images.ts

build: setup ## Bundle the roles into dist/
	@node compose/build.ts

run-node: setup ## Run one storage node here (environment: node/README.md)
	@exec node node/main.ts

run-relay: setup ## Run one relay here (environment: relay/README.md)
	@exec node relay/main.ts

run-gateway: setup ## Run one gateway here (environment: gateway/README.md)
	@exec node gateway/main.ts

browser: setup ## Bundle the browser client: dist/browser/warren.js
	@node client/browser/bundle.ts

example: setup ## Serve the browser client's example page on this machine: RELAY=http://127.0.0.1:9090/
	@exec node client/example/serve.ts $(if $(RELAY),--relay '$(RELAY)')

screenshots: setup ## The pages as PNG under reports/screenshots/ (needs Chromium)
	@node gateway/testing/screenshots.ts

lint: setup ## Linter, formatter and types
	@biome check --error-on-warnings .
	@tsc

format: setup ## Let the formatter have its way
	@biome check --write .

coverage: setup ## Unit tests with coverage
	@npm run --silent test:coverage

sqlite3: setup ## Compile the optional sqlite3 driver (about a minute)
	@cd node_modules/sqlite3 && npm_config_nodedir=$(NODE_HOME) npm_config_ignore_scripts=false npm run --silent rebuild

clean: ## Remove what was built (not a running testnet)
	@rm -rf dist reports coverage contracts/artifacts contracts/cache
