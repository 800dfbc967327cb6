//! A released bead's slot may belong to another function.
use tierup_broker::{Bead, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: &InterpThread<Guest>, bead: Bead<Guest>) {
    let reference = bead.as_ref();
    drop(bead);
    thread.on_invoke(reference);
}

fn main() {}
