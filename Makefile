# `make demo` and `make test` start from a bare Debian machine with Rust and npm.

# The parser in rustpython declares Rust 1.96 and compiles with 1.95.
CARGO := cargo --locked
FLAGS := --ignore-rust-version
SNOWGLOBE := target/debug/snowglobe

.PHONY: demo test setup build guest lint unit bench clean

## Set up, build, and run the tutorial's test on the built-in guests.
demo: guest
	$(SNOWGLOBE) run --nixpkgs builtin fixtures/postgrest.nix -o result-demo

## Set up, lint, and run every test.
test: guest lint unit

setup:
	scripts/setup.sh

build: setup
	$(CARGO) build $(FLAGS)

# Brings the guests' packages into the Nix store; quick where they are there.
guest: build
	[ -e "$${XDG_DATA_HOME:-$$HOME/.local/share}/snowglobe/guest-index.json" ] || $(SNOWGLOBE) guest fetch

lint: setup
	cargo fmt --check
	$(CARGO) clippy $(FLAGS) --all-targets -- --deny warnings

unit: guest
	$(CARGO) test $(FLAGS)

## Speed, as ratios taken side by side in one run.
bench: guest
	$(CARGO) build $(FLAGS) --release
	benches/driver.py target/release/snowglobe

clean:
	cargo clean
	rm -rf result-*
