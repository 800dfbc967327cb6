//! Accesses to the runtime's own structures: the vmctx, table definitions, function references.
//!
//! Each kind of memory has an alias region, so that a store to the guest's memory does not make the compiler forget
//! a global or a table's bounds. What never changes during an instance's life is loaded as a *constant*
//! (`readonly can_move`): the compiler then loads it once, where it is first needed, and outside loops.

use super::clif::{
    AliasRegion, AliasRegionData, Cursor, FuncCursor, FunctionBuilder, Heap, InstBuilder, MemFlagsData, MemoryStyle, Value,
    Variable, types,
};
use super::facts::byte_offset;
use super::function::FuncLower;
use crate::memory::{MAX_PAGES, PAGE};
use crate::trap::TrapCode;
use crate::vmctx::{FuncRef, MemoryDef, TableDef, VmCtx};
use std::borrow::Cow;
use std::mem::{offset_of, size_of};

// The pages memories can have are a mask of their lengths.
const _: () = assert!(MAX_PAGES.count_ones() + MAX_PAGES.leading_zeros() == u64::BITS);

/// Whether memory may change while a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stability {
    /// Written once, before any code of the instance runs.
    Constant,
    /// Written while code runs.
    Mutable,
}

/// The kinds of memory that never overlap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Regions {
    /// The guest's linear memory.
    pub(super) heap: AliasRegion,
    globals: AliasRegion,
    /// Bounds and base addresses of tables and memories.
    definitions: AliasRegion,
    elements: AliasRegion,
    exit_countdown: AliasRegion,
    profile: AliasRegion,
}

impl Regions {
    pub(super) fn declare(b: &mut FunctionBuilder<'_>) -> Self {
        let mut region = |user_id, description| {
            let data = AliasRegionData { user_id, description: Cow::Borrowed(description) };
            b.func.dfg.alias_regions.insert(data)
        };
        Self {
            heap: region(0, "linear memory"),
            globals: region(1, "globals"),
            definitions: region(2, "table and memory definitions"),
            elements: region(3, "table elements"),
            exit_countdown: region(4, "points to pass before an exit"),
            profile: region(5, "counts of arms"),
        }
    }

    /// Flags for a global's cell.
    pub(super) fn global(&self, stability: Stability) -> MemFlagsData {
        match stability {
            Stability::Constant => constant(),
            Stability::Mutable => MemFlagsData::trusted().with_alias_region(Some(self.globals)),
        }
    }

    /// Flags for a table's elements, whose index has been checked.
    pub(super) fn elements(&self) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(self.elements))
    }

    /// Flags for the countdown to an exit on request.
    pub(super) fn exit_countdown(&self) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(self.exit_countdown))
    }

    /// Flags for counts of arms.
    pub(super) fn profile(&self) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(self.profile))
    }

    pub(super) fn definitions(&self) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(self.definitions))
    }
}

/// Flags for what never changes and may be read at any time.
fn constant() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly().with_can_move()
}

/// Loads a field of the vmctx that never changes.
pub(super) fn load_constant(b: &mut FunctionBuilder<'_>, vmctx: Value, offset: usize) -> Value {
    b.ins().load(types::I64, constant(), vmctx, offset as i32)
}

/// Flags for the fields of a function reference: they never change, but the reference must be known not to be null.
fn func_ref_field() -> MemFlagsData {
    MemFlagsData::trusted().with_readonly()
}

/// The length of the guest's memory that accesses are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedLen {
    pub(super) variable: Variable,
    /// As read at the function's entry, which may be done anywhere else as well.
    pub(super) at_entry: Value,
}

/// What a call needs of its callee.
#[derive(Clone, Copy, Debug)]
pub(super) struct FuncRefParts {
    pub(super) code_cell: Value,
    pub(super) vmctx: Value,
    pub(super) token: Value,
}

impl FuncLower<'_, '_> {
    /// The guest's memory as `access` wants it.
    pub(super) fn heap(&mut self) -> Heap {
        let base = self.memory_base();
        let len = self.checked_len.map(|len| self.b.use_var(len.variable));
        let (min_len, _) = self.facts.memory_len_range();
        let out_of_bounds = (TrapCode::MemoryOutOfBounds as u64).into();
        Heap { base, len, min_len, style: self.cx.memory_style(), out_of_bounds }
    }

    /// The memory's base, made once, at the top of the entry block, which dominates every use.
    fn memory_base(&mut self) -> Value {
        if let Some(base) = self.memory_base {
            return base;
        }
        let vmctx = self.abi.vmctx;
        let mut cursor = FuncCursor::new(self.b.func).at_first_insertion_point(self.entry);
        let base = match self.facts.distance_to_memory() {
            Some(distance) => cursor.ins().iadd_imm_u(vmctx, distance as i64),
            None => cursor.ins().load(types::I64, constant(), vmctx, offset_of!(VmCtx, memory_base) as i32),
        };
        self.memory_base = Some(base);
        base
    }

