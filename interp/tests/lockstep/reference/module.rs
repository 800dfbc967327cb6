//! A module, decoded, with each body's structure resolved. Only valid modules without imports are taken.

use std::collections::HashMap;

use wasmparser::{
    BlockType, ConstExpr, DataKind, ElementItems, ElementKind, ExternalKind, FuncType, Operator, Parser, Payload, ValType,
};

use super::Value;

#[derive(Debug, Default)]
pub(crate) struct Module<'a> {
    pub(crate) types: Vec<FuncType>,
    pub(crate) functions: Vec<Function<'a>>,
    /// Pages, at first and at most.
    pub(crate) memory: Option<(u64, u64)>,
    /// Elements, at first and at most.
    pub(crate) tables: Vec<(u64, u64)>,
    pub(crate) globals: Vec<Value>,
    pub(crate) elements: Vec<Segment<Option<u32>>>,
    pub(crate) data: Vec<Segment<u8>>,
    /// Exported functions.
    pub(crate) exports: HashMap<&'a str, u32>,
}

/// A segment, and where instantiation puts it: memory or table, and offset.
#[derive(Debug)]
pub(crate) struct Segment<T> {
    pub(crate) items: Vec<T>,
    pub(crate) put: Option<(u32, u64)>,
}

#[derive(Debug)]
pub(crate) struct Function<'a> {
    pub(crate) ty: u32,
    /// Types of all locals, parameters first.
    pub(crate) locals: Vec<ValType>,
    /// Operators with their offsets in the module's bytes.
    pub(crate) operators: Vec<(Operator<'a>, u32)>,
    /// For the operator of that number, if it opens a block: where that goes on.
    pub(crate) blocks: HashMap<usize, Block>,
}

/// Operators by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) otherwise: Option<usize>,
    pub(crate) end: usize,
}

impl<'a> Module<'a> {
    /// Decodes a valid module.
    pub(crate) fn new(wasm: &'a [u8]) -> Self {
        let mut module = Self::default();
        let mut types_of_functions = Vec::new();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.expect("a valid module") {
                Payload::TypeSection(section) => {
                    module.types.extend(section.into_iter_err_on_gc_types().map(|ty| ty.expect("a function type")));
                }
                Payload::FunctionSection(section) => types_of_functions.extend(section.into_iter().map(Result::unwrap)),
                Payload::MemorySection(section) => {
                    module.memory = section.into_iter().next().map(|ty| {
                        let ty = ty.expect("a memory");
                        (ty.initial, ty.maximum.unwrap_or(u64::MAX))
                    });
                }
                Payload::TableSection(section) => module.tables.extend(section.into_iter().map(|table| {
                    let ty = table.expect("a table").ty;
                    (ty.initial, ty.maximum.unwrap_or(u64::MAX))
                })),
                Payload::GlobalSection(section) => {
                    for global in section {
                        let value = module.constant(&global.expect("a global").init_expr);
                        module.globals.push(value);
                    }
                }
                Payload::ExportSection(section) => {
                    let exports = section.into_iter().map(|export| export.expect("an export"));
                    let functions = exports.filter(|export| export.kind == ExternalKind::Func);
                    module.exports.extend(functions.map(|export| (export.name, export.index)));
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        let element = element.expect("an element segment");
                        let items = match element.items {
                            ElementItems::Functions(indices) => indices.into_iter().map(|index| Some(index.unwrap())).collect(),
                            ElementItems::Expressions(_, values) => {
                                values.into_iter().map(|value| module.reference(&value.unwrap())).collect()
                            }
                        };
                        let put = match element.kind {
                            ElementKind::Active { table_index, offset_expr } => {
                                Some((table_index.unwrap_or(0), module.offset(&offset_expr)))
                            }
                            _ => None,
                        };
                        module.elements.push(Segment { items, put });
                    }
                }
                Payload::DataSection(section) => {
                    for data in section {
                        let data = data.expect("a data segment");
                        let put = match data.kind {
                            DataKind::Active { memory_index, offset_expr } => Some((memory_index, module.offset(&offset_expr))),
                            DataKind::Passive => None,
                        };
                        module.data.push(Segment { items: data.data.to_vec(), put });
                    }
                }
                Payload::ImportSection(_) => panic!("the reference takes modules without imports"),
                Payload::CodeSectionEntry(body) => {
                    let ty = types_of_functions[module.functions.len()];
                    let mut locals = module.types[ty as usize].params().to_vec();
                    for group in body.get_locals_reader().expect("locals") {
                        let (count, ty) = group.expect("locals");
                        locals.extend(std::iter::repeat_n(ty, count as usize));
                    }
                    let reader = body.get_operators_reader().expect("operators");
                    let operators: Vec<_> = reader
                        .into_iter_with_offsets()
                        .map(|item| item.map(|(operator, offset)| (operator, offset as u32)).expect("an operator"))
                        .collect();
                    let blocks = blocks(&operators);
                    module.functions.push(Function { ty, locals, operators, blocks });
                }
                _ => {}
            }
        }
        module
    }

    pub(crate) fn ty(&self, function: u32) -> &FuncType {
        &self.types[self.functions[function as usize].ty as usize]
    }

    /// How many parameters and results a block has.
    pub(crate) fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(ty) => {
                let ty = &self.types[ty as usize];
                (ty.params().len(), ty.results().len())
            }
        }
    }

    fn constant(&self, value: &ConstExpr<'_>) -> Value {
        match value.get_operators_reader().read().expect("a constant") {
            Operator::I32Const { value } => Value::I32(value as u32),
            Operator::I64Const { value } => Value::I64(value as u64),
            Operator::F32Const { value } => Value::F32(value.bits()),
            Operator::F64Const { value } => Value::F64(value.bits()),
            Operator::RefNull { .. } => Value::Ref(None),
            Operator::RefFunc { function_index } => Value::Ref(Some(function_index)),
            Operator::GlobalGet { global_index } => self.globals[global_index as usize],
            other => panic!("not a constant: {other:?}"),
        }
    }

    fn reference(&self, value: &ConstExpr<'_>) -> Option<u32> {
        match self.constant(value) {
            Value::Ref(index) => index,
            other => panic!("not a reference: {other:?}"),
        }
    }

    fn offset(&self, value: &ConstExpr<'_>) -> u64 {
        match self.constant(value) {
            Value::I32(offset) => u64::from(offset),
            other => panic!("not an offset: {other:?}"),
        }
    }
}

/// Finds the `else` and `end` of each block.
fn blocks(operators: &[(Operator<'_>, u32)]) -> HashMap<usize, Block> {
    let mut blocks = HashMap::new();
    let mut open = Vec::new();
    for (at, (operator, _)) in operators.iter().enumerate() {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push((at, None)),
            Operator::Else => open.last_mut().expect("an if is open").1 = Some(at),
            // The last one ends the function, which nothing opened.
            Operator::End => {
                if let Some((start, otherwise)) = open.pop() {
                    blocks.insert(start, Block { otherwise, end: at });
                }
            }
            _ => {}
        }
    }
    blocks
}
