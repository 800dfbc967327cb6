//! Code borrowed before a quiescent point may be freed after it.
use tierup_broker::{BeadRef, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: &mut InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
    let code = thread.on_invoke(bead).unwrap();
    thread.quiescent();
    code.address();
}

fn main() {}
