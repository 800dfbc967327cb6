//! Which locals are live at which place: the rest of a frame is nobody's.

use crate::exits::program::{Expr, Function, Local, Op, successors};

/// Sets of locals, a bit each, by place.
pub(crate) struct Liveness(Vec<u64>);

impl Liveness {
    pub(crate) fn of(function: &Function) -> Self {
        assert!(function.types.len() <= 64, "few locals");
        let code = &function.code;
        let mut live = vec![0u64; code.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for pc in (0..code.len()).rev() {
                let after = successors(code, pc).fold(0, |all, next| all | live[next]);
                let before = match &code[pc] {
                    Op::Set(local, value) => after & !bit(*local) | uses(value),
                    Op::Trace(value) | Op::Negative(value, _) | Op::Return(value) => after | uses(value),
                    Op::Call { args, to, .. } => after & !bit(*to) | uses(&args[0]) | uses(&args[1]),
                    Op::Jump(_) | Op::Loop(_) | Op::Exit(_) => after,
                };
                changed |= std::mem::replace(&mut live[pc], before) != before;
            }
        }
        Liveness(live)
    }

    /// The locals an innermost frame needs to go on at `pc`.
    pub(crate) fn at(&self, pc: usize) -> impl Iterator<Item = Local> + use<> {
        locals(self.0[pc])
    }

    /// The locals a frame needs whose call at `pc`, with its result in `to`, is under way.
    pub(crate) fn during(&self, pc: usize, to: Local) -> impl Iterator<Item = Local> + use<> {
        locals(self.0[pc + 1] & !bit(to))
    }
}

fn locals(set: u64) -> impl Iterator<Item = Local> {
    (0..64).filter(move |&local| set & bit(local) != 0)
}

fn bit(local: Local) -> u64 {
    1 << local
}

fn uses(expr: &Expr) -> u64 {
    match expr {
        Expr::Const(_) => 0,
        Expr::Local(local) => bit(*local),
        Expr::Add(both) | Expr::Mul(both) | Expr::Xor(both) => uses(&both[0]) | uses(&both[1]),
    }
}
