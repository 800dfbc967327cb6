//! One pass over a body: every operator is validated, then turned into code.

mod flow;

use std::collections::BTreeSet;
#[cfg(tierup_templates)]
use std::sync::Mutex;
use std::sync::OnceLock;
#[cfg(tierup_templates)]
use std::sync::atomic::AtomicU32;

use wasmparser::{BlockType, FuncValidator, FuncValidatorAllocations, MemArg, Operator, OperatorsReader, ValidatorResources};

use super::code::{Code, Finished, Waiting};
use super::control::{Block, Kind};
use super::notes::{Noted, Notes};
use super::point::Points;
use super::scalar::{Scalar, class_of};
use super::stack::{Operand, Place, Stack, Value};
use super::{LoopSite, Prepared};
use crate::error::Error;
use crate::exec::op::binary::BinaryOp;
use crate::exec::op::branch::CompareOp;
use crate::exec::op::call;
use crate::exec::op::data::{self, Class, Written};
use crate::exec::op::memory::{self, LoadOp, StoreOp, ValuePlace};
use crate::exec::op::range::{self, RangeOp};
use crate::exec::op::unary::UnaryOp;
use crate::exec::{Form, Instruction};
use crate::module::{Body, Function, ModuleInner};
use crate::profile::CallSite;
use crate::types::ValType;

/// Validates a body, one of `module`, and translates it.
///
/// # Errors
///
/// As [`ensure`](super::ensure).
pub(super) fn translate(module: &ModuleInner, body: &Body, notes: Notes) -> Result<(Prepared, Noted), Error> {
    let function = module.function(body.index).expect("a body is of a function that is defined");
    let mut reader = body.read(module).get_binary_reader();
    let mut validator = module.validator(function).into_validator(FuncValidatorAllocations::default());
    validator.read_locals(&mut reader).map_err(|e| Error::invalid(&e))?;
    let mut translator = Translator::new(module, function, body, validator.len_locals(), notes);
    let mut operators = OperatorsReader::new(reader);
    while !operators.eof() {
        let position = operators.original_position();
        let operator = operators.read().map_err(|e| Error::malformed(&e))?;
        translator.before(&operator, &validator);
        validator.op(position, &operator).map_err(|e| Error::invalid(&e))?;
        translator.code.offset = position as u32;
        translator.note_before(&operator);
        translator.operator(&operator)?;
        translator.note_after(&operator);
    }
    operators.finish().map_err(|e| Error::malformed(&e))?;
    translator.finish()
}

/// The last comparison, while a branch can still take its place.
struct Comparison {
    at: usize,
    test: Test,
    /// What the integer accumulator mirrored before it.
    mirror: Option<u16>,
}

/// An encoded comparison.
#[derive(Clone, Copy)]
pub(super) struct Test {
    op: CompareOp,
    operands: Operands,
}

/// Encoded operands of an instruction.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    form: Form,
    /// The operand word, without the result's slot.
    word: u64,
    /// A wide immediate.
    wide: Option<u64>,
}

pub(super) struct Translator<'m> {
    module: &'m ModuleInner,
    function: &'m Function,
    body: &'m Body,
    pub(super) code: Code,
    pub(super) stack: Stack,
    blocks: Vec<Block>,
    locals: u32,
    /// Whether control can get here.
    pub(super) live: bool,
    /// Operators on the longest way here, every loop gone through once. A back-edge is charged what this grew by since
    /// its header: of the arms of a big switch one runs per round, so a body's size would overcharge it by far.
    pub(super) work: u32,
    comparison: Option<Comparison>,
    /// Class of the operands of the `select` about to be translated.
    pub(super) select: Class,
    sites: Vec<LoopSite>,
    /// Indirect calls, if they are to be profiled, and the word that refers to each.
    call_sites: Vec<CallSite>,
    call_words: Vec<usize>,
    /// Globals read so far.
    globals_read: BTreeSet<u32>,
    /// If wanted: the resume points.
    pub(super) points: Option<Points>,
    /// Whether what comes next is one, whatever it is.
    pub(super) arrived: bool,
}

