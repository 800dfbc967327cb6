//! What tables and globals hold from the beginning, and which tables hold it for ever: the closed ones, to which nobody can write.
//!
//! Most tables of real programs are closed: compilers for C and Rust put the functions whose address is taken into one table, neither
//! export it nor write to it, and call through it. What a table holds once the module is instantiated is known if
//!
//! - the module defines it;
//! - its elements come from active segments with constant offsets, and no segment up to the last of them can fail. (One that
//!   fails ends the instantiation and leaves what follows undone, while functions may have escaped into imported tables.)
//!
//! All instances of the module agree, element by element, on the function's index; each has its own function of that index. A
//! table is closed if, besides,
//!
//! - the module does not export it: no other module and no host function can name it;
//! - no body has an operator that writes to a table, and so none is taken in that has when functions are reloaded.
//!
//! Of a closed table nothing is assumed, so nothing has to be watched. Of the others it may be assumed that nobody has written to them
//! ([`unwritten`](crate::unwritten)).

use std::sync::OnceLock;

use wasmparser::{FunctionBody, Operator};

use super::{ConstExpr, ExportKind, ModuleInner, SegmentMode};

/// What the tables of a module begin with, found when first asked for: the bodies are read for it.
#[derive(Default)]
pub(crate) struct InitialTables(OnceLock<Box<[Option<Table>]>>);

/// What a table begins with.
struct Table {
    /// The functions in it, by element; `None` where there is null, or an imported global's value. What lies beyond the last function
    /// is left out.
    elements: Vec<Option<u32>>,
    is_closed: bool,
}

impl ModuleInner {
    /// The elements of table `index`, if it is closed.
    pub(crate) fn closed_table(&self, index: u32) -> Option<&[Option<u32>]> {
        let table = self.initial_table(index)?;
        table.is_closed.then_some(&table.elements)
    }

    /// The elements that table `index` has in a new instance, where they are known.
    pub(crate) fn initial_elements(&self, index: u32) -> Option<&[Option<u32>]> {
        Some(&self.initial_table(index)?.elements)
    }

    /// The functions of type `ty` among these.
    pub(crate) fn reachable_through(&self, table: u32, ty: u32) -> Option<impl Iterator<Item = u32>> {
        let is_of_type = move |function: &u32| self.function_type(*function).canonical == self.types[ty as usize].canonical;
        Some(self.initial_elements(table)?.iter().copied().flatten().filter(is_of_type))
    }

    /// What global `index` is in every new instance, if that is one thing.
    pub(crate) fn initial_value(&self, index: u32) -> Option<ConstExpr> {
        let initial = self.global_inits[index.checked_sub(self.imported_globals)? as usize];
        (!matches!(initial, ConstExpr::Global(_))).then_some(initial)
    }

    /// Whether nobody else can name function `index`, nor a table that holds it: then all its callers are of this module. (Most often such tables are
    /// closed, which is not found out for this.)
    pub(crate) fn is_called_from_within(&self, index: u32) -> bool {
        let is_own = |mode: &SegmentMode| match *mode {
            SegmentMode::Active { index, .. } => index >= self.imported_tables && !is_exported(self, index),
            _ => false,
        };
        let holds = |item: &ConstExpr| matches!(*item, ConstExpr::Func(function) if function == index);
        let is_exported = self.exports.iter().any(|export| export.kind == ExportKind::Func && export.index == index);
        !is_exported && self.elements.iter().all(|segment| is_own(&segment.mode) || !segment.items.iter().any(holds))
    }

    /// Whether any table is closed; if not, none will be.
    pub(super) fn has_closed_tables(&self) -> bool {
        self.initial_tables().iter().flatten().any(|table| table.is_closed)
    }

    fn initial_table(&self, index: u32) -> Option<&Table> {
        self.initial_tables().get(index as usize)?.as_ref()
    }

    fn initial_tables(&self) -> &[Option<Table>] {
        self.initial_tables.0.get_or_init(|| find(self))
    }
}

fn find(module: &ModuleInner) -> Box<[Option<Table>]> {
    if module.tables.is_empty() {
        return Box::default();
    }
    let only_read = bodies_only_read(module);
    let new = |table: u32| Table { elements: Vec::new(), is_closed: only_read && !is_exported(module, table) };
    let mut tables: Vec<_> = (0..module.tables.len() as u32).map(|at| (at >= module.imported_tables).then(|| new(at))).collect();
    // In the order of instantiation: after a segment that may fail, nothing is certain to be there.
    let mut certain = true;
    for segment in &module.elements {
        let SegmentMode::Active { index, offset } = segment.mode else { continue };
        let size = module.tables[index as usize].limits.minimum;
        let at = match offset {
            ConstExpr::Value(at) => Some(at as u32 as usize),
            ConstExpr::Global(_) | ConstExpr::Func(_) => None,
        };
        let at = at.filter(|at| certain && (at + segment.items.len()) as u64 <= size);
        certain = at.is_some();
        let table = &mut tables[index as usize];
        match (at, &mut *table) {
            (Some(at), Some(table)) => write(&mut table.elements, at, &segment.items),
            _ => *table = None,
        }
    }
    tables.into()
}

fn write(elements: &mut Vec<Option<u32>>, at: usize, items: &[ConstExpr]) {
    elements.resize(elements.len().max(at + items.len()), None);
    for (element, item) in elements[at..].iter_mut().zip(items) {
        *element = match *item {
            ConstExpr::Func(function) => Some(function),
            ConstExpr::Value(_) | ConstExpr::Global(_) => None,
        };
    }
}

/// Whether others can name the table, which the module defines.
fn is_exported(module: &ModuleInner, table: u32) -> bool {
    module.exports.iter().any(|export| export.kind == ExportKind::Table && export.index == table)
}

/// Whether no body the module was loaded with writes to any table. A body that cannot be read might. Later ones that write are not
/// taken in before this is known ([`ModuleInner::has_closed_tables`]).
fn bodies_only_read(module: &ModuleInner) -> bool {
    module.functions.iter().all(|function| only_reads(&function.first.read(module)))
}

/// Whether a body has no operator that writes to a table.
pub(super) fn only_reads(body: &FunctionBody<'_>) -> bool {
    has_no_writer(body).unwrap_or(false)
}

fn has_no_writer(body: &FunctionBody<'_>) -> wasmparser::Result<bool> {
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        if let Operator::TableSet { .. }
        | Operator::TableFill { .. }
        | Operator::TableGrow { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } = operators.read()?
        {
            return Ok(false);
        }
    }
    Ok(true)
}
