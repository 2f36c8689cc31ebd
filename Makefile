# Every recipe installs what it needs where it can (Debian, as root), and says what is missing elsewhere.
# A build goes to CARGO_TARGET_DIR, or to target/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
export CARGO_TERM_COLOR ?= never

.PHONY: help
help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | column -t -s '|'

.PHONY: tools
tools: ## Installs what the demo and the tests need
	@scripts/tools

.PHONY: demo
demo: tools ## Runs everything together on this machine, serves a page that shows it, and prints what to try
	cargo build --release --bin prom-rbac-proxy
	cargo build -p support --bin demo
	exec $(TARGET)/debug/demo --proxy $(TARGET)/release/prom-rbac-proxy

# In this order: what fails soonest comes first, what is built by one is used by the next, and what scripts/build-ahead
# builds comes last.
PARTS := tools-test lint unit deploy-check release-check-short bench-smoke e2e-if-possible bench-instructions fuzz-short

.PHONY: test
test: ## All that CI runs; with CI=true nothing of it is skipped
	@times=
	mkdir -p $(TARGET)
	for part in $(PARTS); do
		start=$$SECONDS
		# While tests wait, and not sooner: tools are installed, and the crates are there.
		if [ $$part = unit ]; then
			set -m
			scripts/build-ahead >$(TARGET)/build-ahead.log 2>&1 &
			trap "kill -- -$$! 2>/dev/null || true" EXIT
			set +m
		fi
		$(MAKE) --no-print-directory $$part
		printf -v line '%-18s %5d s\n' $$part $$((SECONDS - start))
		times+=$$line
	done
	printf '%s' "$$times"
	echo "make test: all passed in $$SECONDS s"

.PHONY: tools-test
tools-test: ## Installs what all of the tests run
	@scripts/tools --test

.PHONY: lint
lint: ## Formatting, clippy and documentation, warnings denied; scripts, workflows, spelling, dependencies
	cargo fmt --all --check
	scripts/lint
	cargo clippy --workspace --all-targets --locked -- -D warnings
	# With one of the tests, so that other crates have the features they have above, and are not checked once more.
	cargo clippy --lib --bins --test rooms --locked --features hyper-h1 -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	scripts/lint-workflows

.PHONY: unit
unit: ## All Rust tests: units, properties, suites over the binary
	cargo test --workspace --locked -- --show-output

.PHONY: scale
scale: ## Reviews of 10,000 viewers in 5,000 namespaces: a simulation, in one line
	@cargo test --release --locked --test scale ten_thousand -- --nocapture | grep '^scale: '

.PHONY: soup
soup: ## 200,000 texts without grammar through the parsers of seven releases of Prometheus (needs Go)
	PROMQL_SOUP=200000 cargo test --locked --test promql_differential soup -- --nocapture

.PHONY: deploy-check
deploy-check: ## Checks everything under deploy/ with the tools of its users
	scripts/tools kubectl promtool chromium
	# With the tests, whose features other crates have been built with.
	cargo build --workspace --bins --tests --locked
	PROM_RBAC_PROXY="$(abspath $(TARGET))/debug/prom-rbac-proxy" DEMO="$(abspath $(TARGET))/debug/demo" tests/deploy/check.sh

# Not a part of test: other flags than all else is built with, so everything is compiled once more.
ARCHITECTURES ?= $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
.PHONY: image-check
image-check: ## Builds the image's static binary and runs it on an empty root; ARCHITECTURES="amd64 arm64" for both
	STATIC_BUILD="$(ARCHITECTURES)" tests/deploy/check.sh

.PHONY: release-check
release-check: ## A whole release into target/release-check, pushed to a registry on this machine and taken from there
	scripts/release-check

.PHONY: release-check-short
release-check-short: ## The same for this architecture, with the binary as the tests build it
	scripts/release-check --short

.PHONY: sbom
sbom: ## Lists the crates of the binary in target/sbom/prom-rbac-proxy.cdx.json, CycloneDX
	RELEASE_DIR="$(TARGET)/sbom" scripts/release sbom

.PHONY: chaos
chaos: tools ## Failures of every kind under load, in their long form (below 10 minutes)
	CHAOS_LONG=1 cargo test --locked --test chaos -- --nocapture --test-threads=1

.PHONY: soak
soak: tools ## Ten minutes of load; memory and open files at the start and at the end
	cargo test --release --locked --test chaos -- --ignored --nocapture soak

.PHONY: e2e
e2e: tools ## The same black-box proofs with Kubernetes' own API server and both Prometheus
	scripts/e2e

.PHONY: e2e-if-possible
e2e-if-possible: ## The same, or a line that says what is missing for it
	scripts/e2e --if-possible

.PHONY: fuzz
fuzz: ## Runs each fuzz target for a minute
	scripts/fuzz 60

.PHONY: fuzz-short
fuzz-short: ## The same for ten seconds each
	scripts/fuzz --short 10

.PHONY: bench
bench: ## Everything under load, beside nginx and the two peers; writes docs/performance.md (an hour)
	scripts/bench long

.PHONY: bench-short
bench-short: ## The main cases, in less than two minutes; writes target/bench/summary.json
	scripts/bench short

.PHONY: bench-sharing
bench-sharing: ## 1,000 viewers of 50 charts, with shared answers and without; writes target/bench/sharing.json
	scripts/bench sharing

.PHONY: bench-smoke
bench-smoke: ## The load benchmark once, for seconds: that it works, and no numbers
	scripts/bench smoke

.PHONY: bench-micro
bench-micro: ## Each step of a request's way
	cargo bench --locked --bench pipeline --bench restriction

.PHONY: bench-instructions
bench-instructions: ## Instructions of each step, counted by valgrind; at most 2 % more than those that are kept
	scripts/instructions
