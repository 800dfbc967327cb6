//! One function's body, operator by operator: validated, then handed to the family that lowers it.

use std::collections::HashMap;
use std::ptr;
use std::rc::Rc;

use tierup::{Bailout, BailoutReason, LowerCx};
use wasmparser::{BinaryReader, FuncValidator, Operator, OperatorsReader, ValidatorResources};

use super::arms::{ArmUse, FreeHeader};
use super::assume::Assumed;
use super::clif::{
    self, Block, BodyAbi, Countdown, FunctionBuilder, InstBuilder, SigRef, Sums, Traps, Type, Value, Variable, types,
};
use super::count::{Counter, Counting};
use super::exit::Resuming;
use super::facts::Facts;
use super::helpers::Helper;
use super::itself::Itself;
use super::signature::{self, BODY_PREFIX, clif_type};
use super::site::LoopSites;
use super::stack::{Frame, Operands};
use super::vmctx::{CheckedLen, Regions};
use super::{bulk, call, control, memory, numeric, table, trapping, variable};
use crate::liveness::Liveness;
use crate::module::{Body, FuncHandle, Function, ModuleInner};
use crate::trap::TrapCode;
use crate::types::ValType;

/// The lowering of one function under way.
pub(super) struct FuncLower<'a, 'f> {
    pub(super) b: &'a mut FunctionBuilder<'f>,
    pub(super) facts: Facts<'a>,
    pub(super) abi: BodyAbi,
    pub(super) traps: Traps,
    pub(super) sums: Sums,
    pub(super) regions: Regions,
    /// The block the function is entered at.
    pub(super) entry: Block,
    /// The base of the guest's memory, once an access needed it.
    pub(super) memory_base: Option<Value>,
    /// The length of the guest's memory, where accesses are checked against it.
    pub(super) checked_len: Option<CheckedLen>,
    pub(super) locals: Vec<Variable>,
    pub(super) operands: Operands,
    pub(super) frames: Vec<Frame>,
    /// Whether control can get here.
    pub(super) reachable: bool,
    /// Frames opened in code that cannot run; they have no entry in `frames`.
    pub(super) dead_frames: usize,
    /// Counting, if the function may go to a higher tier.
    pub(super) count: Option<Counter>,
    /// Loop sites, if anybody wants them.
    pub(super) sites: Option<LoopSites>,
    /// Resume points, if exits may be made there.
    pub(super) resuming: Option<Resuming<'a>>,
    /// Whether an exit is planted at each.
    pub(super) plants_exits: bool,
    /// What is done about indirect calls, and arms.
    pub(super) profiling: Profiling,
    /// What is done about the body's arms.
    pub(super) arms: ArmUse<'a>,
    /// The header that a variant is entered at with what the code knows nothing of.
    pub(super) free: Option<FreeHeader>,
    /// What lives at loops, if they are to have exits for their polls.
    pub(super) live_at_polls: Option<Rc<Liveness>>,
    /// The function's index in its module.
    pub(super) function: u32,
    /// What frame states call its body: the address.
    pub(super) body: u64,
    /// Offsets of the loops in which guests are called, ascending.
    pub(super) calling_loops: Vec<u32>,
    /// Whether code can be left at its polls even where that costs something.
    pub(super) leaves_at_polls: bool,
    /// What is taken for granted of tables and globals.
    pub(super) assumed: Assumed,
    /// Operators on the longest way to here.
    pub(super) work: u32,
    /// Offset of the operator being lowered.
    pub(super) offset: u32,
    /// The body, if it may take the place of its calls of itself,
    pub(super) itself: Option<Itself<'a>>,
    /// and where it returns to while it does.
    pub(super) returns: Option<Block>,
    pub(super) cx: &'a LowerCx<'a, FuncHandle>,
    signatures: HashMap<u32, SigRef>,
}

/// What is done about the targets of indirect calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profiling {
    /// Nothing.
    Off,
    /// They are recorded.
    Record,
    /// What was recorded is taken for granted, where nothing better is known.
    Speculate,
    /// What was recorded is taken for granted, however little it is, and nothing else is known.
    SpeculateAlways,
}

/// A body that is about to be lowered.
pub(super) struct Opened<'a> {
    body: &'a Body,
    /// Behind the locals.
    reader: BinaryReader<'a>,
    /// Offsets of the loops in which guests are called, ascending.
    calling_loops: Vec<u32>,
    /// It goes without a stack check, and so does not poll where it is called.
    is_leaf: bool,
    /// It polls nowhere.
    pub(super) is_silent: bool,
    /// Calls that it has of itself.
    calls_of_itself: usize,
    /// What lives at loops, if anybody may ask and the body can be read.
    liveness: Option<Rc<Liveness>>,
}