impl<'m> Translator<'m> {
    fn new(module: &'m ModuleInner, function: &'m Function, body: &'m Body, locals: u32, notes: Notes) -> Self {
        let params = function.ty.params().len() as u32;
        // An instruction has more words than the bytes it comes from if there are few of them.
        let mut code = Code::new(body.bytes(module).len() + 32, notes);
        code.offset = body.start() as u32;
        if locals > params {
            code.begin(data::clear((locals - params) as usize));
            code.word(u64::from(params as u16) | u64::from(locals - params) << 32);
        }
        let function_block = Block {
            kind: Kind::Function,
            height: 0,
            params: 0,
            results: function.ty.results().len(),
            waiting: Waiting::NOBODY,
            work: 0,
            live: true,
        };
        Self {
            module,
            function,
            body,
            code,
            stack: Stack::new(locals),
            blocks: vec![function_block],
            locals,
            live: true,
            work: 0,
            comparison: None,
            select: Class::Int,
            sites: Vec::new(),
            call_sites: Vec::new(),
            call_words: Vec::new(),
            globals_read: BTreeSet::new(),
            points: (notes == Notes::Points).then(Points::default),
            arrived: true,
        }
    }

    /// What validation of the operator will no longer know.
    fn before(&mut self, operator: &Operator<'_>, validator: &FuncValidator<ValidatorResources>) {
        if let Operator::Select = operator {
            self.select = match validator.get_operand_type(1) {
                Some(Some(wasmparser::ValType::F32)) => Class::F32,
                Some(Some(wasmparser::ValType::F64)) => Class::F64,
                _ => Class::Int,
            };
        }
    }

    fn finish(self) -> Result<(Prepared, Noted), Error> {
        let results = self.function.ty.slots() as u32;
        let frame_slots = self.stack.frame_slots().max(results);
        if frame_slots > u32::from(u16::MAX) || self.sites.len() > usize::from(u16::MAX) {
            return Err(Error::Unsupported {
                what: "a function with more than 65,535 slots or loops".to_owned(),
                offset: self.body.start() as u64,
            });
        }
        let Finished { words: mut code, origins, kinds } = self.code.finish();
        #[cfg(not(tierup_templates))]
        let _ = kinds;
        let call_sites = self.call_sites.into_boxed_slice();
        for (site, word) in call_sites.iter().zip(self.call_words) {
            *code[word].get_mut() = &raw const *site as u64;
        }
        let prepared = Prepared {
            body: self.body,
            entry: code.as_ptr().cast(),
            control: self.locals,
            frame_slots,
            code,
            sites: self.sites.into_boxed_slice(),
            call_sites,
            offsets: OnceLock::new(),
            liveness: OnceLock::new(),
            points: OnceLock::new(),
            arms: OnceLock::new(),
            #[cfg(tierup_templates)]
            paid: AtomicU32::new(0),
            #[cfg(tierup_templates)]
            kinds: Mutex::new(kinds),
            #[cfg(tierup_templates)]
            templates: OnceLock::new(),
        };
        Ok((prepared, Noted { origins, points: self.points.unwrap_or_default() }))
    }

