//! What the lowering asks of the module: types, places and addresses, by index.
//!
//! Every operator is validated before it is lowered, so the indices are in range; an index that is not is a bug of
//! the lowering and panics inside the broker's panic boundary.

use super::clif::{Block, FunctionBuilder, Type};
use super::signature::clif_type;
use crate::memory::{MAX_PAGES, PAGE};
use crate::module::{ConstExpr, FuncHandle, ModuleInner};
use crate::types::{FuncType, TableType, ValType};
use crate::vmctx::{GLOBAL_CELLS, GlobalDef};
use std::mem::{offset_of, size_of};
use tierup::BeadRef;
use wasmparser::BlockType;

/// A module, as the lowering of one of its functions sees it.
#[derive(Clone, Copy)]
pub(super) struct Facts<'m> {
    module: &'m ModuleInner,
}

/// Where a direct call goes.
pub(super) enum Callee<'m> {
    /// To a function of this module.
    Defined { bead: BeadRef<'m, FuncHandle> },
    /// To an import, through its function reference.
    Imported,
}

/// A global's CLIF type and the way to its cell.
pub(super) struct Global {
    pub(super) ty: Type,
    pub(super) mutable: bool,
    pub(super) place: GlobalPlace,
}

/// Where a global's cell is. Offsets are in bytes.
pub(super) enum GlobalPlace {
    /// In the vmctx, at this offset.
    Inline(i32),
    /// Behind the pointer at this offset of the vmctx's array of globals.
    Imported(i32),
}

impl<'m> Facts<'m> {
    pub(super) fn new(module: &'m ModuleInner) -> Self {
        Self { module }
    }

    /// A part of a function was left out of its code.
    pub(super) fn note_left_out(self) {
        self.module.engine.note_left_out();
    }

    pub(super) fn func_type(self, ty: u32) -> &'m FuncType {
        &self.module.types[ty as usize].ty
    }

    /// The engine-wide number of a type, which function references carry.
    pub(super) fn canonical_type(self, ty: u32) -> u32 {
        self.module.types[ty as usize].canonical
    }

    /// The type index of a function.
    pub(super) fn type_of_function(self, function: u32) -> u32 {
        self.module.function_types[function as usize]
    }

    pub(super) fn callee(self, function: u32) -> Callee<'m> {
        match self.module.function(function) {
            Some(defined) => Callee::Defined { bead: defined.bead.as_ref() },
            None => Callee::Imported,
        }
    }

    pub(super) fn global(self, index: u32) -> Global {
        let ty = self.module.globals[index as usize];
        let place = match index.checked_sub(self.module.imported_globals) {
            Some(defined) => GlobalPlace::Inline(byte_offset(GLOBAL_CELLS, defined, 8)),
            None => GlobalPlace::Imported(global_def(index) + offset_of!(GlobalDef, cell) as i32),
        };
        Global { ty: clif_type(ty.content), mutable: ty.mutable, place }
    }

    pub(super) fn has_memory(self) -> bool {
        !self.module.memories.is_empty()
    }

    /// How far behind the vmctx the guest's memory begins, if that is the same in every instance.
    pub(super) fn distance_to_memory(self) -> Option<usize> {
        self.module.distance_to_memory()
    }

    /// The least and the greatest size the guest's memory can have, in bytes.
    pub(super) fn memory_len_range(self) -> (u64, u64) {
        let Some(memory) = self.module.memories.first() else { return (0, 0) };
        let max = memory.limits.maximum.unwrap_or(MAX_PAGES).min(MAX_PAGES);
        (memory.limits.minimum * PAGE, max * PAGE)
    }

    /// The number of elements of a table whose declared limits leave no other.
    pub(super) fn fixed_table_len(self, table: u32) -> Option<u64> {
        let TableType { limits, .. } = self.module.tables[table as usize];
        (limits.maximum == Some(limits.minimum)).then_some(limits.minimum)
    }

    /// The number of elements a table begins with.
    pub(super) fn initial_table_len(self, table: u32) -> u64 {
        self.module.tables[table as usize].limits.minimum
    }

    /// The functions in a table of a new instance, by element.
    pub(super) fn initial_elements(self, table: u32) -> Option<&'m [Option<u32>]> {
        self.module.initial_elements(table)
    }

    /// What a global is in every new instance, if that is one thing.
    pub(super) fn initial_value(self, global: u32) -> Option<ConstExpr> {
        self.module.initial_value(global)
    }

    /// The functions in a table that nobody can write to, by element.
    pub(super) fn closed_table(self, table: u32) -> Option<&'m [Option<u32>]> {
        self.module.closed_table(table)
    }

    /// Whether somebody may have to be told before this table is written to.
    pub(super) fn may_table_be_watched(self, table: u32) -> bool {
        let is_imported = table < self.module.imported_tables && self.module.engine.config().profiles();
        is_imported || self.module.unwritten.table(table).is_some_and(|unwritten| !unwritten.is_over())
    }

    /// The same of a global.
    pub(super) fn may_global_be_watched(self, global: u32) -> bool {
        let is_imported = global < self.module.imported_globals && self.module.engine.config().profiles();
        is_imported || self.module.unwritten.global(global).is_some_and(|unwritten| !unwritten.is_over())
    }

    /// How many operands a block takes and leaves.
    pub(super) fn arity(self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(ty) => {
                let ty = self.func_type(ty);
                (ty.params().len(), ty.results().len())
            }
        }
    }

    /// Gives `block` the parameters of a wasm block.
    pub(super) fn append_params(self, b: &mut FunctionBuilder<'_>, block: Block, ty: BlockType) {
        if let BlockType::FuncType(ty) = ty {
            append(b, block, self.func_type(ty).params());
        }
    }

    /// Gives `block` the results of a wasm block as parameters.
    pub(super) fn append_results(self, b: &mut FunctionBuilder<'_>, block: Block, ty: BlockType) {
        match ty {
            BlockType::Empty => {}
            BlockType::Type(ty) => {
                let ty = ValType::from_wasm(ty).expect("validated: a type of this feature set");
                append(b, block, &[ty]);
            }
            BlockType::FuncType(ty) => append(b, block, self.func_type(ty).results()),
        }
    }
}

fn append(b: &mut FunctionBuilder<'_>, block: Block, types: &[ValType]) {
    for &ty in types {
        b.append_block_param(block, clif_type(ty));
    }
}

/// The offset of a global's record in the vmctx's array of globals.
pub(super) fn global_def(index: u32) -> i32 {
    byte_offset(0, index, size_of::<GlobalDef>())
}

/// The offset of element `index` of an array at `base`. The decoder bounds the index spaces far below overflow.
pub(super) fn byte_offset(base: usize, index: u32, size: usize) -> i32 {
    i32::try_from(base + index as usize * size).expect("index spaces are bounded by the decoder")
}
