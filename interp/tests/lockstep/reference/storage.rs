//! Memory, tables, globals and segments.

use wasmparser::{MemArg, Operator as Op};

use super::{Module, Trap, Value};

const PAGE: u64 = 65536;

/// What the frames of an instance share.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) memory: Vec<u8>,
    most_pages: u64,
    pub(crate) tables: Vec<Table>,
    globals: Vec<Value>,
    data: Vec<Vec<u8>>,
    elements: Vec<Vec<Option<u32>>>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) elements: Vec<Option<u32>>,
    most: u64,
}

/// A part of something indexed, if it lies within.
fn range<T>(of: &[T], start: u32, len: u32) -> Option<std::ops::Range<usize>> {
    let end = start as usize + len as usize;
    (end <= of.len()).then_some(start as usize..end)
}

impl Storage {
    pub(super) fn new(module: &Module<'_>) -> Result<Self, Trap> {
        let (pages, most_pages) = module.memory.unwrap_or((0, 0));
        let table = |&(count, most): &(u64, u64)| Table { elements: vec![None; count as usize], most };
        let mut storage = Self {
            memory: vec![0; (pages * PAGE) as usize],
            most_pages,
            tables: module.tables.iter().map(table).collect(),
            globals: module.globals.clone(),
            data: module.data.iter().map(|data| data.items.clone()).collect(),
            elements: module.elements.iter().map(|segment| segment.items.clone()).collect(),
        };
        for (segment, from) in module.elements.iter().zip(0..) {
            if let Some((table, at)) = segment.put {
                storage.table_init(table, from, at as u32, 0, segment.items.len() as u32)?;
                storage.elements[from].clear();
            }
        }
        for (segment, from) in module.data.iter().zip(0..) {
            if let Some((_, at)) = segment.put {
                storage.memory_init(from, at as u32, 0, segment.items.len() as u32)?;
                storage.data[from].clear();
            }
        }
        Ok(storage)
    }

    fn table_init(&mut self, table: u32, segment: usize, to: u32, from: u32, len: u32) -> Result<(), Trap> {
        let (source, target) = (&self.elements[segment], &mut self.tables[table as usize].elements);
        let from = range(source, from, len).ok_or(Trap::TableOutOfBounds)?;
        let to = range(target, to, len).ok_or(Trap::TableOutOfBounds)?;
        target[to].copy_from_slice(&source[from]);
        Ok(())
    }

    fn memory_init(&mut self, segment: usize, to: u32, from: u32, len: u32) -> Result<(), Trap> {
        let source = &self.data[segment];
        let from = range(source, from, len).ok_or(Trap::MemoryOutOfBounds)?;
        let to = range(&self.memory, to, len).ok_or(Trap::MemoryOutOfBounds)?;
        self.memory[to].copy_from_slice(&source[from]);
        Ok(())
    }

    /// Bytes of an access.
    fn access(&mut self, address: u32, memarg: &MemArg, bytes: u64) -> Result<&mut [u8], Trap> {
        let start = u64::from(address) + memarg.offset;
        self.memory.get_mut(start as usize..(start + bytes) as usize).ok_or(Trap::MemoryOutOfBounds)
    }

    /// Loads that many bytes, zero-extended.
    fn load(&mut self, address: u32, memarg: &MemArg, bytes: usize) -> Result<u64, Trap> {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(self.access(address, memarg, bytes as u64)?);
        Ok(u64::from_le_bytes(word))
    }

    fn store(&mut self, address: u32, memarg: &MemArg, bytes: usize, value: u64) -> Result<(), Trap> {
        self.access(address, memarg, bytes as u64)?.copy_from_slice(&value.to_le_bytes()[..bytes]);
        Ok(())
    }

