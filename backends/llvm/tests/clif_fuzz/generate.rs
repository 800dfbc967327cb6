//! Random verified functions that end, do not trap, and give the same on every correct compiler: divisors are positive, loops are
//! counted, addresses stay in a slot that is cleared first, and a NaN's bits are made canonical before anybody looks at them,
//! since CLIF leaves sign and payload of a computed NaN open.

pub(crate) mod entered;
mod expression;
mod lanes;
mod statement;

use cranelift_codegen::{
    ir::{
        AbiParam, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, MemFlagsData, SigRef, Signature, StackSlot,
        StackSlotData, StackSlotKind, Type, UserFuncName, Value,
        types::{F32, F64, I8, I16, I32, I32X4, I64, I128},
    },
    isa::CallConv,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};

use entered::Loops;
use tierup_backends::Site;

use crate::{random::Random, tiers::isa};

pub(crate) const TYPES: [Type; 7] = [I8, I16, I32, I64, I128, F32, F64];
/// What the quick compiler knows.
const PLAIN: [Type; 6] = [I8, I16, I32, I64, F32, F64];
const INTS: [Type; 4] = [I8, I16, I32, I64];
const FLOATS: [Type; 2] = [F32, F64];

/// Bytes of a function's slot.
pub(crate) const SLOT: u32 = 64;

/// Every how manieth seed's program is plain.
pub(crate) const EACH_PLAIN: u64 = 3;

/// Whether a seed's program is one that the quick compiler takes as a whole.
pub(crate) fn is_plain(seed: u64) -> bool {
    seed.is_multiple_of(EACH_PLAIN)
}

/// A program.
pub(crate) struct Program {
    /// The entry `%f`, then what it may call.
    pub(crate) functions: Vec<Function>,
    /// The entry's last parameters are the addresses of so many functions behind it.
    pub(crate) pointers: usize,
    /// Whether it has operations on four lanes.
    pub(crate) has_lanes: bool,
    /// The entry's loops.
    pub(crate) sites: Vec<Site>,
}

impl Program {
    /// One that was made elsewhere.
    pub(crate) fn of(functions: Vec<Function>) -> Self {
        Program { functions, pointers: 0, has_lanes: false, sites: Vec::new() }
    }
}

/// The seed's program.
pub(crate) fn program(seed: u64) -> Program {
    make(seed, None)
}

/// A plain seed's program, whose entry is `fn(vmctx, callee, …)` with its memory in the words of the vmctx, as [`entered`] says: what can be
/// entered at its loops. With a loop to stop at, the copy that stops there.
pub(crate) fn enterable(seed: u64, stop: Option<u32>) -> Program {
    make(seed, Some(stop))
}

fn make(seed: u64, entered: Option<Option<u32>>) -> Program {
    let (mut random, plain) = (Random::new(seed), is_plain(seed));
    let keeper = (plain && random.once_in(3)).then(|| keeper(&mut random));
    let mut has_lanes = false;
    let mut functions: Vec<Function> = Vec::new();
    for at in 0..random.below(3) {
        let signature = if plain { plain_signature(&mut random) } else { signature(&mut random, 3) };
        let lanes = plain && random.once_in(8);
        has_lanes |= lanes;
        let shape = Shape { plain, callees: &functions, keeper: keeper.as_ref(), lanes, takes_pointers: false, entered: None };
        let (helper, _) = function(&mut random, &format!("g{at}"), signature, &shape, 8);
        functions.push(helper);
    }
    let mut own = if plain { plain_signature(&mut random) } else { signature(&mut random, 6) };
    let mut budget = 5 + random.below(40);
    if plain && random.once_in(10) {
        budget *= 4;
    }
    let lanes = plain && random.once_in(6);
    has_lanes |= lanes;
    let takes_pointers = plain && random.once_in(3);
    let pointers = if takes_pointers { functions.len() } else { 0 };
    own.params.extend((0..pointers).map(|_| AbiParam::new(I64)));
    if entered.is_some() {
        own.params.splice(0..0, [I64, I64].map(AbiParam::new));
    }
    let shape = Shape { plain, callees: &functions, keeper: keeper.as_ref(), lanes, takes_pointers, entered };
    let (entry, sites) = function(&mut random, "f", own, &shape, budget);
    functions.insert(0, entry);
    functions.extend(keeper);
    Program { functions, pointers, has_lanes, sites }
}

/// `%k(address, …)`, which changes no register but the word there.
fn keeper(random: &mut Random) -> Function {
    let mut signature = Signature::new(CallConv::PreserveAll);
    signature.params.push(AbiParam::new(I64));
    for _ in 0..random.below(6) {
        signature.params.push(AbiParam::new(random.pick(&INTS)));
    }
    let mut func = Function::with_name_signature(UserFuncName::testcase("k"), signature);
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let [address, ref values @ ..] = *b.block_params(entry).to_vec() else { unreachable!("it has an address") };
    let mut sum = b.ins().load(I64, MemFlagsData::trusted(), address, 0);
    for &value in values {
        let word = if b.func.dfg.value_type(value) == I64 { value } else { b.ins().uextend(I64, value) };
        let rotated = b.ins().rotl_imm_u(sum, 5);
        sum = b.ins().bxor(rotated, word);
    }
    b.ins().store(MemFlagsData::trusted(), sum, address, 0);
    b.ins().return_(&[]);
    b.finalize(isa(false).frontend_config());
    func
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

/// What a function may have in it.
struct Shape<'a> {
    /// Only what the quick compiler knows.
    plain: bool,
    callees: &'a [Function],
    /// A callee that keeps all registers.
    keeper: Option<&'a Function>,
    /// Four lanes.
    lanes: bool,
    /// The last parameters are the callees' addresses.
    takes_pointers: bool,
    /// It can be entered at its loops; or stops at one.
    entered: Option<Option<u32>>,
}

