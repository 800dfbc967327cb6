//! Two OS threads cannot count through one handle.
use tierup_broker::{BeadRef, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: &InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = thread.on_invoke(bead);
        });
    });
}

fn main() {}
