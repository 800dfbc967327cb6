//! What a lowering may assume: guards that are not suppressed, assumptions that hold, and whether its code is still valid.
//!
//! The broker knows; a lowering without a broker behind it (tools, tests) may speculate on every guard, and assume nothing.

use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData,
    condcodes::IntCC,
    types::{I32, I64},
};
use cranelift_frontend::FunctionBuilder;
#[cfg(feature = "llvm")]
use tierup_broker::Callee;
use tierup_broker::{Assumption, CodeUnit, CompileRequest, GuardId, UnitId, ValidityCell};
use tierup_deopt::{Exit, ExitReason, ExitTable, ExitTableBuilder, FrameState};

use crate::{LowerCx, clif::BodyAbi};

/// The request that a lowering works for.
pub(crate) trait Premises {
    /// Identity of the unit.
    fn unit(&self) -> UnitId;
    /// Whether a guard of the requested function is not to be speculated on.
    fn is_suppressed(&self, guard: GuardId) -> bool;
    /// The unit's validity cell, which from now on is written.
    fn validity(&self) -> *const ValidityCell;
    /// Whether the assumption holds.
    fn assume(&self, assumption: &Assumption) -> bool;
}

impl<G> Premises for CompileRequest<'_, G> {
    fn unit(&self) -> UnitId {
        self.unit_id()
    }

    fn is_suppressed(&self, guard: GuardId) -> bool {
        self.is_suppressed(guard)
    }

    fn validity(&self) -> *const ValidityCell {
        self.validity()
    }

    fn assume(&self, assumption: &Assumption) -> bool {
        self.assume(assumption)
    }
}

/// What a function may assume that becomes part of the requested unit. Its guards fail in that unit, and in units of its own.
#[cfg(feature = "llvm")]
pub(crate) struct CalleePremises<'r, 'a, G> {
    pub(crate) request: &'r CompileRequest<'a, G>,
    pub(crate) callee: &'r Callee<'a, G>,
}

#[cfg(feature = "llvm")]
impl<G: Send + Sync + 'static> Premises for CalleePremises<'_, '_, G> {
    fn unit(&self) -> UnitId {
        self.request.unit_id()
    }

    fn is_suppressed(&self, guard: GuardId) -> bool {
        self.request.is_suppressed(guard) || self.callee.is_suppressed(guard)
    }

    fn validity(&self) -> *const ValidityCell {
        self.request.validity()
    }

    fn assume(&self, assumption: &Assumption) -> bool {
        self.request.assume(assumption)
    }
}

/// What the lowerings of a unit speculate on.
#[derive(Debug, Default)]
pub(crate) struct Speculation {
    /// Where the code may be left.
    pub(crate) exits: ExitTableBuilder,
    /// What was assumed.
    pub(crate) assumed: Vec<Assumption>,
}

impl Speculation {
    /// Takes over that of a function that becomes part of the unit.
    #[cfg(feature = "llvm")]
    pub(crate) fn append(&mut self, other: Speculation) {
        self.exits.append(other.exits);
        self.assumed.extend(other.assumed);
    }
}

/// Tells the unit where it may be left, and what it assumes.
pub(crate) fn note(unit: CodeUnit, code: Option<&ExitTable>, assumed: &[Assumption]) -> CodeUnit {
    let guards = code.into_iter().flat_map(ExitTable::exits).map(Exit::guard);
    assumed.iter().fold(unit.guarded(guards), CodeUnit::assuming)
}

impl<G> LowerCx<'_, G> {
    /// Whether nothing is to be made to depend on `guard` any more: with it, code of this function had to be left too often. For a callee
    /// that is lowered to become part of another function's unit: code of either.
    ///
    /// So functions that may be inlined into one another had better not give two guards one name.
    pub fn suppressed(&self, guard: GuardId) -> bool {
        self.premises.is_some_and(|premises| premises.is_suppressed(guard))
    }

    /// Whether the code may rely on `assumption`, asked before what it protects is read. From then on the unit goes when it is
    /// broken, which running code learns from its [validity](Self::validity).
    pub fn assume(&self, assumption: &Assumption) -> bool {
        let holds = self.premises.is_some_and(|premises| premises.assume(assumption));
        if holds {
            self.assumed.borrow_mut().push(assumption.clone());
        }
        holds
    }

    /// The address of a 32-bit cell that is 0 while the code may run on, for code that assumes what others can break: it looks
    /// behind calls and polls ([`leave_if_invalid`](Self::leave_if_invalid)). `None` without a broker.
    pub fn validity(&self) -> Option<u64> {
        self.premises.map(|premises| premises.validity().addr() as u64)
    }

    /// Leaves with `state` if the unit was withdrawn meanwhile; code goes on in a new block. An exit as any other, named `id`.
    ///
    /// `None`, and nothing is emitted, without a broker and where [`exit_block`](Self::exit_block) gives none.
    #[must_use = "without an exit nothing may be assumed"]
    pub fn leave_if_invalid(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, state: &FrameState, id: GuardId) -> Option<()> {
        let cell = self.validity()?;
        let reserved = self.reserve_exit(state, id, ExitReason::Invalid)?;
        let cell = b.ins().iconst(I64, cell.cast_signed());
        // Atomic: others write it while the code runs, and a compiler that hoisted the load would never see that.
        let flag = b.ins().atomic_load(I32, MemFlagsData::trusted(), cell);
        let is_valid = b.ins().icmp_imm_s(IntCC::Equal, flag, 0);
        self.guard_with(b, abi, is_valid, reserved);
        Some(())
    }
}
