//! Another thread's quiescent points say nothing about this thread's.
use tierup_broker::{BeadRef, InterpThread};
use tierup_fake::Guest;

fn misuse(thread: &InterpThread<Guest>, bead: BeadRef<'_, Guest>) {
    let code = thread.on_invoke(bead).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            code.address();
        });
    });
}

fn main() {}
