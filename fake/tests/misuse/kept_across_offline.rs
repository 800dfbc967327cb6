//! While the thread is offline nobody waits for it before freeing code.
use tierup_broker::{BeadRef, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: &mut InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
    let code = thread.on_invoke(bead).unwrap();
    thread.offline(|| code.address());
}

fn main() {}