impl<'a> Opened<'a> {
    /// Reads `body`, of the function with that index, once, also for what lives at its loops if `needs_liveness`.
    ///
    /// # Errors
    ///
    /// Terminal: the body does not validate.
    pub(super) fn new(
        module: &'a ModuleInner,
        body: &'a Body,
        function: u32,
        validator: &mut FuncValidator<ValidatorResources>,
        plants_exits: bool,
        needs_liveness: bool,
    ) -> Result<Self, Bailout> {
        let mut reader = body.read(module).get_binary_reader();
        validator.read_locals(&mut reader).map_err(|e| invalid(&e))?;
        let size = validator.len_locals() as usize + body.bytes(module).len();
        let operators = || OperatorsReader::new(reader.clone());
        let mut has = Has { function, ..Has::default() };
        let liveness = match needs_liveness {
            true => Liveness::watching(operators(), validator.len_locals(), |op, offset| has.see(op, offset)).map(Rc::new),
            false => None,
        };
        if liveness.is_none() {
            has = Has::of(operators(), function)?;
        }
        let Has { calls, calls_of_itself, loops, mut calling_loops, .. } = has;
        calling_loops.sort_unstable();
        let is_leaf = size <= SMALL_LEAF && !plants_exits && !calls;
        Ok(Opened { body, reader, calling_loops, is_leaf, is_silent: is_leaf && !loops, calls_of_itself, liveness })
    }
}

/// How a body is to be lowered.
pub(super) struct Manner<'a> {
    /// Counting, if the function may go to a higher tier.
    pub(super) counting: Option<Counting>,
    /// Resume points, if exits may be made there.
    pub(super) resuming: Option<Resuming<'a>>,
    /// Whether an exit is planted at each.
    pub(super) plants_exits: bool,
    pub(super) profiling: Profiling,
    /// Whether it polls where it is called.
    pub(super) polls: bool,
    /// Whether code can be left at its polls, whatever that costs.
    pub(super) leaves_at_polls: bool,
}

/// Lowers a body of `function` into `b`, which stands at a new function with the body's signature.
///
/// # Errors
///
/// Terminal: the body does not validate, or uses an operator that no family knows.
pub(super) fn lower<'a>(
    module: &'a ModuleInner,
    function: &'a Function,
    opened: Opened<'a>,
    validator: &mut FuncValidator<ValidatorResources>,
    manner: Manner<'a>,
    cx: &'a LowerCx<'a, FuncHandle>,
    b: &mut FunctionBuilder<'_>,
) -> Result<(), Bailout> {
    let (body, reader) = (opened.body, opened.reader);
    // A callee's frame is its caller's, who has checked it.
    let prologue = match manner.counting {
        _ if opened.is_leaf || cx.is_callee() => Prologue::Leaf,
        Some(Counting { countdown, flush: None, .. }) => Prologue::Sampled(countdown),
        _ if manner.polls => Prologue::Polling,
        _ => Prologue::Silent,
    };
    let mut f = FuncLower::enter(cx, Facts::new(module), prologue, b);
    if cx.wants_sites() {
        // A body that cannot be read is refused below.
        f.sites = opened.liveness.clone().map(LoopSites::new);
        if let results @ 2.. = function.ty.results().len() {
            cx.wide_results(results as u32);
        }
    }
    (f.resuming, f.plants_exits, f.profiling) = (manner.resuming, manner.plants_exits, manner.profiling);
    if manner.counting.is_none() && (!cx.polls_loops() || manner.leaves_at_polls) {
        f.live_at_polls = opened.liveness;
    }
    (f.function, f.body) = (function.index, ptr::from_ref(body).addr() as u64);
    f.leaves_at_polls = manner.leaves_at_polls;
    f.calling_loops = opened.calling_loops;
    f.assume(module, OperatorsReader::new(reader.clone()));
    f.count_call(manner.counting);
    f.use_arms(module, OperatorsReader::new(reader.clone()));
    f.declare_checked_len();
    let arguments = f.b.func.dfg.block_params(f.entry)[BODY_PREFIX..].to_vec();
    f.declare_locals(validator, arguments);
    f.open_body(module.function_types[function.index as usize]);
    // Who optimizes loops inlines as well. And arms have one place each.
    if !cx.polls_loops() && matches!(f.arms, ArmUse::Ignore) {
        f.itself = Itself::new(module, function, body, opened.calls_of_itself);
    }
    f.operators(validator, OperatorsReader::new(reader))?;
    f.traps.finish(f.b);
    Ok(())
}

