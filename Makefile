# Everything here calls plain cargo. Nothing but a Rust toolchain and a C compiler is needed; LLVM 19 is optional.
#
#   make demo     a real program, interpreted and then tiered, side by side   (MODULE=… ARGS=… for another one)
#   make test     the tests
#   make verify   the full matrix, resumable; results go to benches/record/
#   make peers    other engines on the same bytes
#   make lint     formatting and clippy, warnings as errors

# Test data that is not part of the project. Tests that need it say that they skipped when it is not there.
export TIERUP_TESTDATA ?= $(realpath ../shared)

CARGO ?= cargo
# LLVM 19, where it is found; $(LLVM) is empty where it is not.
LLVM := $(shell command -v llvm-config-19 2>/dev/null || ls /usr/lib/llvm-19/bin/llvm-config 2>/dev/null)

.PHONY: demo test verify peers lint loom llvm-install

test:
	$(CARGO) test
ifneq ($(LLVM),)
	$(CARGO) test -p tierup-llvm
else
	@echo "skipped: LLVM 19 not found, its half of the ABI test did not run"
endif

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings
ifneq ($(LLVM),)
	$(CARGO) clippy -p tierup-llvm --all-targets -- -D warnings
endif

# Model checking: every race of the broker, on its own and with plain Rust functions as code.
loom:
	scripts/loom

verify:
	scripts/verify

peers:
	$(CARGO) run --release -p tierup-peers -- $(PEERS)

demo: llvm-install
	MODULE="$(MODULE)" ARGS="$(ARGS)" scripts/demo

llvm-install:
	@scripts/llvm-install
