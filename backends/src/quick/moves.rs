//! Several copies that happen at once: block arguments, call arguments, parameters.

use tierup_asm::{Constant, Gpr, Mem, Xmm};

/// Where something is copied to, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Gpr(Gpr),
    /// The low half of a register, zero-extended; a source only, and for registers.
    Half(Gpr),
    Xmm(Xmm),
    /// Eight bytes of the frame.
    Word(Mem),
    /// An integer; a source only.
    Known(i64),
    /// A float; a source only.
    Pool(Constant),
}

impl Spot {
    /// Whether it is read from `spot`.
    fn is_in(self, spot: Spot) -> bool {
        self == spot || matches!((self, spot), (Spot::Half(half), Spot::Gpr(reg)) if half == reg)
    }
}

/// What does one copy.
pub(super) trait Mover {
    /// Copies; from a general purpose register to a vector register only what [`spare`](Self::spare) put aside.
    fn copy(&mut self, to: Spot, from: Spot);
    /// A spot of the kind that can hold `what`, which nothing else uses.
    fn spare(&self, what: Spot) -> Spot;
}

/// Copies that all read before any writes. The list is used up.
pub(super) fn copy_all(moves: &mut Vec<(Spot, Spot)>, mover: &mut impl Mover) {
    moves.retain(|(to, from)| to != from);
    while !moves.is_empty() {
        let mut is_stuck = true;
        let mut at = 0;
        while at < moves.len() {
            let (to, from) = moves[at];
            if moves.iter().enumerate().any(|(other, &(_, read))| other != at && read.is_in(to)) {
                at += 1;
            } else {
                mover.copy(to, from);
                moves.swap_remove(at);
                is_stuck = false;
            }
        }
        if is_stuck {
            // Every destination is somebody's source: put one aside.
            let aside = moves[0].0;
            let spare = mover.spare(aside);
            mover.copy(spare, aside);
            for (_, from) in moves.iter_mut().filter(|(_, from)| from.is_in(aside)) {
                *from = if let (Spot::Half(_), Spot::Gpr(spare)) = (*from, spare) { Spot::Half(spare) } else { spare };
            }
        }
    }
}