pub(super) fn invalid(error: &wasmparser::Error) -> Bailout {
    Bailout::terminal(BailoutReason::InvalidGuest { message: error.to_string() })
}

/// How a body begins: in its entry block, which has its parameters.
enum Prologue {
    /// It does nothing.
    Leaf,
    /// It checks the stack,
    Silent,
    /// and polls,
    Polling,
    /// for samples.
    Sampled(Countdown),
}

impl Prologue {
    fn emit(self, b: &mut FunctionBuilder<'_>, traps: &mut Traps) -> BodyAbi {
        // Nothing above the limit: what host code needs is kept free below it.
        let (headroom, code) = (0, TrapCode::StackOverflow as u64);
        match self {
            Prologue::Leaf => clif::leaf_prologue(b, traps),
            Prologue::Silent => clif::silent_prologue(b, traps, headroom, code),
            Prologue::Polling => clif::prologue(b, traps, headroom, code),
            Prologue::Sampled(countdown) => clif::sampled_prologue(b, traps, headroom, code, countdown),
        }
    }
}

/// Locals and body bytes up to which a body that calls no guest code goes without a stack check: its frame then takes
/// a small part of what is kept free below the limit, whatever it spills (no operator leaves more than one value).
const SMALL_LEAF: usize = 512;

/// What a body has.
#[derive(Default)]
struct Has {
    /// Calls of guest code: frames can pile up above its own.
    calls: bool,
    /// Of these, calls of the function itself, which has this index.
    calls_of_itself: usize,
    function: u32,
    loops: bool,
    /// Offsets of those that have a call in them.
    calling_loops: Vec<u32>,
    /// Blocks around; a loop is taken from its block at the first call.
    around: Vec<Option<u32>>,
}

impl Has {
    fn of(mut reader: OperatorsReader<'_>, function: u32) -> Result<Self, Bailout> {
        let mut has = Has { function, ..Has::default() };
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset().map_err(|e| invalid(&e))?;
            has.see(&op, offset);
        }
        Ok(has)
    }

    fn see(&mut self, op: &Operator<'_>, offset: u64) {
        match op {
            Operator::Call { .. } | Operator::CallIndirect { .. } => {
                let is_itself = matches!(op, Operator::Call { function_index } if *function_index == self.function);
                self.calls_of_itself += usize::from(is_itself);
                self.calls = true;
                self.calling_loops.extend(self.around.iter_mut().filter_map(Option::take));
            }
            Operator::Loop { .. } => {
                self.loops = true;
                self.around.push(Some(offset as u32));
            }
            Operator::Block { .. } | Operator::If { .. } => self.around.push(None),
            Operator::End => drop(self.around.pop()),
            _ => {}
        }
    }
}

impl<'a, 'f> FuncLower<'a, 'f> {
    /// Makes the entry block; code goes on after the prologue.
    fn enter(cx: &'a LowerCx<'a, FuncHandle>, facts: Facts<'a>, prologue: Prologue, b: &'a mut FunctionBuilder<'f>) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let regions = Regions::declare(b);
        let mut traps = Traps::new();
        let abi = prologue.emit(b, &mut traps);
        Self {
            cx,
            facts,
            abi,
            traps,
            sums: Sums::default(),
            regions,
            entry,
            b,
            memory_base: None,
            checked_len: None,
            locals: Vec::new(),
            operands: Operands::default(),
            frames: Vec::new(),
            reachable: true,
            dead_frames: 0,
            count: None,
            sites: None,
            resuming: None,
            plants_exits: false,
            profiling: Profiling::Off,
            arms: ArmUse::Ignore,
            free: None,
            live_at_polls: None,
            function: 0,
            body: 0,
            calling_loops: Vec::new(),
            leaves_at_polls: false,
            assumed: Assumed::default(),
            work: 0,
            offset: 0,
            itself: None,
            returns: None,
            signatures: HashMap::new(),
        }
    }

