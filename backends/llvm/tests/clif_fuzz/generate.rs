//! Random verified functions that end, do not trap, and give the same on every correct compiler: divisors are positive, loops are
//! counted, addresses stay in a slot that is cleared first, and a NaN's bits are made canonical before anybody looks at them,
//! since CLIF leaves sign and payload of a computed NaN open.

mod expression;
mod statement;

use cranelift_codegen::{
    ir::{
        AbiParam, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, MemFlagsData, Signature, StackSlot, StackSlotData,
        StackSlotKind, Type, UserFuncName, Value,
        types::{F32, F64, I8, I16, I32, I64, I128},
    },
    isa::CallConv,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use crate::{random::Random, tiers::isa};

pub(crate) const TYPES: [Type; 7] = [I8, I16, I32, I64, I128, F32, F64];
/// What the quick compiler knows.
const PLAIN: [Type; 6] = [I8, I16, I32, I64, F32, F64];
const INTS: [Type; 4] = [I8, I16, I32, I64];
const FLOATS: [Type; 2] = [F32, F64];

/// Bytes of a function's slot.
const SLOT: u32 = 64;

/// Every how manieth seed's program is plain.
pub(crate) const EACH_PLAIN: u64 = 3;

/// Whether a seed's program is one that the quick compiler takes as a whole.
pub(crate) fn is_plain(seed: u64) -> bool {
    seed.is_multiple_of(EACH_PLAIN)
}

/// The entry `%f`, then what it may call.
pub(crate) fn program(seed: u64) -> Vec<Function> {
    let (mut random, plain) = (Random::new(seed), is_plain(seed));
    let mut functions: Vec<Function> = Vec::new();
    for at in 0..random.below(3) {
        let signature = if plain { plain_signature(&mut random) } else { signature(&mut random, 3) };
        let helper = function(&mut random, &format!("g{at}"), signature, &functions, 8, plain);
        functions.push(helper);
    }
    let own = if plain { plain_signature(&mut random) } else { signature(&mut random, 6) };
    let budget = 5 + random.below(40);
    let entry = function(&mut random, "f", own, &functions, budget, plain);
    functions.insert(0, entry);
    functions
}

/// What both compilers pass in registers.
fn signature(random: &mut Random, params: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    for _ in 0..random.below(params + 1) {
        signature.params.push(AbiParam::new(random.pick(&TYPES)));
    }
    // An i128 takes two of six registers.
    let mut registers = 0;
    signature.params.retain(|param| {
        registers += usize::from(param.value_type.is_int()) + usize::from(param.value_type == I128);
        param.value_type != I128 || registers <= 6
    });
    // The sum of everything, and something else.
    signature.returns.push(AbiParam::new(I64));
    if random.once_in(2) {
        signature.returns.push(AbiParam::new(random.pick(&TYPES)));
    }
    signature
}

/// One result; arguments on the stack, too.
fn plain_signature(random: &mut Random) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    for _ in 0..random.below(14) {
        signature.params.push(AbiParam::new(random.pick(&PLAIN)));
    }
    signature.returns.push(AbiParam::new(I64));
    signature
}

fn function(random: &mut Random, name: &str, signature: Signature, callees: &[Function], budget: usize, plain: bool) -> Function {
    let mut func = Function::with_name_signature(UserFuncName::testcase(name), signature.clone());
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, SLOT, 4));
    let callees = callees.iter().map(|callee| {
        let UserFuncName::Testcase(name) = &callee.name else { unreachable!("made here") };
        let signature = b.import_signature(callee.signature.clone());
        let name = ExternalName::testcase(name.raw());
        let reference = b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false });
        (reference, callee.signature.clone())
    });
    let callees = callees.collect();
    let mut g = Generator { random, b, variables: Vec::new(), slot, callees, budget, depth: 0, plain };
    g.begin(&signature);
    g.statements();
    g.end(&signature);
    g.b.finalize(isa(false).frontend_config());
    func
}

/// One function under way.
struct Generator<'r, 'f> {
    random: &'r mut Random,
    b: FunctionBuilder<'f>,
    variables: Vec<(Variable, Type)>,
    slot: StackSlot,
    callees: Vec<(FuncRef, Signature)>,
    /// Statements left.
    budget: usize,
    /// Of branches and loops.
    depth: usize,
    /// Only what the quick compiler knows.
    plain: bool,
}

impl Generator<'_, '_> {
    /// Clears the slot; gives every type two variables.
    fn begin(&mut self, signature: &Signature) {
        let zero = self.b.ins().iconst(I64, 0);
        for at in (0..SLOT.cast_signed()).step_by(8) {
            let address = self.b.ins().stack_addr(I64, self.slot, at);
            self.b.ins().store(MemFlagsData::trusted(), zero, address, 0);
        }
        let entry = self.b.current_block().expect("in the entry");
        let params = self.b.block_params(entry).to_vec();
        for (param, ty) in params.into_iter().zip(&signature.params) {
            self.variable(ty.value_type, param);
        }
        let types: &[Type] = if self.plain { &PLAIN } else { &TYPES };
        for &ty in types.iter().chain(types) {
            let value = self.constant(ty);
            self.variable(ty, value);
        }
        if self.plain && self.random.once_in(3) {
            // More than there are registers.
            let ty = self.random.pick(&[I32, I64, F32, F64]);
            for _ in 0..18 {
                let value = self.constant(ty);
                self.variable(ty, value);
            }
        }
    }

    fn variable(&mut self, ty: Type, value: Value) {
        let variable = self.b.declare_var(ty);
        self.b.def_var(variable, value);
        self.variables.push((variable, ty));
    }

    /// Returns a sum of all variables and of the slot, so that nothing computed is lost; and a variable as it is.
    fn end(&mut self, signature: &Signature) {
        let mut words = Vec::new();
        for at in (0..SLOT.cast_signed()).step_by(8) {
            let address = self.b.ins().stack_addr(I64, self.slot, at);
            words.push(self.b.ins().load(I64, MemFlagsData::trusted(), address, 0));
        }
        for (variable, ty) in self.variables.clone() {
            let value = self.b.use_var(variable);
            self.words(value, ty, &mut words);
        }
        let mut sum = self.b.ins().iconst(I64, 0);
        for word in words {
            let rotated = self.b.ins().rotl_imm_u(sum, 7);
            sum = self.b.ins().bxor(rotated, word);
        }
        let mut values = vec![sum];
        for result in &signature.returns[1..] {
            values.push(self.value(result.value_type));
        }
        self.b.ins().return_(&values);
    }

    /// A value as words.
    fn words(&mut self, value: Value, ty: Type, words: &mut Vec<Value>) {
        let word = match ty {
            I64 => value,
            I128 => {
                let (low, high) = self.b.ins().isplit(value);
                words.push(low);
                high
            }
            F32 | F64 => {
                let bits = if ty == F32 { I32 } else { I64 };
                let value = self.canonical(value, ty);
                let value = self.b.ins().bitcast(bits, MemFlagsData::new(), value);
                return self.words(value, bits, words);
            }
            _ => self.b.ins().uextend(I64, value),
        };
        words.push(word);
    }
}
