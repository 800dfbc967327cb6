//! Templates: a hot body's instructions as straight machine code.
//!
//! A handler is reached by an indirect jump and finds its operands' slots in the instruction. Its *template* is the same for one instruction's
//! operands: slots and constants are in the code, and the next instruction follows. So the interpreter's work shrinks to the loads,
//! operations and stores themselves, in a quarter to two thirds of the time. (Selective inlining: Piumarta and Riccardi, PLDI 1998; with
//! machine code that the interpreter's author writes down, HotSpot's template interpreter and V8's Sparkplug.)
//!
//! Nothing else changes. A template has the handlers' registers, the frame is the interpreter's, and an instruction's address is still
//! that of its words, whose first now leads to the template: calls, returns, exits and resume points know nothing of it. What a template
//! cannot do, or does not want to (a trap, a countdown that is spent, an instruction it has no idea of), it leaves to the handler, which is at
//! the same address as ever and goes on in the next instruction's template by itself. So there is no entry, no exit, and no map of
//! frames, and making templates takes no more than writing bytes down: what the instructions are was noted when the body was translated.
//!
//! They are made by the thread that interprets, once a body's work was paid for [a few times](due). Other threads see each word before
//! or after: either leads to the same effect.

mod emit;
mod memory;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::exec::Kind;
use emit::{Emitted, emit};
use memory::Pages;

/// The payment for a body's work at which it gets templates, a body of so many bytes. The broker hands out an eighth of what the next tier costs at a time, and at most
/// what 100 us can do; at the first payment nothing has been done yet. What has been done by then is to have taken about as long as
/// templates take to be made (the break-even of the ski-rental problem): 10 to 25 us for bodies of a hundred to a thousand bytes.
pub(crate) fn due(bytes: usize) -> u32 {
    2 + u32::try_from(bytes / 2048).unwrap_or(u32::MAX - 2)
}

/// A body's templates. They may be running as long as the body's code may.
#[derive(Debug)]
pub(crate) struct MachineCode(Pages);

impl MachineCode {
    /// Makes the templates of the instructions that begin at these words, and directs the words there. `None` if the system has no
    /// executable memory.
    pub(super) fn of(words: &[AtomicU64], kinds: &[(u32, Kind)]) -> Option<Self> {
        let Emitted { mut asm, entries } = emit(words, kinds);
        let pages = Pages::with(asm.finish()).ok()?;
        for (&(at, _), start) in kinds.iter().zip(entries) {
            // Ordering: Release. Pairs with: Acquire in `State::dispatch`. Carries: the template.
            words[at as usize].store(pages.address(start as usize), Ordering::Release);
        }
        Some(Self(pages))
    }

    /// Bytes of machine code.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests;
