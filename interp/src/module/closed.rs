//! Closed tables: those that nobody can write to once the module is instantiated, so that what they hold is known.
//!
//! That is most tables of real programs: compilers for C and Rust put the functions whose address is taken into one table, neither
//! export it nor write to it, and call through it. A table is closed if
//!
//! - the module defines it and does not export it: no other module and no host function can name it;
//! - no body has an operator that writes to a table, and so none is taken in that has when functions are reloaded;
//! - its elements come from active segments with constant offsets, and no segment up to the last of them can fail. (One that
//!   fails ends the instantiation and leaves what follows undone, while functions may have escaped into imported tables.)
//!
//! Nothing is assumed, so nothing has to be watched. All instances of the module agree, element by element, on the function's
//! index; each has its own function of that index.

use std::sync::OnceLock;

use wasmparser::{FunctionBody, Operator};

use super::{ConstExpr, ExportKind, ModuleInner, SegmentMode};

/// The closed tables of a module, found when first asked for: the bodies are read for it.
#[derive(Default)]
pub(crate) struct ClosedTables(OnceLock<Box<[Option<ClosedTable>]>>);

/// The functions a closed table holds, by element; `None` where there is null, or an imported global's value. What lies beyond the
/// last function is left out.
type ClosedTable = Vec<Option<u32>>;

impl ModuleInner {
    /// The elements of table `index`, if it is closed.
    pub(crate) fn closed_table(&self, index: u32) -> Option<&[Option<u32>]> {
        let tables = self.closed_tables.0.get_or_init(|| find(self));
        tables.get(index as usize)?.as_deref()
    }

    /// Whether any table is closed; if not, none will be.
    pub(super) fn has_closed_tables(&self) -> bool {
        self.closed_tables.0.get_or_init(|| find(self)).iter().any(Option::is_some)
    }
}

fn find(module: &ModuleInner) -> Box<[Option<ClosedTable>]> {
    let mut tables: Vec<_> = (0..module.tables.len() as u32).map(|table| is_private(module, table).then(Vec::new)).collect();
    if tables.iter().all(Option::is_none) || !bodies_only_read(module) {
        return Box::default();
    }
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
            (Some(at), Some(elements)) => write(elements, at, &segment.items),
            _ => *table = None,
        }
    }
    tables.into()
}

fn write(elements: &mut ClosedTable, at: usize, items: &[ConstExpr]) {
    elements.resize(elements.len().max(at + items.len()), None);
    for (element, item) in elements[at..].iter_mut().zip(items) {
        *element = match *item {
            ConstExpr::Func(function) => Some(function),
            ConstExpr::Value(_) | ConstExpr::Global(_) => None,
        };
    }
}

/// Whether nobody but the module can name the table.
fn is_private(module: &ModuleInner, table: u32) -> bool {
    let exported = module.exports.iter().any(|export| export.kind == ExportKind::Table && export.index == table);
    table >= module.imported_tables && !exported
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