    /// Params and results of a block.
    fn block_type(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => {
                let ty = &self.module.types[index as usize].ty;
                (ty.params().len(), ty.results().len())
            }
        }
    }

    // Writing instructions.

    /// Writes an instruction with a result and pushes that.
    pub(super) fn result(&mut self, class: Class, instructions: [Instruction; 2], word: u64, wide: Option<u64>) -> usize {
        let at = self.code.begin(instructions[0]);
        self.code.word(word);
        if let Some(wide) = wide {
            self.code.word(wide);
        }
        self.stack.push_result(&mut self.code, class, at, instructions[1]);
        at
    }

    fn in_slot(&mut self, operand: Operand) -> u16 {
        self.stack.in_slot(&mut self.code, operand)
    }

    /// Encodes two operands of type `ty`.
    fn operands(&mut self, ty: Scalar, l: Operand, r: Operand) -> Operands {
        let a = |slot: u16| u64::from(slot) << 16;
        let b = |slot: u16| u64::from(slot) << 32;
        let k = |imm: (u32, Option<u64>)| u64::from(imm.0) << 32;
        let plain = |form, word| Operands { form, word, wide: None };
        let left = if let Place::Const(bits) = l.place { ty.immediate(bits) } else { None };
        let right = if let Place::Const(bits) = r.place { ty.immediate(bits) } else { None };
        match (l.place, left, r.place, right) {
            (Place::Acc { .. }, _, _, Some(imm)) => Operands { form: Form::AccImm, word: k(imm), wide: imm.1 },
            (_, _, _, Some(imm)) => Operands { form: Form::SlotImm, word: a(self.in_slot(l)) | k(imm), wide: imm.1 },
            (_, Some(imm), Place::Acc { .. }, _) => Operands { form: Form::ImmAcc, word: k(imm), wide: imm.1 },
            (_, Some(imm), _, _) => Operands { form: Form::ImmSlot, word: a(self.in_slot(r)) | k(imm), wide: imm.1 },
            (Place::Acc { .. }, _, Place::Acc { .. }, _) => plain(Form::SlotAcc, a(self.in_slot(l))),
            (Place::Acc { .. }, _, _, _) => plain(Form::AccSlot, a(self.in_slot(r))),
            (_, _, Place::Acc { .. }, _) => plain(Form::SlotAcc, a(self.in_slot(l))),
            _ => {
                let l = self.in_slot(l);
                plain(Form::SlotSlot, a(l) | b(self.in_slot(r)))
            }
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, ty: Scalar) {
        let r = self.stack.pop(ty.class());
        let l = self.stack.pop(ty.class());
        let mut operands = self.operands(ty, l, r);
        let handlers = op.handlers(operands.form).or_else(|| {
            // Commutative operators have fewer forms; all of theirs begin with the slot or the accumulator.
            operands.form = swapped(operands.form);
            op.handlers(operands.form)
        });
        let handlers = handlers.expect("every form exists as it is or swapped");
        self.result(ty.class(), handlers, operands.word, operands.wide);
    }

    pub(super) fn unary(&mut self, op: UnaryOp, from: Class, to: Class) {
        let operand = self.stack.pop(from);
        let (accumulator, word) = match operand.place {
            Place::Acc { .. } => (true, 0),
            _ => (false, u64::from(self.in_slot(operand)) << 16),
        };
        self.result(to, op.handlers(accumulator), word, None);
    }

    pub(super) fn compare(&mut self, op: CompareOp, ty: Scalar) {
        let r = self.stack.pop(ty.class());
        let l = self.stack.pop(ty.class());
        let operands = self.operands(ty, l, r);
        self.test(test(op, operands));
    }

    /// Writes a comparison whose value may be wanted.
    pub(super) fn test(&mut self, test: Test) {
        let mirror = self.stack.mirror();
        let handlers = test.op.value(test.operands.form).expect("tests are written in a form there is");
        let at = self.result(Class::Int, handlers, test.operands.word, test.operands.wide);
        self.comparison = Some(Comparison { at, test, mirror });
    }

    /// Takes the last instruction back if it is a comparison whose value is the top operand.
    fn take_comparison(&mut self) -> Option<Test> {
        let comparison = self.comparison.take()?;
        if !self.code.is_last(comparison.at) || self.stack.top() != Value::Acc(Class::Int) {
            return None;
        }
        self.code.take_back(comparison.at);
        self.stack.restore(comparison.mirror);
        Some(comparison.test)
    }

    /// Takes an operand and compares it with zero.
    pub(super) fn compare_zero(&mut self, op: CompareOp, ty: Scalar) -> Test {
        let operand = self.stack.pop(Class::Int);
        let (form, word) = match operand.place {
            Place::Acc { .. } => (Form::AccImm, 0),
            _ => (Form::SlotImm, u64::from(self.in_slot(operand)) << 16),
        };
        debug_assert!(ty.immediate(0).is_some());
        Test { op, operands: Operands { form, word, wide: None } }
    }

    pub(super) fn eqz(&mut self, op: CompareOp, ty: Scalar) {
        // `i64.eqz` has no comparison for an operand, which is an i32.
        let taken = if ty == Scalar::I32 { self.take_comparison() } else { None };
        let test = match taken {
            Some(test) => Test { op: test.op.negated(), ..test },
            None => self.compare_zero(op, ty),
        };
        self.test(test);
    }

    /// Takes the condition of a branch.
    fn condition(&mut self) -> Test {
        match self.take_comparison() {
            Some(test) => test,
            None => self.compare_zero(CompareOp::I32Ne, Scalar::I32),
        }
    }

    // Calls.

    /// Puts `params` arguments in place and takes them; the base slot.
    fn arguments(&mut self, params: usize) -> u16 {
        let height = self.stack.height() - params;
        self.stack.settle_from(&mut self.code, height);
        self.stack.settle_accs(&mut self.code);
        self.stack.truncate(height);
        self.stack.slot(height)
    }

    /// After a call: results are in place, accumulators are not what they were.
    fn results(&mut self, results: &[ValType]) {
        self.stack.forget();
        for _ in results {
            self.stack.push(&mut self.code, Value::Slot);
        }
        if let [ty] = *results {
            self.stack.mirrors(class_of(ty), self.stack.height() - 1);
        }
    }

    pub(super) fn call(&mut self, index: u32) {
        let ty = self.module.function_type(index).ty.clone();
        let base = self.arguments(ty.params().len());
        match self.module.function(index) {
            Some(function) => {
                self.code.begin(call::direct());
                self.code.word(u64::from(base) << 16);
                self.code.word(&raw const *function as u64);
            }
            None => {
                self.code.begin(call::import());
                self.code.word(u64::from(base) << 16);
                self.code.word(u64::from(index));
            }
        }
        self.call_written(base);
        self.results(ty.results());
    }

    /// Writes the end of a call.
    fn call_written(&mut self, base: u16) {
        self.code.word(&raw const *self.body as u64);
        self.note_call(base);
    }

    pub(super) fn call_indirect(&mut self, type_index: u32, table: u32) {
        let entry = &self.module.types[type_index as usize];
        let (ty, canonical) = (entry.ty.clone(), entry.canonical);
        let index = self.stack.pop(Class::Int);
        let (accumulator, b) = match index.place {
            Place::Acc { .. } => (true, 0),
            _ => (false, self.in_slot(index)),
        };
        let base = self.arguments(ty.params().len());
        let profiles = self.module.engine.config().profiles();
        self.code.begin(call::indirect(accumulator, profiles));
        self.code.word(u64::from(base) << 16 | u64::from(b) << 32);
        if profiles {
            self.call_sites.push(CallSite::new(table, canonical, self.code.offset));
            self.call_words.push(self.code.here());
        }
        // Of a call that is profiled, the site will take its place.
        self.code.word(u64::from(table) | u64::from(canonical) << 32);
        self.call_written(base);
        self.results(ty.results());
    }

    pub(super) fn range(&mut self, op: RangeOp, a: u32, b: u32) {
        let base = self.arguments(op.operands());
        self.code.begin(range::range());
        self.code.word(u64::from(base) << 16);
        self.code.word(op.function() as usize as u64);
        self.code.word(u64::from(a) | u64::from(b) << 32);
        self.stack.forget();
        if op.has_result() {
            self.stack.push(&mut self.code, Value::Slot);
        }
    }

    // Memory.

    /// Encodes an address: where it is, and the operand word's bits.
    fn address(&mut self, address: Operand, memarg: &MemArg) -> (memory::Place, u64) {
        // Validated: offsets of a 32-bit memory fit.
        let offset = memarg.offset;
        match address.place {
            Place::Acc { .. } => (memory::Place::Acc, offset << 32),
            Place::Const(base) if base + offset <= u64::from(u32::MAX) => (memory::Place::Absolute, (base + offset) << 32),
            _ => (memory::Place::Slot, u64::from(self.in_slot(address)) << 16 | offset << 32),
        }
    }

    pub(super) fn load(&mut self, op: LoadOp, class: Class, memarg: &MemArg) {
        let address = self.stack.pop(Class::Int);
        let (place, word) = self.address(address, memarg);
        self.result(class, op.handlers(place), word, None);
    }

    pub(super) fn store(&mut self, op: StoreOp, class: Class, memarg: &MemArg) {
        let value = self.stack.pop(class);
        let address = self.stack.pop(Class::Int);
        let (mut from, mut slot, wide) = match value.place {
            Place::Acc { .. } => {
                let from = match class {
                    Class::Int => ValuePlace::Int,
                    Class::F32 => ValuePlace::F32,
                    Class::F64 => ValuePlace::F64,
                };
                (from, 0, None)
            }
            Place::Const(bits) => (ValuePlace::Imm, 0, Some(bits)),
            Place::Slot(slot) => (ValuePlace::Slot, slot, None),
        };
        let (place, word) = self.address(address, memarg);
        if place == memory::Place::Acc && from == ValuePlace::Int {
            (from, slot) = (ValuePlace::Slot, self.in_slot(value));
        }
        let handler = op.handler(place, from).expect("address and value are not both in the accumulator");
        self.code.begin(handler);
        self.code.word(word | u64::from(slot));
        if let Some(bits) = wide {
            self.code.word(bits);
        }
    }

    // Variables and the rest.

    fn global(&self, index: u32) -> (Class, bool, u64) {
        let class = class_of(self.module.globals[index as usize].content);
        match index.checked_sub(self.module.imported_globals) {
            Some(defined) => (class, true, u64::from(defined) << 32),
            None => (class, false, u64::from(index) << 32),
        }
    }

    pub(super) fn global_get(&mut self, index: u32) {
        let (class, defined, word) = self.global(index);
        self.globals_read.insert(index);
        self.result(class, data::global_get(class, defined), word, None);
    }

    pub(super) fn global_set(&mut self, index: u32) {
        let (class, _, _) = self.global(index);
        let (written, index) = self.written(index);
        let word = u64::from(index) << 32;
        let value = self.stack.pop(class);
        let (handler, a) = match value.place {
            Place::Acc { .. } => (data::global_set(class, written), 0),
            _ => (data::global_set_slot(written), self.in_slot(value)),
        };
        self.code.begin(handler);
        self.code.word(word | u64::from(a) << 16);
    }

    /// How a global is written, and its number for that.
    ///
    /// What a body reads and writes again varies (the stack pointer of compiled C, a counter): nobody is to rely on its not being
    /// written, so that the write need not tell. This depends on the body alone: translating again gives the same code.
    fn written(&self, index: u32) -> (Written, u32) {
        let defined = index.checked_sub(self.module.imported_globals);
        let profiles = self.module.engine.config().profiles();
        match (defined, self.module.unwritten.global(index)) {
            (Some(_), Some(_)) if !self.globals_read.contains(&index) => (Written::Watched, index),
            (Some(defined), unwritten) => {
                if let Some(unwritten) = unwritten {
                    unwritten.end(&self.module.engine);
                }
                (Written::Defined, defined)
            }
            (None, _) if profiles => (Written::Watched, index),
            (None, _) => (Written::Any, index),
        }
    }

    pub(super) fn select(&mut self, class: Class) {
        let condition = self.stack.pop(Class::Int);
        let b = self.stack.pop(class);
        let a = self.stack.pop(class);
        let (accumulator, c) = match condition.place {
            Place::Acc { .. } => (true, 0),
            _ => (false, self.in_slot(condition)),
        };
        let a = u64::from(self.in_slot(a)) << 16;
        let b = u64::from(self.in_slot(b)) << 32;
        self.result(class, data::select(class, accumulator), a | b | u64::from(c) << 48, None);
    }

    pub(super) fn constant(&mut self, bits: u64) {
        self.stack.push(&mut self.code, Value::Const(bits));
    }
}

/// The form with its operands swapped.
fn swapped(form: Form) -> Form {
    match form {
        Form::SlotAcc => Form::AccSlot,
        Form::AccSlot => Form::SlotAcc,
        Form::SlotImm => Form::ImmSlot,
        Form::AccImm => Form::ImmAcc,
        Form::ImmSlot => Form::SlotImm,
        Form::ImmAcc => Form::AccImm,
        Form::SlotSlot => Form::SlotSlot,
    }
}

/// A comparison in a form there is.
fn test(op: CompareOp, operands: Operands) -> Test {
    match operands.form {
        Form::AccSlot | Form::ImmSlot | Form::ImmAcc => {
            Test { op: op.swapped(), operands: Operands { form: swapped(operands.form), ..operands } }
        }
        Form::SlotSlot | Form::SlotAcc | Form::SlotImm | Form::AccImm => Test { op, operands },
    }
}
