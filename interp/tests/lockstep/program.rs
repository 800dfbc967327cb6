//! Random structured programs: nested loops, conditions, switches, calls, and operands that stay on the stack across all of them.
//!
//! A program counts its own steps in memory: at each function's entry, at each loop header and after each call. That count, with a
//! function and an offset, names one moment of a run, in whatever tier it is. A program that counts too far ends in a trap.
//!
//! The bits of a NaN are nobody's promise, so that they never get into an integer, a sign or the memory.

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use super::random::Random;

/// Address of the count.
pub(crate) const TICK: usize = 0;
/// How far it goes.
const LAST_TICK: i64 = 1500;
/// The part of the memory that the program uses.
pub(crate) const SHOWN: usize = 384;
/// Where the data begin, past the count.
const DATA: u32 = 64;

/// A number type, as its byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Ty {
    I32 = 0x7f,
    I64 = 0x7e,
    F32 = 0x7d,
    F64 = 0x7c,
}

use Ty::{F32, F64, I32, I64};

const TYPES: [Ty; 4] = [I32, I64, F32, F64];

impl From<Ty> for ValType {
    fn from(ty: Ty) -> Self {
        match ty {
            I32 => Self::I32,
            I64 => Self::I64,
            F32 => Self::F32,
            F64 => Self::F64,
        }
    }
}

/// Operators with one operand: opcode (after a prefix, if there is one), operand, result.
const UNARY: &[(&[u8], Ty, Ty)] = &[
    (&[0x45], I32, I32),
    (&[0x50], I64, I32),
    (&[0x67], I32, I32),
    (&[0x68], I32, I32),
    (&[0x69], I32, I32),
    (&[0x79], I64, I64),
    (&[0x7a], I64, I64),
    (&[0x7b], I64, I64),
    (&[0xc0], I32, I32),
    (&[0xc1], I32, I32),
    (&[0xc2], I64, I64),
    (&[0xc3], I64, I64),
    (&[0xc4], I64, I64),
    (&[0x8b], F32, F32),
    (&[0x8c], F32, F32),
    (&[0x8d], F32, F32),
    (&[0x8e], F32, F32),
    (&[0x8f], F32, F32),
    (&[0x90], F32, F32),
    (&[0x91], F32, F32),
    (&[0x99], F64, F64),
    (&[0x9a], F64, F64),
    (&[0x9b], F64, F64),
    (&[0x9c], F64, F64),
    (&[0x9d], F64, F64),
    (&[0x9e], F64, F64),
    (&[0x9f], F64, F64),
    (&[0xa7], I64, I32),
    (&[0xac], I32, I64),
    (&[0xad], I32, I64),
    (&[0xb2], I32, F32),
    (&[0xb3], I32, F32),
    (&[0xb4], I64, F32),
    (&[0xb5], I64, F32),
    (&[0xb6], F64, F32),
    (&[0xb7], I32, F64),
    (&[0xb8], I32, F64),
    (&[0xb9], I64, F64),
    (&[0xba], I64, F64),
    (&[0xbb], F32, F64),
    (&[0xbe], I32, F32),
    (&[0xbf], I64, F64),
    (&[0xfc, 0], F32, I32),
    (&[0xfc, 1], F32, I32),
    (&[0xfc, 2], F64, I32),
    (&[0xfc, 3], F64, I32),
    (&[0xfc, 4], F32, I64),
    (&[0xfc, 5], F32, I64),
    (&[0xfc, 6], F64, I64),
    (&[0xfc, 7], F64, I64),
];

/// Ranges of opcodes with two operands of a type: first, last, operands, result.
const BINARY: &[(u8, u8, Ty, Ty)] = &[
    (0x46, 0x4f, I32, I32),
    (0x51, 0x5a, I64, I32),
    (0x5b, 0x60, F32, I32),
    (0x61, 0x66, F64, I32),
    (0x6a, 0x6c, I32, I32),
    (0x71, 0x78, I32, I32),
    (0x7c, 0x7e, I64, I64),
    (0x83, 0x8a, I64, I64),
    (0x92, 0x97, F32, F32),
    (0xa0, 0xa5, F64, F64),
];

