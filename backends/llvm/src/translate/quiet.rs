//! Signalling NaNs. Arithmetic in CLIF quiets them, as the hardware does. LLVM folds `x * 1.0`, `x - 0.0`, `x / 1.0`, a demotion of
//! a promotion, the minimum of a value and itself and more to `x`, so that a signalling NaN comes through; which operands are
//! such constants may show only after inlining or unrolling.
//!
//! Nobody can tell as long as the result goes into more arithmetic, which quiets it. So results are quieted where they escape:
//! into memory, into integers, to callers and callees, or into a `select` or block parameter that may also hold a value whose
//! bits must be kept. Quieting is a multiplication by a one that LLVM cannot see; `relax` removes it where nothing was folded.
//! One kind of arithmetic does not do what it should with what comes in: `minimum`.

use cranelift_codegen::{
    entity::{EntitySet, SecondaryMap},
    ir::{Block, BlockArg, Function, Inst, InstructionData, Opcode, Type, Value, ValueDef, types},
};
use inkwell::{
    module::{Linkage, Module},
    types::FloatType,
    values::{BasicValue, BasicValueEnum, GlobalValue},
};

use super::Translator;
use crate::refusal::Refusal;

/// The globals that hold an `f32` and an `f64` one that LLVM cannot see.
pub(super) const ONES: [&str; 2] = ["one.f32", "one.f64"];

/// Where a function's floats need quieting.
pub(super) struct Quieting {
    /// Values that are quiet in CLIF and may not be in LLVM: results of arithmetic, and what only forwards those.
    arithmetic: EntitySet<Value>,
    /// Those of them whose bits somebody looks at.
    escaping: EntitySet<Value>,
}

impl Quieting {
    pub(super) fn of(func: &Function) -> Self {
        let mut this = Quieting { arithmetic: EntitySet::new(), escaping: EntitySet::new() };
        let edges = edges(func);
        this.find_arithmetic(func, &edges);
        this.find_escaping(func, &edges);
        this
    }

    /// Whether the value forwards arithmetic only, so that it takes what is not quieted.
    pub(super) fn is_arithmetic(&self, value: Value) -> bool {
        self.arithmetic.contains(value)
    }

    /// The greatest set in which every forwarder forwards members and harmless values only.
    fn find_arithmetic(&mut self, func: &Function, edges: &[(Value, Value)]) {
        let mut forwarded: Vec<(Value, Value)> = Vec::new();
        let entry = func.layout.entry_block();
        for block in func.layout.blocks() {
            if Some(block) != entry {
                self.arithmetic.extend(func.dfg.block_params(block).iter().copied().filter(|&param| is_float(func, param)));
            }
            for inst in func.layout.block_insts(block) {
                let [result, ..] = *func.dfg.inst_results(inst) else { continue };
                if !is_float(func, result) {
                    continue;
                }
                let args = func.dfg.inst_args(inst);
                let opcode = func.dfg.insts[inst].opcode();
                match opcode {
                    _ if computes(opcode) => {}
                    Opcode::Fneg | Opcode::Fabs | Opcode::Fcopysign => forwarded.push((result, args[0])),
                    Opcode::Select | Opcode::SelectSpectreGuard => forwarded.extend([(result, args[1]), (result, args[2])]),
                    _ => continue,
                }
                self.arithmetic.insert(result);
            }
        }
        forwarded.extend(edges.iter().copied().filter(|&(param, _)| is_float(func, param)));

        let mut forwarders: SecondaryMap<Value, Vec<Value>> = SecondaryMap::new();
        let mut doomed = Vec::new();
        for (to, from) in forwarded {
            let from = func.dfg.resolve_aliases(from);
            if self.arithmetic.contains(from) {
                forwarders[from].push(to);
            } else if !is_harmless(func, from) {
                doomed.push(to);
            }
        }
        while let Some(value) = doomed.pop() {
            if self.arithmetic.remove(value) {
                doomed.extend(forwarders[value].iter().copied());
            }
        }
    }

    fn find_escaping(&mut self, func: &Function, edges: &[(Value, Value)]) {
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let forwards = func.dfg.inst_results(inst).first().is_some_and(|&result| self.arithmetic.contains(result));
                for &arg in func.dfg.inst_args(inst) {
                    let arg = func.dfg.resolve_aliases(arg);
                    if self.arithmetic.contains(arg) && !forwards && !ignores_signal(func.dfg.insts[inst].opcode()) {
                        self.escaping.insert(arg);
                    }
                }
            }
        }
        for &(param, arg) in edges {
            let arg = func.dfg.resolve_aliases(arg);
            if self.arithmetic.contains(arg) && !self.arithmetic.contains(param) {
                self.escaping.insert(arg);
            }
        }
    }
}