    /// Parameters, then zeroed locals.
    pub(super) fn declare_locals(&mut self, validator: &FuncValidator<ValidatorResources>, arguments: Vec<Value>) {
        let params = arguments.len();
        for argument in arguments {
            let local = self.b.declare_var(self.b.func.dfg.value_type(argument));
            self.b.def_var(local, argument);
            self.locals.push(local);
        }
        let mut zero = None;
        for index in params as u32..validator.len_locals() {
            let ty = validator.get_local_type(index).and_then(ValType::from_wasm);
            let ty = clif_type(ty.expect("validated: a type of this feature set"));
            let value = match zero {
                Some((of, value)) if of == ty => value,
                _ => self.zero(ty),
            };
            zero = Some((ty, value));
            let local = self.b.declare_var(ty);
            self.b.def_var(local, value);
            self.locals.push(local);
        }
    }

    fn zero(&mut self, ty: Type) -> Value {
        match ty {
            types::F32 => self.b.ins().f32const(0.0),
            types::F64 => self.b.ins().f64const(0.0),
            _ => self.b.ins().iconst(ty, 0),
        }
    }

    pub(super) fn operators(
        &mut self,
        validator: &mut FuncValidator<ValidatorResources>,
        mut reader: OperatorsReader<'_>,
    ) -> Result<(), Bailout> {
        while !reader.eof() {
            let (op, offset) = reader.read_with_offset().map_err(|e| invalid(&e))?;
            validator.op(offset, &op).map_err(|e| invalid(&e))?;
            self.offset = offset as u32;
            self.cx.locate(self.b, self.offset);
            if self.reachable {
                self.look()?;
                self.begin_arm();
            }
            if self.reachable {
                // At a loop that is done in its header.
                if !matches!(op, Operator::Loop { .. }) {
                    self.plant_exit();
                }
                self.operator(&op)?;
            } else {
                control::skip(self, &op);
            }
        }
        reader.finish().map_err(|e| invalid(&e))
    }

    /// Offers the operator to the families, the most frequent first.
    fn operator(&mut self, op: &Operator<'_>) -> Result<(), Bailout> {
        self.work += 1;
        let lowered = variable::lower(self, op)?
            || numeric::lower(self, op)
            || memory::lower(self, op)
            || control::lower(self, op)
            || call::lower(self, op)?
            || trapping::lower(self, op)
            || bulk::lower(self, op)?
            || table::lower(self, op)?;
        if lowered { Ok(()) } else { Err(unsupported(op)) }
    }

    /// The signature of a body of type `ty`, declared once.
    pub(super) fn signature(&mut self, ty: u32) -> SigRef {
        *self.signatures.entry(ty).or_insert_with(|| {
            let signature = signature::body(self.facts.func_type(ty), self.cx.call_conv());
            self.b.import_signature(signature)
        })
    }

    /// Branches to a cold block if `condition` is not zero, else to where code goes on.
    pub(super) fn fork(&mut self, condition: Value) -> (Block, Block) {
        let (cold, next) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(cold);
        self.b.ins().brif(condition, cold, &[], next, &[]);
        self.b.seal_block(cold);
        (cold, next)
    }

    /// Code goes on in a block that nothing else leads to.
    pub(super) fn go_on(&mut self, next: Block) {
        self.b.seal_block(next);
        self.b.switch_to_block(next);
    }

    /// Traps here if `condition` is not zero.
    pub(super) fn trap_if(&mut self, condition: Value, code: TrapCode) {
        self.traps.trap_if(self.b, condition, code as u64);
    }

    /// Traps here; no code follows in this block.
    pub(super) fn trap(&mut self, code: TrapCode) {
        self.traps.unconditional(self.b, code as u64);
    }

    /// An index of the module, as a helper takes it.
    pub(super) fn index(&mut self, index: u32) -> Value {
        self.b.ins().iconst(types::I32, i64::from(index))
    }

    /// Calls a helper with the vmctx and `args`.
    pub(super) fn call_helper(&mut self, helper: Helper, args: &[Value]) -> Result<Value, Bailout> {
        let function = self.cx.helper(self.b, helper.name())?;
        let mut all = vec![self.abi.vmctx];
        all.extend_from_slice(args);
        let call = self.b.ins().call(function, &all);
        Ok(self.b.inst_results(call)[0])
    }

    /// Calls a helper that tells failure by a result other than zero, and traps with `code` then.
    pub(super) fn call_checked(&mut self, helper: Helper, args: &[Value], code: TrapCode) -> Result<(), Bailout> {
        let failed = self.call_helper(helper, args)?;
        self.trap_if(failed, code);
        Ok(())
    }
}

fn unsupported(op: &Operator<'_>) -> Bailout {
    Bailout::terminal(BailoutReason::Unsupported { what: format!("operator {op:?}") })
}