/// Divisions and remainders, which may trap: first, type, `const 1`, `or`.
const DIVISIONS: [(u8, Ty, [u8; 3]); 2] = [(0x6d, I32, [0x41, 1, 0x72]), (0x7f, I64, [0x42, 1, 0x84])];
/// Conversions that may trap: opcode, operand, result.
const TRUNCATIONS: [(u8, Ty, Ty); 8] = [
    (0xa8, F32, I32),
    (0xa9, F32, I32),
    (0xaa, F64, I32),
    (0xab, F64, I32),
    (0xae, F32, I64),
    (0xaf, F32, I64),
    (0xb0, F64, I64),
    (0xb1, F64, I64),
];

/// Loads: opcode, type.
const LOADS: [(u8, Ty); 14] = [
    (0x28, I32),
    (0x29, I64),
    (0x2a, F32),
    (0x2b, F64),
    (0x2c, I32),
    (0x2d, I32),
    (0x2e, I32),
    (0x2f, I32),
    (0x30, I64),
    (0x31, I64),
    (0x32, I64),
    (0x33, I64),
    (0x34, I64),
    (0x35, I64),
];
/// Stores of integers: opcode, type.
const STORES: [(u8, Ty); 7] = [(0x36, I32), (0x37, I64), (0x3a, I32), (0x3b, I32), (0x3c, I64), (0x3d, I64), (0x3e, I64)];

const GLOBALS: [Ty; 4] = TYPES;
/// Elements of the table: functions, and one null.
const TABLE: u32 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    params: Vec<Ty>,
    results: Vec<Ty>,
}

/// A program: `run`, which takes an `i32`, an `i64` and an `f64`, and its memory are exported.
pub(crate) fn program(random: &mut Random) -> Vec<u8> {
    let count = 2 + random.below(4) as usize;
    let mut types = Types::default();
    let mut signatures = vec![Signature { params: vec![I32, I64, F64], results: vec![I32, I64, F32, F64] }];
    while signatures.len() < count {
        // Now and then as the last one, so that an indirect call has a choice.
        signatures.push(match signatures.last() {
            Some(last) if signatures.len() > 1 && random.below(3) > 0 => last.clone(),
            _ => Signature { params: some_types(random, 4), results: some_types(random, 3) },
        });
    }
    let mut functions = FunctionSection::new();
    for signature in &signatures {
        functions.function(types.index(&signature.params, &signature.results));
    }
    let mut code = CodeSection::new();
    for me in 0..count {
        code.function(&Body::new(random, me, &signatures, &mut types).function());
    }

    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: TABLE.into(),
        maximum: Some(TABLE.into()),
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    for ty in GLOBALS {
        let zero = match ty {
            I32 => ConstExpr::i32_const(7),
            I64 => ConstExpr::i64_const(-7),
            F32 => ConstExpr::f32_const(0.5_f32.into()),
            F64 => ConstExpr::f64_const((-0.5_f64).into()),
        };
        globals.global(GlobalType { val_type: ty.into(), mutable: true, shared: false }, &zero);
    }
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0).export("memory", ExportKind::Memory, 0);
    let mut elements = ElementSection::new();
    let callable: Vec<u32> = in_table(count).collect();
    elements.active(Some(0), &ConstExpr::i32_const(0), Elements::Functions(callable.into()));
    let mut module = Module::new();
    module
        .section(&types.section)
        .section(&functions)
        .section(&tables)
        .section(&memories)
        .section(&globals)
        .section(&exports)
        .section(&elements)
        .section(&code);
    module.finish()
}

/// The functions that are called through the table: the last ones, which call nothing through it.
fn in_table(count: usize) -> std::ops::Range<u32> {
    count.saturating_sub(2).max(1) as u32..count as u32
}

