# The two commands a newcomer needs are `make call` and `make test`.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian packages without which the codecs do not build, and the command by
# which each is known to be there.
TOOLS := cc:gcc c++:g++ cmake:cmake nasm:nasm perl:perl
SECONDS_TO_RUN ?= 10
# Such as BENCH="--rows inline,hop" or BENCH=--quick.
BENCH ?=

# Sample plugins, by language; `make plugins` puts them where their graphs look.
RUST_PLUGINS := vignette robot_voice pixelate_faces
C_PLUGINS := sepia_c
CPP_PLUGINS := tint_cpp
# Built where there is a Zig compiler.
ZIG_PLUGINS := posterize_zig
PLUGINS_BUILT := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help setup tools call plugins test verify peers loom miri bench format lint

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is missing (Debian packages, through apt-get)
	@missing=""; \
	for tool in $(TOOLS); do command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; done; \
	if [ -n "$$missing" ]; then \
	  if ! command -v apt-get >/dev/null; then \
	    echo "Please install:$$missing. (There is no apt-get here to do it.)" >&2; exit 1; \
	  fi; \
	  as_root=""; \
	  if [ "$$(id -u)" != 0 ]; then \
	    if ! command -v sudo >/dev/null; then echo "Please install as root:$$missing" >&2; exit 1; fi; \
	    as_root=sudo; \
	  fi; \
	  echo "Installing$$missing"; \
	  $$as_root apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as_root apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $$missing; \
	fi
	@command -v cargo >/dev/null || { echo "Please install Rust 1.89 or newer: https://rustup.rs" >&2; exit 1; }
	@cargo --version | awk '{split($$2, v, "."); exit !(v[1] > 1 || v[2] >= 89)}' \
	  || { echo "Please update Rust to 1.89 or newer: this is $$(cargo --version)" >&2; exit 1; }

call: setup ## a ten-second call between two people in one process; see out/
	cargo build --release --locked --bin sidetone
	target/release/sidetone run graphs/call.toml --seconds $(SECONDS_TO_RUN)
	@echo; echo "What they saw and heard is in out/; begin with out/contact_sheet.png:"; ls -lh out

plugins: setup ## the sample plugins, put beside their graphs in graphs/plugins/
	cargo build --release --locked $(addprefix -p ,$(RUST_PLUGINS))
	cp $(foreach name,$(RUST_PLUGINS),$(PLUGINS_BUILT)/lib$(name).so) graphs/plugins/
	$(foreach name,$(C_PLUGINS),cc -shared -fPIC -O2 -Iplugins/include -o graphs/plugins/lib$(name).so plugins/$(name)/$(name).c &&) true
	$(foreach name,$(CPP_PLUGINS),c++ -shared -fPIC -O2 -std=c++17 -Iplugins/include -o graphs/plugins/lib$(name).so plugins/$(name)/$(name).cpp &&) true
	cp $(foreach name,$(RUST_PLUGINS) $(C_PLUGINS) $(CPP_PLUGINS),plugins/$(name)/$(name).sidetone.toml) graphs/plugins/
	@zig=$$(command -v zig || { python3 -m ziglang version >/dev/null 2>&1 && echo python3 -m ziglang; }) \
	  || { echo "No Zig compiler here, so without: $(ZIG_PLUGINS)"; exit 0; }; \
	set -e; built=$(PLUGINS_BUILT)/zig; mkdir -p $$built; export ZIG_LOCAL_CACHE_DIR=$$built; \
	$$zig translate-c -lc -Iplugins/include plugins/include/sidetone_plugin.h > $$built/sidetone_plugin.zig; \
	for name in $(ZIG_PLUGINS); do \
	  $$zig build-lib -dynamic -OReleaseFast --dep sidetone_plugin -Mroot=plugins/$$name/$$name.zig \
	    -Msidetone_plugin=$$built/sidetone_plugin.zig -femit-bin=graphs/plugins/lib$$name.so; \
	  cp plugins/$$name/$$name.sidetone.toml graphs/plugins/; \
	done

test: setup tools peers format lint loom ## everything: formatting, lints, unit, contract, whole-graph and doc tests
	cargo test --workspace --locked

# Other stacks of WebRTC, where there is Python or Node; the test that needs them says
# so where there is none.
peers:
	@nodes/room/tests/peers/setup

verify: setup loom miri ## the lock-free parts under loom, and core's unsafe code under Miri (takes a nightly toolchain)

# Its own target folder, since the flag concerns every crate.
loom:
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --locked -p sidetone-core --lib loom_

# Eight seeds: eight orders of the threads.
miri:
	rustup toolchain install nightly --profile minimal --component miri,rust-src
	CARGO_TARGET_DIR=target/miri MIRIFLAGS=-Zmiri-many-seeds=0..8 cargo +nightly miri test --locked -p sidetone-core --lib -- \
	  pool:: ring:: waker:: frame:: frame_pool:: shared_memory:: link:: ready:: timers::

bench: setup ## measure Sidetone beside its peers, in some 20 minutes; see benches/RESULTS.md
	cargo bench --locked --bench suite -- run $(BENCH)

tools:
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 \
	  || rustup component add rustfmt clippy

format:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings
