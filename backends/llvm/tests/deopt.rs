//! Exits taken, through the LLVM backend: the tests are the Cranelift backend's.

#[path = "../../tests/exits/mod.rs"]
mod exits;

use tierup_backends::{CodeMap, CompiledFunction, LlvmBackend, LowerCx};
use tierup_broker::{Bailout, Tier};
use tierup_llvm::{InProcess, Options};

use exits::{ExitCompiler, Guest};

type LowerFn = fn(&mut LowerCx<'_, Guest>) -> Result<(), Bailout>;

struct Llvm(LlvmBackend<Guest, LowerFn, InProcess>);

impl Llvm {
    fn new() -> Self {
        Llvm(LlvmBackend::builder().build_with(InProcess::new(Options::default()), exits::lower as LowerFn).unwrap())
    }
}

impl ExitCompiler for Llvm {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout> {
        self.0.compile_direct(guest, Tier::new(2))
    }

    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout> {
        self.0.compile_variant(guest, Tier::new(2), site)
    }

    fn map(&self) -> &CodeMap {
        self.0.code_memory().map()
    }
}

#[test]
fn every_exit_leaves_with_the_references_frames() {
    exits::every_exit_leaves_with_the_references_frames(&Llvm::new(), 60);
}

#[test]
fn a_wrong_slot_is_found_every_time() {
    exits::a_wrong_slot_is_found_every_time(&Llvm::new());
}

#[test]
fn a_guard_that_holds_is_a_comparison_and_a_branch() {
    let backend = LlvmBackend::builder().build_with(InProcess::new(Options::default()), exits::cost::lower).unwrap();
    exits::cost::a_guard_that_holds_is_a_comparison_and_a_branch(|guarded| {
        backend.compile_direct(&guarded, Tier::new(2)).unwrap()
    });
}