fn function(random: &mut Random, name: &str, signature: Signature, shape: &Shape<'_>, budget: usize) -> (Function, Vec<Site>) {
    let mut func = Function::with_name_signature(UserFuncName::testcase(name), signature.clone());
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut func, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let mut params = b.block_params(entry).to_vec();
    let mut import = |callee: &Function| {
        let UserFuncName::Testcase(name) = &callee.name else { unreachable!("made here") };
        let signature = b.import_signature(callee.signature.clone());
        let name = ExternalName::testcase(name.raw());
        (b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false }), signature)
    };
    let pointers = params.split_off(params.len() - if shape.takes_pointers { shape.callees.len() } else { 0 });
    let callees = shape.callees.iter().enumerate().map(|(at, callee)| {
        let (reference, type_of) = import(callee);
        Callee { reference, type_of, signature: callee.signature.clone(), pointer: pointers.get(at).copied() }
    });
    let callees = callees.collect();
    let keeper = shape.keeper.map(|keeper| (import(keeper).0, keeper.signature.clone()));
    let memory = match shape.entered {
        Some(stop) => {
            let vmctx = params[0];
            params.drain(..2);
            let flags = MemFlagsData::trusted().with_readonly();
            let constant = b.ins().load(I64, flags, vmctx, 8 * entered::CONSTANT as i32);
            let derived = b.ins().iadd_imm_s(constant, 77);
            let base = b.ins().iadd_imm_s(vmctx, 16);
            Memory::Context(Loops { vmctx, base, constants: [constant, derived], stop, counters: Vec::new(), sites: Vec::new() })
        }
        None => {
            let bytes = SLOT + 8 * pointers.len() as u32;
            Memory::Slot(b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4)))
        }
    };
    let (plain, lanes) = (shape.plain, shape.lanes);
    let mut g = Generator {
        random,
        b,
        variables: Vec::new(),
        vectors: Vec::new(),
        memory,
        callees,
        keeper,
        budget,
        depth: 0,
        plain,
        lanes,
    };
    g.begin(&params);
    g.statements();
    g.end(&signature);
    let sites = match g.memory {
        Memory::Context(loops) => loops.sites,
        Memory::Slot(_) => Vec::new(),
    };
    g.b.finalize(isa(false).frontend_config());
    (func, sites)
}

/// What may be called.
#[derive(Clone)]
struct Callee {
    reference: FuncRef,
    type_of: SigRef,
    signature: Signature,
    /// Its address.
    pointer: Option<Value>,
}

/// Where a function's memory is.
enum Memory {
    Slot(StackSlot),
    /// Where the vmctx points, because the function is entered at its loops.
    Context(Loops),
}

/// One function under way.
struct Generator<'r, 'f> {
    random: &'r mut Random,
    b: FunctionBuilder<'f>,
    variables: Vec<(Variable, Type)>,
    /// Of four lanes.
    vectors: Vec<Variable>,
    memory: Memory,
    callees: Vec<Callee>,
    keeper: Option<(FuncRef, Signature)>,
    /// Statements left.
    budget: usize,
    /// Of branches and loops.
    depth: usize,
    /// Only what the quick compiler knows.
    plain: bool,
    /// Four lanes, too.
    lanes: bool,
}

impl Generator<'_, '_> {
    /// Clears the slot; gives every type two variables.
    fn begin(&mut self, params: &[Value]) {
        let zero = self.b.ins().iconst(I64, 0);
        for at in (0..SLOT.cast_signed()).step_by(8) {
            let address = self.place(at);
            self.b.ins().store(MemFlagsData::trusted(), zero, address, 0);
        }
        for (at, callee) in (0..).zip(self.callees.clone()) {
            if let Some(pointer) = callee.pointer {
                let address = self.place(SLOT.cast_signed() + 8 * at);
                self.b.ins().store(MemFlagsData::trusted(), pointer, address, 0);
            }
        }
        for &param in params {
            self.variable(self.b.func.dfg.value_type(param), param);
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
        // Neither a call nor an entry keeps these.
        if self.lanes && self.callees.is_empty() && matches!(self.memory, Memory::Slot(_)) {
            for _ in 0..3 {
                let lanes = self.lanes_of_memory();
                let variable = self.b.declare_var(I32X4);
                self.b.def_var(variable, lanes);
                self.vectors.push(variable);
            }
        }
    }

    /// An address in the memory.
    fn place(&mut self, offset: i32) -> Value {
        match &self.memory {
            Memory::Slot(slot) => self.b.ins().stack_addr(I64, *slot, offset),
            Memory::Context(loops) => {
                let (vmctx, base) = (loops.vmctx, loops.base);
                let (from, offset) = if self.random.once_in(2) { (base, offset - 16) } else { (vmctx, offset) };
                self.b.ins().iadd_imm_s(from, i64::from(offset))
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
        self.store_vectors();
        let mut words = Vec::new();
        for at in (0..SLOT.cast_signed()).step_by(8) {
            let address = self.place(at);
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
