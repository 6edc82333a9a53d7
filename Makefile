# The two commands of the README are `make run` and `make test`; `make help` lists the rest.
# Everything builds with one profile (dev, see Cargo.toml), so that RocksDB and aws-lc are compiled once.

SHELL := /bin/bash
GODWIT_CACHE ?= $(HOME)/.cache/godwit
export CARGO_TARGET_DIR ?= $(GODWIT_CACHE)/target
# cargo of a fresh rustup, cargo-deny; ccache, where it is installed, makes RocksDB cheap to build again.
ccache := $(if $(wildcard /usr/lib/ccache),/usr/lib/ccache:)
export PATH := $(GODWIT_CACHE)/cargo/bin:$(HOME)/.cargo/bin:$(ccache)$(PATH)

.DEFAULT_GOAL := help
.PHONY: run test test-ansible deps build release deb generate lint audit fuzz-short e2e
.PHONY: perf bench upgrade-scale scale backup-scale sim sim-seed sim-planted crash image test-image clean help

run:        ## install what is missing, build, start a server for `localhost`; Ctrl-C stops it
	@tests/bin/deps build
	@tests/bin/run

test:       ## everything; one suite with SUITE=e2e (several: SUITE="unit e2e"), their names with SUITE=list
	@$(if $(filter list,$(SUITE)),,tests/bin/deps all &&) tests/bin/suites $(SUITE)

deps:       ## install what building and testing needs (Debian 12 or 13, root or sudo)
	@tests/bin/deps all

build:      ## godwitd and godwitctl, dev profile
	cargo build --quiet -p godwit-server

release:    ## the same, optimised, in $CARGO_TARGET_DIR/release
	cargo build --release -p godwit-server

deb:        ## the Debian package, in dist/ (VERSION=… for another version than Cargo.toml's)
	@cargo build --quiet --release -p godwit-server --bins
	@cargo run --quiet -p godwit-server --example manual -- "$$CARGO_TARGET_DIR/manual"
	@packaging/deb/build "$$CARGO_TARGET_DIR/release" "$$CARGO_TARGET_DIR/manual"

generate:   ## write anew what is made from the code: tables, the example configuration
	GODWIT_GENERATE=1 cargo test --quiet -p godwit-server --test generated

lint:       ## style rules, rustfmt, clippy, cargo-deny
	@tests/bin/suites tidy fmt clippy deny

audit:      ## known holes in dependencies; asks the advisory database, so its answer changes with the day
	cargo deny --locked check advisories

fuzz-short: ## the fuzz targets, some seconds each
	@tests/bin/suites fuzz

e2e:        ## real clients over TLS
	@tests/bin/suites e2e

test-ansible: ## package and collection on Debian 12 and 13 (systemd-nspawn) and in QEMU; root; ONLY=NAME
	@tests/bin/deps all
	@tests/ansible/prepare all
	@python=$(GODWIT_CACHE)/venv/bin/python; $$python tests/ansible/hosts.py $$python -m pytest tests/ansible \
	  -c tests/ansible/pytest.ini $(if $(ONLY),-k $(ONLY))

sim:        ## the whole server in one thread, faults by seed; SEEDS=N (1000), FIRST=N
	@cargo run --quiet -p godwit-sim --bin seeds -- $(or $(SEEDS),1000) $(or $(FIRST),1)

sim-seed:   ## one seed again, with the last events: SEED=N
	@cargo run --quiet -p godwit-sim --bin one_seed -- $(SEED)

sim-planted: ## three bugs planted on purpose; all must be found
	@tests/bin/suites sim-planted

perf:       ## what a message and a login cost, counted, against the committed baseline
	@tests/bin/suites perf

bench:      ## Godwit beside Prosody and ejabberd on this machine; installs them; ROUNDS=3
	@tests/bin/deps bench
	cargo build --release --quiet -p godwit-server -p godwit-load
	$(GODWIT_CACHE)/bench-venv/bin/python tests/perf/bench.py --rounds $(or $(ROUNDS),3)

upgrade-scale: ## upgrades under 15,000 sessions, beside restarts of Prosody and ejabberd; IDLE=N, TIMES=3
	@tests/bin/deps bench
	cargo build --release --quiet -p godwit-server -p godwit-load
	python3 tests/perf/upgrades.py --idle $(or $(IDLE),15000) --times $(or $(TIMES),3)

scale:      ## figures at many sizes, logins of each kind, twice the knee, a storm; writes tests/perf/SCALE.md
	@tests/bin/deps bench
	cargo build --release --quiet -p godwit-server -p godwit-load
	$(GODWIT_CACHE)/bench-venv/bin/python tests/perf/scale.py $(if $(PARTS),--parts $(PARTS))

backup-scale: ## backup and restoring of a large store, under a light load; MESSAGES=1000000
	cargo build --release --quiet -p godwit-server -p godwit-load
	python3 tests/perf/backup.py --messages $(or $(MESSAGES),1000000)

crash:      ## kills and power losses under load, nothing acknowledged may be lost; KILLS=200 for a full run
	@tests/bin/suites crash

image:      ## a hardened disk image in image/out, with what an update takes; image/README.md
	@tests/bin/deps build
	@image/bin/build

test-image: ## boots the built image in QEMU; an hour and more; ONLY=NAME some of it, CUTS=20, SESSIONS=50000
	@tests/bin/deps all
	@[ -e image/out/SHA256SUMS ] || image/bin/build
	$(GODWIT_CACHE)/venv/bin/python -m pytest tests/image -c tests/image/pytest.ini $(if $(ONLY),-k $(ONLY))

clean:      ## remove what was built and what `make run` made
	rm -rf .run tests/e2e/node/node_modules
	cargo clean --quiet

help:       ## this list
	@sed -n 's/^\([a-z0-9-]*\): *## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