    /// Where accesses are checked against the memory's length, it is a variable, so that loops see one value: read at
    /// entry and again after whatever may grow the memory.
    pub(super) fn declare_checked_len(&mut self) {
        if self.cx.memory_style() == MemoryStyle::Checked && self.facts.has_memory() {
            let variable = self.b.declare_var(types::I64);
            let at_entry = self.define_checked_len(variable);
            self.checked_len = Some(CheckedLen { variable, at_entry });
        }
    }

    /// To be called after every call that may have grown the memory.
    pub(super) fn memory_may_have_grown(&mut self) {
        if let Some(CheckedLen { variable, .. }) = self.checked_len {
            self.define_checked_len(variable);
        }
    }

    fn define_checked_len(&mut self, variable: Variable) -> Value {
        let (min, max) = self.facts.memory_len_range();
        let len = if min == max {
            self.b.ins().iconst(types::I64, max.cast_signed())
        } else {
            // Changes nothing, but tells the compiler the range: whole pages, not fewer than the least. What is checked against
            // the length then cannot wrap around when a little is added, and loops over it can be vectorized.
            let len = self.memory_len();
            let pages = self.b.ins().band_imm_u(len, (MAX_PAGES * PAGE).cast_signed());
            let min = self.b.ins().iconst(types::I64, min.cast_signed());
            self.b.ins().umax(pages, min)
        };
        self.b.def_var(variable, len);
        len
    }

    /// Size of the memory in bytes.
    pub(super) fn memory_len(&mut self) -> Value {
        let memory = self.constant(offset_of!(VmCtx, memory));
        let flags = self.regions.definitions();
        self.b.ins().load(types::I64, flags, memory, offset_of!(MemoryDef, len_bytes) as i32)
    }

    pub(super) fn table_len(&mut self, table: u32) -> Value {
        if let Some(len) = self.known_table_len(table) {
            return self.b.ins().iconst(types::I64, len as i64);
        }
        let definition = self.table_definition(table);
        let flags = self.regions.definitions();
        self.b.ins().load(types::I64, flags, definition, offset_of!(TableDef, len) as i32)
    }

    pub(super) fn table_base(&mut self, table: u32) -> Value {
        let definition = self.table_definition(table);
        // A table moves when it grows; one that cannot grow stays where it is.
        let fixed = self.known_table_len(table).is_some();
        let flags = if fixed { constant() } else { self.regions.definitions() };
        self.b.ins().load(types::I64, flags, definition, offset_of!(TableDef, base) as i32)
    }

    pub(super) fn table_definition(&mut self, table: u32) -> Value {
        let tables = self.constant(offset_of!(VmCtx, tables));
        let offset = byte_offset(0, table, size_of::<*mut TableDef>());
        self.b.ins().load(types::I64, constant(), tables, offset)
    }

    /// The cell of an imported global, whose address is `offset` bytes into the vmctx's array of globals.
    pub(super) fn imported_global_cell(&mut self, offset: i32) -> Value {
        let globals = self.constant(offset_of!(VmCtx, globals));
        self.b.ins().load(types::I64, constant(), globals, offset)
    }

    /// The reference to a function of this instance's index space.
    pub(super) fn func_ref(&mut self, function: u32) -> Value {
        let funcs = self.constant(offset_of!(VmCtx, funcs));
        let offset = byte_offset(0, function, size_of::<FuncRef>());
        self.b.ins().iadd_imm_u(funcs, i64::from(offset))
    }

    /// What a call through `reference`, which is not null, needs.
    pub(super) fn func_ref_parts(&mut self, reference: Value) -> FuncRefParts {
        let mut field = |offset| self.b.ins().load(types::I64, func_ref_field(), reference, offset as i32);
        FuncRefParts {
            code_cell: field(offset_of!(FuncRef, code)),
            vmctx: field(offset_of!(FuncRef, vmctx)),
            token: field(offset_of!(FuncRef, callee)),
        }
    }

    /// The engine-wide type number of `reference`, which is not null.
    pub(super) fn func_ref_type(&mut self, reference: Value) -> Value {
        self.b.ins().load(types::I32, func_ref_field(), reference, offset_of!(FuncRef, ty) as i32)
    }

    pub(super) fn constant(&mut self, offset: usize) -> Value {
        self.b.ins().load(types::I64, constant(), self.abi.vmctx, offset as i32)
    }
}
