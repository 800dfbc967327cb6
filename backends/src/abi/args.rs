//! Where the arguments and the result of a body live: the System V assignment, computed once per signature.

use super::Regs;

/// The machine types that cross the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AbiType {
    I32,
    I64,
    F32,
    F64,
}

impl AbiType {
    const fn is_float(self) -> bool {
        matches!(self, AbiType::F32 | AbiType::F64)
    }

    /// A slot as the rest of the system sees it: 32-bit values zero-extended, whatever the machine left in the upper half.
    const fn canonical(self, raw: u64) -> u64 {
        match self {
            AbiType::I32 | AbiType::F32 => raw & 0xffff_ffff,
            AbiType::I64 | AbiType::F64 => raw,
        }
    }
}

/// Where one argument lives at a crossing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loc {
    /// `Regs::gpr[i]`.
    Gpr(u8),
    /// `Regs::xmm[i]`.
    Xmm(u8),
    /// `Regs::stack[i]`, an 8-byte slot.
    Stack(u32),
}

/// The crossing of one signature: which slot travels where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgPlan {
    params: Box<[(AbiType, Loc)]>,
    result: Option<AbiType>,
    stack_slots: usize,
}

/// Integer registers that `vmctx` and `callee` occupy.
const PREFIX: u8 = 2;

impl ArgPlan {
    /// The plan of `fn(vmctx, callee, params...) -> result`. A function with two or more results returns them through the
    /// wide buffer and has no `result` here.
    pub fn new(params: &[AbiType], result: Option<AbiType>) -> Self {
        let (mut gpr, mut xmm, mut stack) = (PREFIX, 0u8, 0u32);
        let params = params
            .iter()
            .map(|&ty| {
                let (next, count, make): (&mut u8, u8, fn(u8) -> Loc) =
                    if ty.is_float() { (&mut xmm, 8, Loc::Xmm) } else { (&mut gpr, 6, Loc::Gpr) };
                let loc = if *next < count {
                    *next += 1;
                    make(*next - 1)
                } else {
                    stack += 1;
                    Loc::Stack(stack - 1)
                };
                (ty, loc)
            })
            .collect();
        ArgPlan { params, result, stack_slots: stack as usize }
    }

    /// Type and place of each parameter after `vmctx` and `callee`.
    pub fn params(&self) -> &[(AbiType, Loc)] {
        &self.params
    }

    /// Type of the one result that travels in a register.
    pub fn result(&self) -> Option<AbiType> {
        self.result
    }

    /// 8-byte stack slots the arguments need.
    pub fn stack_slots(&self) -> usize {
        self.stack_slots
    }

    /// Puts arguments where [`enter`](super::enter) will load them from, and points `regs.stack` at `stack`.
    ///
    /// # Panics
    ///
    /// If `slots` is shorter than the parameters or `stack` than [`stack_slots`](Self::stack_slots).
    pub fn write(&self, regs: &mut Regs, stack: &mut [u64], slots: &[u64]) {
        let slots = &slots[..self.params.len()];
        let stack = &mut stack[..self.stack_slots];
        for (&(_, loc), &slot) in self.params.iter().zip(slots) {
            match loc {
                Loc::Gpr(i) => regs.gpr[usize::from(i)] = slot,
                Loc::Xmm(i) => regs.xmm[usize::from(i)] = slot,
                Loc::Stack(i) => stack[i as usize] = slot,
            }
        }
        regs.stack = stack.as_mut_ptr();
        regs.stack_len = self.stack_slots;
    }

    /// Takes the arguments out of a call that arrived at the bridge.
    ///
    /// # Panics
    ///
    /// If `slots` is shorter than the parameters.
    ///
    /// # Safety
    ///
    /// `regs` is what the bridge stub handed to the running `BridgeFn`, and the caller called with this plan's signature.
    pub unsafe fn read(&self, regs: &Regs, slots: &mut [u64]) {
        let slots = &mut slots[..self.params.len()];
        for (&(ty, loc), slot) in self.params.iter().zip(slots) {
            let raw = match loc {
                Loc::Gpr(i) => regs.gpr[usize::from(i)],
                Loc::Xmm(i) => regs.xmm[usize::from(i)],
                // SAFETY: by the caller the stack arguments follow the signature, so slot `i` was pushed by the caller.
                Loc::Stack(i) => unsafe { regs.stack.add(i as usize).read() },
            };
            *slot = ty.canonical(raw);
        }
    }

    /// The register result after [`enter`](super::enter), canonical; 0 if the signature has none.
    pub fn read_result(&self, regs: &Regs) -> u64 {
        match self.result {
            Some(ty) if ty.is_float() => ty.canonical(regs.ret_xmm),
            Some(ty) => ty.canonical(regs.ret_gpr),
            None => 0,
        }
    }

    /// Gives the bridge stub's caller its register result.
    pub fn write_result(&self, regs: &mut Regs, slot: u64) {
        match self.result {
            Some(ty) if ty.is_float() => regs.ret_xmm = slot,
            Some(_) => regs.ret_gpr = slot,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AbiType::{F32, F64, I32, I64},
        ArgPlan, Loc, Regs,
    };

    #[test]
    fn registers_first_then_the_stack_in_order() {
        let plan = ArgPlan::new(&[I32, F64, I64, I32, I64, I32, F32, I64], Some(I32));
        let locs: Vec<Loc> = plan.params().iter().map(|&(_, loc)| loc).collect();
        let expected =
            [Loc::Gpr(2), Loc::Xmm(0), Loc::Gpr(3), Loc::Gpr(4), Loc::Gpr(5), Loc::Stack(0), Loc::Xmm(1), Loc::Stack(1)];
        assert_eq!(locs, expected);
        assert_eq!(plan.stack_slots(), 2);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let params: Vec<_> = [I32, I64, F32, F64].into_iter().cycle().take(40).collect();
        let plan = ArgPlan::new(&params, None);
        let args: Vec<u64> = (1..=40).collect();
        let (mut regs, mut stack, mut out) = (Regs::default(), vec![0; plan.stack_slots()], vec![0; 40]);
        plan.write(&mut regs, &mut stack, &args);
        // SAFETY: `write` pointed the stack arguments at a live buffer of this plan's size.
        unsafe { plan.read(&regs, &mut out) };
        assert_eq!(out, args);
    }

    #[test]
    fn narrow_values_lose_the_upper_half() {
        let plan = ArgPlan::new(&[], Some(I32));
        let regs = Regs { ret_gpr: 0xdead_beef_0000_0007, ..Regs::default() };
        assert_eq!(plan.read_result(&regs), 7);
    }
}
