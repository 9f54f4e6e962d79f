.DEFAULT_GOAL := help
SHELL := /bin/sh

.PHONY: help quickstart build test unit roles vm conformance bench faults fuzz lint fmt image clean-lab

help: ## what can be made here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## install what is missing, build, make the images, and bring up a lab in one VM
	@scripts/quickstart.sh

build: ## the release binary
	@scripts/setup.sh build
	@scripts/cargo.sh build --release --locked

test: ## everything: formatting, lints, unit tests, real parts, and the quickstart twice in a VM
	@scripts/test.sh

unit: ## the unit tests alone
	@scripts/test.sh unit

roles: ## the roles, on hosts with systemd, and what they stand on
	@scripts/test.sh roles role_ceph role_podman

vm: ## the quickstart and what follows it, in a VM
	@scripts/test.sh vm

bench: ## time the same work under quaylab and its peers, and write docs/benchmarks.md
	@scripts/cargo.sh build --release --locked
	@scripts/cargo.sh bench --locked --bench language
	@python3 benches/bench.py --quaylab "$${CARGO_TARGET_DIR:-target}/release/quaylab" --venv "$${CARGO_TARGET_DIR:-target}/bench-venv"
	@python3 benches/scale.py --quaylab "$${CARGO_TARGET_DIR:-target}/release/quaylab"
	@python3 benches/boot.py --quaylab "$${CARGO_TARGET_DIR:-target}/release/quaylab"

conformance: ## the cases of tests/conformance under quaylab and ansible-core, as a table (CONFORMANCE_ASK=all: ask ansible-core anew)
	@scripts/cargo.sh test --locked --test conformance -- --nocapture

faults: ## runs that are killed at 100 and 30 random moments and cut at each task (docs/robustness.md)
	@QUAYLAB_TEST_KILLS=100 scripts/cargo.sh test --locked --test lab_killed -- --nocapture
	@scripts/cargo.sh test --locked --test roles -- --ignored --nocapture --test-threads=1 faults

fuzz: ## each parser for ten minutes under cargo-fuzz (docs/robustness.md)
	@scripts/fuzz.sh

lint: ## formatting, clippy, and the licences and sources of the dependencies
	@scripts/cargo.sh fmt --all --check
	@scripts/cargo.sh clippy --workspace --all-targets --locked -- -D warnings
	@scripts/deny.sh

fmt: ## format the sources
	@scripts/cargo.sh fmt --all

image: ## the guest image and the container images (cached in /var/cache/quaylab/images)
	@scripts/setup.sh lab
	@scripts/guest-image.sh
	@scripts/service-images.sh

clean-lab: ## remove what quickstart made on the hypervisor, and only that
	@scripts/clean-lab.sh