/// Block parameters with what is passed for them.
fn edges(func: &Function) -> Vec<(Value, Value)> {
    let mut edges = Vec::new();
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            let branches = func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
            for call in branches {
                let params = func.dfg.block_params(call.block(&func.dfg.value_lists));
                for (&param, arg) in params.iter().zip(call.args(&func.dfg.value_lists)) {
                    if let BlockArg::Value(arg) = arg {
                        edges.push((param, arg));
                    }
                }
            }
        }
    }
    edges
}

fn is_float(func: &Function, value: Value) -> bool {
    matches!(func.dfg.value_type(value), types::F32 | types::F64)
}

/// Operations whose result is never a signalling NaN.
fn computes(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::Fadd
            | Opcode::Fsub
            | Opcode::Fmul
            | Opcode::Fdiv
            | Opcode::Fma
            | Opcode::Fmin
            | Opcode::Fmax
            | Opcode::Sqrt
            | Opcode::Ceil
            | Opcode::Floor
            | Opcode::Trunc
            | Opcode::Nearest
            | Opcode::Fpromote
            | Opcode::Fdemote
    )
}

/// Operations on floats to which all NaNs are the same.
fn ignores_signal(opcode: Opcode) -> bool {
    let converts = [Opcode::FcvtToUint, Opcode::FcvtToSint, Opcode::FcvtToUintSat, Opcode::FcvtToSintSat];
    opcode == Opcode::Fcmp || converts.contains(&opcode)
}

/// Values that cannot be signalling in either IR: constants, and what was an integer.
fn is_harmless(func: &Function, value: Value) -> bool {
    let ValueDef::Result(inst, _) = func.dfg.value_def(value) else { return false };
    match func.dfg.insts[inst] {
        InstructionData::UnaryIeee32 { imm, .. } => !is_signalling(u64::from(imm.bits()), types::F32),
        InstructionData::UnaryIeee64 { imm, .. } => !is_signalling(imm.bits(), types::F64),
        InstructionData::Unary { opcode: Opcode::FcvtFromUint | Opcode::FcvtFromSint, .. } => true,
        _ => false,
    }
}

fn is_signalling(bits: u64, ty: Type) -> bool {
    if ty == types::F32 {
        let bits = bits as u32;
        f32::from_bits(bits).is_nan() && bits & (1 << (f32::MANTISSA_DIGITS - 2)) == 0
    } else {
        f64::from_bits(bits).is_nan() && bits & (1 << (f64::MANTISSA_DIGITS - 2)) == 0
    }
}

/// The global that holds a one of type `ty`, `f32` or `f64`, which LLVM cannot see.
pub(super) fn hidden_one<'ctx>(module: &Module<'ctx>, ty: FloatType<'ctx>) -> GlobalValue<'ctx> {
    let name = ONES[usize::from(ty != module.get_context().f32_type())];
    module.get_global(name).unwrap_or_else(|| {
        let one = module.add_global(ty, None, name);
        one.set_initializer(&ty.const_float(1.0));
        one.set_linkage(Linkage::Internal);
        one.set_constant(true);
        // What hides its value from LLVM.
        one.set_externally_initialized(true);
        one
    })
}

impl<'ctx> Translator<'ctx, '_> {
    /// Quiets what escapes of an instruction's results. Called right after it.
    pub(super) fn quiet_results(&mut self, inst: Inst) -> Result<(), Refusal> {
        self.quiet_all(self.func.dfg.inst_results(inst))
    }

    /// Quiets what escapes of a block's parameters. Called at the block's beginning.
    pub(super) fn quiet_params(&mut self, block: Block) -> Result<(), Refusal> {
        self.quiet_all(self.func.dfg.block_params(block))
    }

    fn quiet_all(&mut self, values: &[Value]) -> Result<(), Refusal> {
        for &value in values.iter().filter(|&&value| self.quieting.escaping.contains(value)) {
            let raw = self.float(value);
            let ty = raw.get_type();
            let one = self.builder.build_load(ty, hidden_one(self.module, ty).as_pointer_value(), "")?;
            self.invariant(one.as_instruction_value().expect("a load is an instruction"))?;
            self.quieted[value] = Some(self.builder.build_float_mul(raw, one.into_float_value(), "")?.into());
        }
        Ok(())
    }

    /// The value as `to` takes it: as it is if `to` forwards arithmetic only, else with its proper bits.
    pub(super) fn forwarded(&self, value: Value, to: Value) -> BasicValueEnum<'ctx> {
        if self.quieting.is_arithmetic(to) { self.raw(value) } else { self.value(value) }
    }
}