fn some_types(random: &mut Random, below: u64) -> Vec<Ty> {
    (0..random.below(below)).map(|_| some_type(random)).collect()
}

fn some_type(random: &mut Random) -> Ty {
    TYPES[random.below(4) as usize]
}

/// The type section, each type once.
#[derive(Default)]
struct Types {
    section: TypeSection,
    known: Vec<(Vec<Ty>, Vec<Ty>)>,
}

impl Types {
    fn index(&mut self, params: &[Ty], results: &[Ty]) -> u32 {
        let found = self.known.iter().position(|known| known.0 == params && known.1 == results);
        found.unwrap_or_else(|| {
            self.section.ty().function(params.iter().map(|&ty| ty.into()), results.iter().map(|&ty| ty.into()));
            self.known.push((params.to_vec(), results.to_vec()));
            self.known.len() - 1
        }) as u32
    }
}

/// An open block.
struct Label {
    /// What a branch to it takes along.
    values: Vec<Ty>,
    /// A loop's turns left, in this local; a branch to it takes one.
    counter: Option<u32>,
}

/// A body being written.
struct Body<'a> {
    random: &'a mut Random,
    me: usize,
    signatures: &'a [Signature],
    types: &'a mut Types,
    locals: Vec<Ty>,
    /// Locals that programs may write; those after are counters of loops.
    free: usize,
    labels: Vec<Label>,
    code: Vec<u8>,
    /// Statements that may still be written.
    budget: u32,
}

impl<'a> Body<'a> {
    fn new(random: &'a mut Random, me: usize, signatures: &'a [Signature], types: &'a mut Types) -> Self {
        let mut locals = signatures[me].params.clone();
        for ty in TYPES {
            locals.extend(std::iter::repeat_n(ty, 1 + random.below(3) as usize));
        }
        let free = locals.len();
        let budget = if me == 0 { 30 } else { 12 } + random.below(20) as u32;
        let labels = vec![Label { values: signatures[me].results.clone(), counter: None }];
        Self { random, me, signatures, types, locals, free, labels, code: Vec::new(), budget }
    }