    /// Executes an operator that reads or writes something of this.
    pub(super) fn execute(&mut self, module: &Module<'_>, operator: &Op<'_>, stack: &mut Vec<Value>) -> Result<(), Trap> {
        if let Some((memarg, bytes, make)) = loaded(operator) {
            let address = u32_of(stack);
            let bits = self.load(address, &memarg, bytes)?;
            stack.push(make(bits));
            return Ok(());
        }
        if let Some((memarg, bytes)) = stored(operator) {
            let value = match stack.pop() {
                Some(Value::I32(bits) | Value::F32(bits)) => u64::from(bits),
                Some(Value::I64(bits) | Value::F64(bits)) => bits,
                other => panic!("a number, not {other:?}"),
            };
            let address = u32_of(stack);
            return self.store(address, &memarg, bytes, value);
        }
        match *operator {
            Op::GlobalGet { global_index } => stack.push(self.globals[global_index as usize]),
            Op::GlobalSet { global_index } => self.globals[global_index as usize] = stack.pop().expect("validated"),
            Op::RefNull { .. } => stack.push(Value::Ref(None)),
            Op::RefFunc { function_index } => stack.push(Value::Ref(Some(function_index))),
            Op::RefIsNull => {
                let null = reference(stack).is_none();
                stack.push(Value::I32(null.into()));
            }
            Op::MemorySize { .. } => stack.push(Value::I32((self.memory.len() as u64 / PAGE) as u32)),
            Op::MemoryGrow { .. } => {
                let (delta, old) = (u64::from(u32_of(stack)), self.memory.len() as u64 / PAGE);
                let grown = old + delta <= self.most_pages.min(PAGE - 1);
                if grown {
                    self.memory.resize(((old + delta) * PAGE) as usize, 0);
                }
                stack.push(Value::I32(if grown { old as u32 } else { u32::MAX }));
            }
            Op::MemoryFill { .. } => {
                let (len, value, to) = (u32_of(stack), u32_of(stack), u32_of(stack));
                let to = range(&self.memory, to, len).ok_or(Trap::MemoryOutOfBounds)?;
                self.memory[to].fill(value as u8);
            }
            Op::MemoryCopy { .. } => {
                let (len, from, to) = (u32_of(stack), u32_of(stack), u32_of(stack));
                let from = range(&self.memory, from, len).ok_or(Trap::MemoryOutOfBounds)?;
                let to = range(&self.memory, to, len).ok_or(Trap::MemoryOutOfBounds)?;
                self.memory.copy_within(from, to.start);
            }
            Op::MemoryInit { data_index, .. } => {
                let (len, from, to) = (u32_of(stack), u32_of(stack), u32_of(stack));
                self.memory_init(data_index as usize, to, from, len)?;
            }
            Op::DataDrop { data_index } => self.data[data_index as usize].clear(),
            Op::TableGet { table } => {
                let index = u32_of(stack);
                let element = self.tables[table as usize].elements.get(index as usize).ok_or(Trap::TableOutOfBounds)?;
                stack.push(Value::Ref(*element));
            }
            Op::TableSet { table } => {
                let (value, index) = (reference(stack), u32_of(stack));
                let elements = &mut self.tables[table as usize].elements;
                *elements.get_mut(index as usize).ok_or(Trap::TableOutOfBounds)? = value;
            }
            Op::TableSize { table } => stack.push(Value::I32(self.tables[table as usize].elements.len() as u32)),
            Op::TableGrow { table } => {
                let (delta, value) = (u32_of(stack), reference(stack));
                let table = &mut self.tables[table as usize];
                let old = table.elements.len() as u64;
                // As the VM limits itself by default.
                let grown = old + u64::from(delta) <= table.most.min(10_000_000);
                if grown {
                    table.elements.resize((old + u64::from(delta)) as usize, value);
                }
                stack.push(Value::I32(if grown { old as u32 } else { u32::MAX }));
            }
            Op::TableFill { table } => {
                let (len, value, to) = (u32_of(stack), reference(stack), u32_of(stack));
                let elements = &mut self.tables[table as usize].elements;
                let to = range(elements, to, len).ok_or(Trap::TableOutOfBounds)?;
                elements[to].fill(value);
            }
            Op::TableCopy { dst_table, src_table } => {
                let (len, from, to) = (u32_of(stack), u32_of(stack), u32_of(stack));
                let source = &self.tables[src_table as usize].elements;
                let from = range(source, from, len).ok_or(Trap::TableOutOfBounds)?;
                let copied = source[from].to_vec();
                let target = &mut self.tables[dst_table as usize].elements;
                let to = range(target, to, len).ok_or(Trap::TableOutOfBounds)?;
                target[to].copy_from_slice(&copied);
            }
            Op::TableInit { elem_index, table } => {
                let (len, from, to) = (u32_of(stack), u32_of(stack), u32_of(stack));
                self.table_init(table, elem_index as usize, to, from, len)?;
            }
            Op::ElemDrop { elem_index } => self.elements[elem_index as usize].clear(),
            ref other => panic!("the reference has no {other:?} (module with {} functions)", module.functions.len()),
        }
        Ok(())
    }
}

fn u32_of(stack: &mut Vec<Value>) -> u32 {
    match stack.pop() {
        Some(Value::I32(value)) => value,
        other => panic!("an i32, not {other:?}"),
    }
}

fn reference(stack: &mut Vec<Value>) -> Option<u32> {
    match stack.pop() {
        Some(Value::Ref(index)) => index,
        other => panic!("a reference, not {other:?}"),
    }
}

/// The value that loaded bits make.
type Make = fn(u64) -> Value;

/// A load: its operand, its width in bytes, and the value those make.
fn loaded(operator: &Op<'_>) -> Option<(MemArg, usize, Make)> {
    Some(match *operator {
        Op::I32Load { memarg } => (memarg, 4, |bits| Value::I32(bits as u32)),
        Op::I64Load { memarg } => (memarg, 8, Value::I64),
        Op::F32Load { memarg } => (memarg, 4, |bits| Value::F32(bits as u32)),
        Op::F64Load { memarg } => (memarg, 8, Value::F64),
        Op::I32Load8S { memarg } => (memarg, 1, |bits| Value::I32(bits as i8 as u32)),
        Op::I32Load8U { memarg } => (memarg, 1, |bits| Value::I32(bits as u32)),
        Op::I32Load16S { memarg } => (memarg, 2, |bits| Value::I32(bits as i16 as u32)),
        Op::I32Load16U { memarg } => (memarg, 2, |bits| Value::I32(bits as u32)),
        Op::I64Load8S { memarg } => (memarg, 1, |bits| Value::I64(bits as i8 as u64)),
        Op::I64Load8U { memarg } => (memarg, 1, Value::I64),
        Op::I64Load16S { memarg } => (memarg, 2, |bits| Value::I64(bits as i16 as u64)),
        Op::I64Load16U { memarg } => (memarg, 2, Value::I64),
        Op::I64Load32S { memarg } => (memarg, 4, |bits| Value::I64(bits as i32 as u64)),
        Op::I64Load32U { memarg } => (memarg, 4, Value::I64),
        _ => return None,
    })
}

/// A store: its operand and its width in bytes.
fn stored(operator: &Op<'_>) -> Option<(MemArg, usize)> {
    Some(match *operator {
        Op::I32Store8 { memarg } | Op::I64Store8 { memarg } => (memarg, 1),
        Op::I32Store16 { memarg } | Op::I64Store16 { memarg } => (memarg, 2),
        Op::I32Store { memarg } | Op::I64Store32 { memarg } | Op::F32Store { memarg } => (memarg, 4),
        Op::I64Store { memarg } | Op::F64Store { memarg } => (memarg, 8),
        _ => return None,
    })
}
