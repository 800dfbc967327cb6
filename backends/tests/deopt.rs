//! Exits taken, through the Cranelift backend at both levels.

mod exits;

use tierup_backends::{CodeMap, CompiledFunction, CraneliftBackend, LowerCx, OptLevel};
use tierup_broker::{Bailout, Tier};

use exits::{ExitCompiler, Guest};

type LowerFn = fn(&mut LowerCx<'_, Guest>) -> Result<(), Bailout>;

struct Cranelift(CraneliftBackend<Guest, LowerFn>);

impl Cranelift {
    fn at(level: OptLevel) -> Self {
        Cranelift(CraneliftBackend::builder().opt_level(level).build(exits::lower as LowerFn).unwrap())
    }
}

impl ExitCompiler for Cranelift {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout> {
        self.0.compile_direct(guest, Tier::new(1))
    }

    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout> {
        self.0.compile_variant(guest, Tier::new(1), site)
    }

    fn map(&self) -> &CodeMap {
        self.0.code_memory().map()
    }
}

#[test]
fn every_exit_leaves_with_the_references_frames() {
    exits::every_exit_leaves_with_the_references_frames(&Cranelift::at(OptLevel::Speed), 60);
}

#[test]
fn every_exit_leaves_with_the_references_frames_unoptimized() {
    exits::every_exit_leaves_with_the_references_frames(&Cranelift::at(OptLevel::None), 60);
}

#[test]
fn every_exit_leaves_with_the_references_frames_quickly() {
    exits::every_exit_leaves_with_the_references_frames(&Cranelift::at(OptLevel::Quick), 60);
}

#[test]
fn a_wrong_slot_is_found_every_time() {
    exits::a_wrong_slot_is_found_every_time(&Cranelift::at(OptLevel::Speed));
}

#[test]
fn a_wrong_slot_is_found_every_time_quickly() {
    exits::a_wrong_slot_is_found_every_time(&Cranelift::at(OptLevel::Quick));
}

#[test]
fn a_guard_that_holds_is_a_comparison_and_a_branch() {
    for level in [OptLevel::Speed, OptLevel::None, OptLevel::Quick] {
        let backend = CraneliftBackend::builder().opt_level(level).build(exits::cost::lower).unwrap();
        exits::cost::a_guard_that_holds_is_a_comparison_and_a_branch(|guarded| {
            backend.compile_direct(&guarded, Tier::new(1)).unwrap()
        });
    }
}
