# Everything here calls plain cargo. Nothing but a Rust toolchain and a C compiler is needed; LLVM 19 is optional.
#
#   make demo     a real program, interpreted and then tiered, side by side   (MODULE=… ARGS=… for another one)
#   make test     the tests
#   make verify   the full matrix, resumable; results go to benches/record/
#   make peers    other engines on the same bytes; tables and a page with charts go to benches/record/
#   make lab      kernels and corpus recorded; every policy replayed on them, and run live beside that
#   make lint     formatting and clippy, with LLVM and without, warnings as errors

# Test data that is not part of the project. Tests that need it say that they skipped when it is not there.
export TIERUP_TESTDATA ?= $(realpath ../shared)

CARGO ?= cargo
# LLVM 19, where it is found; $(LLVM) is empty where it is not.
LLVM := $(shell command -v llvm-config-19 2>/dev/null)
comma := ,
# One selection of crates for every command: another one would build Cranelift again, with other features.
CRATES := $(if $(LLVM),--workspace --exclude tierup-peers --features tierup-cli/llvm$(comma)tierup-wasi/llvm,)

.PHONY: demo test verify peers lab lint loom llvm-install crates

test:
	$(CARGO) test $(CRATES)
	@$(if $(LLVM),,echo "skipped: LLVM 19 not found, nothing was compiled with it")

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(CRATES) --all-targets -- -D warnings
	$(if $(LLVM),$(CARGO) clippy --all-targets -- -D warnings)

# Model checking: every race of the broker, on its own and with plain Rust functions as code.
loom:
	scripts/loom

verify:
	scripts/verify

# For scripts.
crates:
	@echo $(CRATES)

# All experiments, in about a quarter of an hour after the builds; the record goes to benches/record/. `target/release/peers` has the options.
peers:
	scripts/peers

# One step of it: `make lab LAB=replay`.
lab:
	scripts/lab $(LAB)

demo: llvm-install
	MODULE="$(MODULE)" ARGS="$(ARGS)" scripts/demo

llvm-install:
	@scripts/llvm-install
