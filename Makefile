# `make demo` and `make test` start from a bare Debian machine with Rust and npm.

# The parser in rustpython declares Rust 1.96 and compiles with 1.95.
CARGO := cargo --locked
FLAGS := --ignore-rust-version
SNOWGLOBE := target/debug/snowglobe
# Brings the guests' packages into the Nix store, where they are not.
GUESTS := guest fetch --if-needed
# What only tests use: EFI firmware, an X server with a font and a client, and
# QEMU for checks in the sandbox.
TEST_PACKAGES := ovmf python3-numpy tightvncserver xfonts-base x11-utils qemu-system-x86 qemu-utils seabios etcd-server etcd-client

.PHONY: demo test lint docs picture bench stress nixos-tests nixos-machines container-obstacles as-user build setup clean

## Set up, build, and run the tutorial's test on the built-in guests.
demo: build
	$(SNOWGLOBE) $(GUESTS)
	$(SNOWGLOBE) run --nixpkgs builtin fixtures/postgrest.nix -o result-demo

## Set up, lint, and run every test. The tests' own build serves for the
## guests too, so that nothing is compiled twice.
test:
	scripts/setup.sh tests
	$(CARGO) test $(FLAGS) --no-run
	$(MAKE) lint
	$(SNOWGLOBE) $(GUESTS) $(TEST_PACKAGES)
	$(SNOWGLOBE) $(GUESTS) --system aarch64-linux
	$(CARGO) test $(FLAGS)
	scripts/as-user.sh $(SNOWGLOBE)

## The main paths as a user without root, over a nix-daemon, with containers in control groups of the user's (as root).
as-user: build
	scripts/as-user.sh $(SNOWGLOBE)

## Formatting, clippy, the docs of the code, shell scripts, the Python of the
## test API, and the terms of the glossary. `make test` formats Nix files, too:
## tests/suite/nix_lib.rs.
lint: setup
	cargo fmt --check
	$(CARGO) clippy $(FLAGS) --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc $(FLAGS) --no-deps --document-private-items
	shellcheck scripts/*.sh .ci/run src/agent/*.sh nix-lib/*.sh
	target/tools/bin/ruff check --quiet src/language/api src/engine/cpython nix-lib scripts benches tests
	target/tools/bin/ty check --quiet --project src/language/api src/language/api src/engine/cpython
	scripts/terms.sh

## The manual, which needs mdBook.
docs:
	mdbook build docs

## The picture of the live display in README.md.
picture: build
	$(SNOWGLOBE) $(GUESTS)
	$(SNOWGLOBE) run --cold --nixpkgs builtin fixtures/postgrest.nix -o target/picture
	target/tools/bin/pip --quiet --disable-pip-version-check install pyte
	target/tools/bin/python scripts/terminal-picture.py docs/src/live.svg 16 \
	  $(SNOWGLOBE) run --cold --nixpkgs builtin fixtures/postgrest.nix -o target/picture

## Speed, as ratios taken side by side in one run.
bench: setup
	$(CARGO) build $(FLAGS) --release
	target/release/snowglobe $(GUESTS)
	benches/driver.py target/release/snowglobe
	benches/again.py target/release/snowglobe
	benches/loop.py target/release/snowglobe
	benches/check.py target/release/snowglobe
	benches/eval.py target/release/snowglobe
	benches/edits.py target/release/snowglobe $(NIXPKGS)
	benches/ready.py target/release/snowglobe
	target/release/snowglobe guest fetch iperf3
	benches/containers.py target/release/snowglobe
	benches/suite.py target/release/snowglobe

## Kill drivers at random moments, and look for what they leave behind.
stress: build
	$(SNOWGLOBE) $(GUESTS)
	SNOWGLOBE_KILLS=30 scripts/test-matching.sh random_kills --test-threads 1

## The tests of a nixpkgs with Debian's packages, on NixOS machines: NIXPKGS=PATH, and ONLY="NAME…" for some.
## With BACKEND=container, as containers. It takes hours, and a new nixpkgs needs a new Nix (26.11pre: 2.18).
BACKEND := vm
nixos-tests: build
	scripts/nixos-tests.py --backend $(BACKEND) $(SNOWGLOBE) $(NIXPKGS) $(ONLY)

## What else Snowglobe does, on NixOS machines: NIXPKGS=PATH of 26.05 or newer, SUITE of Debian, and ONLY=NAME for one.
nixos-machines: build
	SNOWGLOBE_NIXPKGS=$(abspath $(NIXPKGS)) SNOWGLOBE_SUITE=$(SUITE) scripts/test-matching.sh nixos::$(ONLY) --ignored --test-threads 1

## What keeps the tests of a nixpkgs from being containers, by count: NIXPKGS=PATH. It takes hours.
container-obstacles: build
	SNOWGLOBE_NIXPKGS=$(abspath $(NIXPKGS)) scripts/test-matching.sh obstacles:: --ignored
	cat target/obstacles/table.md

build: setup
	$(CARGO) build $(FLAGS)

setup:
	scripts/setup.sh

clean:
	cargo clean
	rm -rf result-* results
