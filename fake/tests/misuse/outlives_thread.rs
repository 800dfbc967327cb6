//! When the handle is gone nobody waits for its thread.
use tierup_broker::{BeadRef, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
    let code = thread.on_invoke(bead).unwrap();
    drop(thread);
    code.address();
}

fn main() {}