    fn function(mut self) -> Function {
        self.tick();
        let statements = 2 + self.below(5);
        for _ in 0..statements {
            self.statement(4);
        }
        self.values(&self.signatures[self.me].results.clone(), 3);
        self.code.push(0x0b);
        let declared = &self.locals[self.signatures[self.me].params.len()..];
        let mut function = Function::new_with_locals_types(declared.iter().map(|&ty| ty.into()));
        function.raw(self.code);
        function
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    // Encoding.

    fn op(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    fn op_index(&mut self, op: u8, index: u32) {
        self.code.push(op);
        self.unsigned(index);
    }

    fn unsigned(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.code.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.code.push(value as u8);
    }

    fn signed(&mut self, mut value: i64) {
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            let done = value == 0 && byte & 0x40 == 0 || value == -1 && byte & 0x40 != 0;
            self.code.push(if done { byte } else { byte | 0x80 });
            if done {
                return;
            }
        }
    }

    fn i32_const(&mut self, value: i32) {
        self.code.push(0x41);
        self.signed(value.into());
    }

    fn i64_const(&mut self, value: i64) {
        self.code.push(0x42);
        self.signed(value);
    }

    fn open(&mut self, op: u8, params: &[Ty], results: &[Ty], counter: Option<u32>) {
        self.code.push(op);
        match (params, results) {
            ([], []) => self.code.push(0x40),
            ([], [ty]) => self.code.push(*ty as u8),
            _ => {
                let ty = self.types.index(params, results);
                self.signed(ty.into());
            }
        }
        let values = if op == 0x03 { params } else { results };
        self.labels.push(Label { values: values.to_vec(), counter });
    }

    fn end(&mut self) {
        self.op(&[0x0b]);
        self.labels.pop();
    }

    /// Counts a step.
    fn tick(&mut self) {
        self.i32_const(TICK as i32);
        self.i32_const(TICK as i32);
        self.op(&[0x29, 3, 0]);
        self.i64_const(1);
        self.op(&[0x7c, 0x37, 3, 0]);
        self.i32_const(TICK as i32);
        self.op(&[0x29, 3, 0]);
        self.i64_const(LAST_TICK);
        self.op(&[0x56, 0x04, 0x40, 0x00, 0x0b]);
    }

    // Values.

    fn values(&mut self, types: &[Ty], depth: u32) {
        for &ty in types {
            self.value(ty, depth);
        }
    }

    /// Pushes a value of this type.
    fn value(&mut self, ty: Ty, depth: u32) {
        if depth == 0 {
            return self.leaf(ty);
        }
        match self.below(24) {
            0..=5 => self.leaf(ty),
            6..=9 => {
                let fits: Vec<_> = UNARY.iter().filter(|op| op.2 == ty).collect();
                let &&(op, from, _) = self.pick(&fits);
                self.value(from, depth - 1);
                self.op(op);
            }
            10..=14 => {
                let fits: Vec<_> = BINARY.iter().filter(|op| op.3 == ty).collect();
                let &&(first, last, of, _) = self.pick(&fits);
                self.values(&[of, of], depth - 1);
                let op = first + self.below(u64::from(last - first) + 1) as u8;
                self.op(&[op]);
            }
            15 => self.may_trap(ty, depth),
            16..=17 => {
                let fits: Vec<_> = LOADS.iter().filter(|op| op.1 == ty).collect();
                let &&(op, _) = self.pick(&fits);
                self.address(depth);
                self.access(op);
            }
            18 => {
                self.values(&[ty, ty, I32], depth - 1);
                self.op(&[0x1b]);
            }
            19 => {
                let global = GLOBALS.iter().position(|&global| global == ty).expect("one of each type");
                self.op_index(0x23, global as u32);
            }
            20 => {
                let local = self.local(ty);
                self.value(ty, depth - 1);
                self.op_index(0x22, local);
            }
            21 => self.if_value(ty, depth),
            22 => self.loop_value(ty, depth),
            _ => {
                // Left early with a value, or at the end.
                self.open(0x02, &[], &[ty], None);
                self.some_statements(depth);
                self.values(&[ty, I32], depth - 1);
                self.op(&[0x0d, 0, 0x1a]);
                self.value(ty, depth - 1);
                self.end();
            }
        }
    }

    fn pick<'b, T>(&mut self, from: &'b [T]) -> &'b T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn leaf(&mut self, ty: Ty) {
        if self.below(3) > 0 {
            let local = self.any_local(ty);
            return self.op_index(0x20, local);
        }
        let small = self.below(9) as i64 - 4;
        let word = if self.below(3) == 0 { self.random.next() as i64 } else { small };
        match ty {
            I32 => self.i32_const(word as i32),
            I64 => self.i64_const(word),
            F32 => {
                self.code.push(0x43);
                self.op(&(small as f32 / 2.0).to_le_bytes());
            }
            F64 => {
                self.code.push(0x44);
                self.op(&(word as f64 / 2.0).to_le_bytes());
            }
        }
    }

    /// A local of the type that is no counter.
    fn local(&mut self, ty: Ty) -> u32 {
        let fits: Vec<u32> = (0..).zip(&self.locals[..self.free]).filter(|local| *local.1 == ty).map(|local| local.0).collect();
        *self.pick(&fits)
    }

    /// Any local of the type.
    fn any_local(&mut self, ty: Ty) -> u32 {
        let fits: Vec<u32> = (0..).zip(&self.locals).filter(|local| *local.1 == ty).map(|local| local.0).collect();
        *self.pick(&fits)
    }

    /// An operator that traps for some operands; most of the time for none that it gets.
    fn may_trap(&mut self, ty: Ty, depth: u32) {
        match DIVISIONS.iter().find(|division| division.1 == ty) {
            Some((first, _, make_odd)) if self.below(8) > 0 => {
                self.values(&[ty, ty], depth - 1);
                if self.below(6) > 0 {
                    self.op(make_odd);
                }
                let op = first + self.below(4) as u8;
                self.op(&[op]);
            }
            Some(_) if self.below(4) == 0 => {
                let fits: Vec<_> = TRUNCATIONS.iter().filter(|op| op.2 == ty).collect();
                let &&(op, from, _) = self.pick(&fits);
                self.value(from, depth - 1);
                self.op(&[op]);
            }
            _ => self.leaf(ty),
        }
    }

    /// Pushes an address, to which an access adds where the data begin.
    fn address(&mut self, depth: u32) {
        self.value(I32, depth - 1);
        self.i32_const(0xff);
        self.op(&[0x71]);
    }

    fn access(&mut self, op: u8) {
        self.op(&[op, 0]);
        self.unsigned(DATA);
    }

    fn if_value(&mut self, ty: Ty, depth: u32) {
        let params = some_types(self.random, 3);
        self.values(&params, depth - 1);
        self.value(I32, depth - 1);
        self.open(0x04, &params, &[ty], None);
        for part in 0..2 {
            self.keep(&params);
            self.some_statements(depth);
            self.value(ty, depth - 1);
            if part == 0 {
                self.op(&[0x05]);
            }
        }
        self.end();
    }

    /// Takes operands into locals, or drops them.
    fn keep(&mut self, types: &[Ty]) {
        for &ty in types.iter().rev() {
            if self.below(4) == 0 {
                self.op(&[0x1a]);
            } else {
                let local = self.local(ty);
                self.op_index(0x21, local);
            }
        }
    }

    /// A loop that leaves a value: its parameters, its counter and what lies beneath are live at its header.
    fn loop_value(&mut self, ty: Ty, depth: u32) {
        let params = some_types(self.random, 3);
        self.values(&params, depth - 1);
        self.loop_with(&params, &[ty], depth);
    }

    /// A loop, its parameters pushed.
    fn loop_with(&mut self, params: &[Ty], results: &[Ty], depth: u32) {
        let counter = self.locals.len() as u32;
        self.locals.push(I32);
        let turns = 1 + self.below(6) as i32;
        self.i32_const(turns);
        self.op_index(0x21, counter);
        self.open(0x03, params, results, Some(counter));
        self.tick();
        self.keep(params);
        let statements = 1 + self.below(3);
        for _ in 0..statements {
            self.statement(depth - 1);
        }
        self.values(params, depth - 1);
        self.again(counter);
        self.op(&[0x0d, 0]);
        for _ in params {
            self.op(&[0x1a]);
        }
        self.values(results, depth - 1);
        self.end();
    }

    /// Takes a turn from a loop's counter; pushes whether there is one left.
    fn again(&mut self, counter: u32) {
        self.op_index(0x20, counter);
        self.i32_const(1);
        self.op(&[0x6b]);
        self.op_index(0x22, counter);
        self.i32_const(0);
        self.op(&[0x4a]);
    }

    // Statements.

    fn some_statements(&mut self, depth: u32) {
        for _ in 0..self.below(3) {
            self.statement(depth - 1);
        }
    }

    /// Does something and leaves the operands as they are.
    fn statement(&mut self, depth: u32) {
        if depth == 0 || self.budget == 0 {
            return self.set(1);
        }
        self.budget -= 1;
        match self.below(20) {
            0..=4 => self.set(depth),
            5..=6 => {
                let (op, ty) = STORES[self.below(STORES.len() as u64) as usize];
                self.address(depth);
                self.value(ty, depth - 1);
                self.access(op);
            }
            7 => {
                let global = self.below(4) as u32;
                self.value(GLOBALS[global as usize], depth - 1);
                self.op_index(0x24, global);
            }
            8..=9 => {
                self.value(I32, depth - 1);
                self.open(0x04, &[], &[], None);
                self.some_statements(depth);
                if self.below(2) == 0 {
                    self.op(&[0x05]);
                    self.some_statements(depth);
                }
                self.end();
            }
            10..=12 => {
                let params = some_types(self.random, 2);
                self.values(&params, depth - 1);
                self.loop_with(&params, &[], depth);
            }
            13 => {
                self.open(0x02, &[], &[], None);
                let statements = 1 + self.below(3);
                for _ in 0..statements {
                    self.statement(depth - 1);
                }
                self.end();
            }
            14 => self.switch(depth),
            15..=16 => self.call(depth),
            _ => self.jump(depth),
        }
    }

    fn set(&mut self, depth: u32) {
        let ty = some_type(self.random);
        let local = self.local(ty);
        self.value(ty, depth - 1);
        self.op_index(0x21, local);
    }

    /// Blocks in blocks, left through a table with a value or none.
    fn switch(&mut self, depth: u32) {
        let arms = 1 + self.below(4) as u32;
        let values = some_types(self.random, 2);
        for _ in 0..=arms {
            self.open(0x02, &[], &values, None);
        }
        self.values(&values, depth - 1);
        self.value(I32, depth - 1);
        self.i32_const(7);
        self.op(&[0x71]);
        self.op_index(0x0e, arms);
        for arm in 0..arms {
            self.unsigned(arm);
        }
        self.unsigned(arms);
        for _ in 0..arms {
            self.end();
            self.keep(&values);
            self.statement(depth - 1);
            self.values(&values, depth - 1);
        }
        self.end();
        self.keep(&values);
    }

    fn call(&mut self, depth: u32) {
        let count = self.signatures.len();
        let table = in_table(count);
        let through_table = self.below(3) == 0 && (self.me as u32) < table.start;
        let callees = if through_table { table.clone() } else { self.me as u32 + 1..count as u32 };
        if callees.is_empty() {
            return self.set(depth);
        }
        let callee = callees.start + self.below(callees.len() as u64) as u32;
        let Signature { params, results } = self.signatures[callee as usize].clone();
        self.values(&params, depth - 1);
        if through_table {
            // Now and then another function, or none.
            if self.below(8) == 0 {
                self.value(I32, depth - 1);
                self.i32_const(TABLE as i32 - 1);
                self.op(&[0x71]);
            } else if callee + 1 < table.end && self.signatures[callee as usize + 1] == self.signatures[callee as usize] {
                // As the count goes, and in `run` as its argument says.
                self.i32_const(TICK as i32);
                self.op(&[0x28, 2, 0]);
                if self.me == 0 {
                    self.op(&[0x20, 0, 0x6a]);
                }
                self.i32_const(1);
                self.op(&[0x71]);
                self.i32_const((callee - table.start) as i32);
                self.op(&[0x6a]);
            } else {
                self.i32_const((callee - table.start) as i32);
            }
            let ty = self.types.index(&params, &results);
            self.op_index(0x11, ty);
            self.op(&[0]);
        } else {
            self.op_index(0x10, callee);
        }
        self.tick();
        self.keep(&results);
    }

    /// Perhaps leaves for an open block.
    fn jump(&mut self, depth: u32) {
        let at = self.below(self.labels.len() as u64) as usize;
        let (values, counter) = (self.labels[at].values.clone(), self.labels[at].counter);
        self.value(I32, depth - 1);
        self.open(0x04, &[], &[], None);
        // Depths are counted from within the `if`.
        let to = (self.labels.len() - 1 - at) as u32;
        match counter {
            None => {
                self.values(&values, depth - 1);
                if at == 0 && self.below(2) == 0 { self.op(&[0x0f]) } else { self.op_index(0x0c, to) }
            }
            Some(counter) => {
                self.values(&values, depth - 1);
                self.again(counter);
                self.op_index(0x0d, to);
                for _ in &values {
                    self.op(&[0x1a]);
                }
            }
        }
        self.end();
    }
}
