//! Tables and globals that nobody has written to since they were made: what compiled code takes for granted of them, and who says so
//! first when that ends.
//!
//! A module that defines a table, or a mutable global with a constant initial value, knows what each of its instances begins with. Until the
//! first write, in whichever instance, the optimizing tier's code has that in place of what is in memory. Code is shared by all
//! instances, so there is one [`Unwritten`] per table or global *of a module*, and it ends once, for all of them.
//!
//! Everybody who writes ends it first: `table.set`, `fill`, `copy`, `init` and `grow`, `global.set`, in every tier and in whichever
//! module names the table or global; element segments of other modules; [`Table::set`](crate::Table::set) and
//! [`Global::set`](crate::Global::set). (The segments and initializers of the instance itself make what is taken for granted.) What a
//! writer has at hand is the table's or global's record, which has a pointer, null where nobody relies on anything.
//!
//! # Why nobody waits
//!
//! A ticket says when every thread has left the code ([`BreakTicket`](tierup::BreakTicket)), for facts that threads share. Here none is
//! needed, because no two threads share a table or a global: it is of one store, with all instances that name it, and only the thread that
//! runs the store writes it. So at a write, by thread W in store S:
//!
//! - Frames of other stores run on other instances, in which nothing has changed. They may go on with what they have, for ever;
//!   when their own store is written to, it is their own thread that writes, and the next point holds for them.
//! - Frames of S are on W's stack, and wait in the call that leads to the write. Ending takes the code out of use and flags it, before
//!   the write; such a frame looks at the flag when that call returns, before it relies on anything, and leaves
//!   ([`lower::assume`](crate::lower)). So code need not poll for this, nor be left at polls.
//! - What W enters after the write is not such code: taking it out of use is over before the write.
//!
//! For the second and third point a writer that finds another thread's ending under way must not write before all is flagged: it ends it
//! itself as well, which is the same work, and only then marks it as over.

use std::sync::atomic::{AtomicBool, Ordering};

use tierup::Assumption;

use crate::engine::Engine;
use crate::module::ConstExpr;
use crate::types::{GlobalType, TableType};

/// That a table or global of a module is in all instances what it was when they were made.
pub(crate) struct Unwritten {
    assumption: Assumption,
    /// The assumption was broken, and that is done.
    over: AtomicBool,
}

impl Unwritten {
    fn new(engine: &Engine) -> Self {
        Self { assumption: engine.broker().assumption(), over: AtomicBool::new(false) }
    }

    /// What units that rely on it assume.
    pub(crate) fn assumption(&self) -> &Assumption {
        &self.assumption
    }

    /// Whether no code relies on it any more, nor ever will: then writers need not say anything.
    pub(crate) fn is_over(&self) -> bool {
        // Ordering: Acquire. Pairs with: Release in `end`. Carries: that the units are out of use and flagged, which a frame of the
        // writer's own looks for after the write.
        self.over.load(Ordering::Acquire)
    }

    /// The caller, who runs a store, is about to write.
    #[cold]
    pub(crate) fn end(&self, engine: &Engine) {
        if !self.is_over() {
            // Nobody need be waited for.
            let _ticket = engine.broker().break_assumption(&self.assumption);
            // Ordering: Release. Pairs with: Acquire in `is_over`.
            self.over.store(true, Ordering::Release);
        }
    }
}

/// What to tell before a write: null, or a record of a module that lives as long as what is written.
pub(crate) type Watch = *const Unwritten;

/// The caller is about to write to what `watch` belongs to; there is nobody to be told any more after that.
///
/// # Safety
///
/// `watch` is part of a record of a live store, which the calling thread runs.
#[inline]
pub(crate) unsafe fn tell(watch: *mut Watch, engine: &Engine) {
    // SAFETY: by the caller, the record is ours; a store keeps its instances, and these their modules.
    unsafe {
        if let Some(unwritten) = (*watch).as_ref() {
            unwritten.end(engine);
            *watch = std::ptr::null();
        }
    }
}

/// Those of a module's tables and globals, by index; `None` where code takes nothing for granted.
pub(crate) struct AllUnwritten {
    tables: Box<[Option<Unwritten>]>,
    globals: Box<[Option<Unwritten>]>,
}

impl AllUnwritten {
    /// For a module with these tables and globals, of which the first ones are imported, and initial values of the other globals. None
    /// if code of the engine never takes anything for granted.
    pub(crate) fn new(
        engine: &Engine,
        (tables, imported_tables): (&[TableType], u32),
        (globals, imported_globals): (&[GlobalType], u32),
        initial: &[ConstExpr],
    ) -> Self {
        if !engine.config().profiles() {
            return Self { tables: Box::default(), globals: Box::default() };
        }
        let is_defined = |index: usize| index >= imported_tables as usize;
        let tables = (0..tables.len()).map(|index| is_defined(index).then(|| Unwritten::new(engine)));
        let globals = globals.iter().enumerate().map(|(index, ty)| {
            let initial = initial.get(index.checked_sub(imported_globals as usize)?)?;
            (ty.mutable && !matches!(initial, ConstExpr::Global(_))).then(|| Unwritten::new(engine))
        });
        Self { tables: tables.collect(), globals: globals.collect() }
    }

    /// That of table `index`.
    pub(crate) fn table(&self, index: u32) -> Option<&Unwritten> {
        self.tables.get(index as usize)?.as_ref()
    }

    /// That of global `index`.
    pub(crate) fn global(&self, index: u32) -> Option<&Unwritten> {
        self.globals.get(index as usize)?.as_ref()
    }

    /// Whether code may take anything for granted.
    pub(crate) fn is_any_left(&self) -> bool {
        self.tables.iter().chain(&*self.globals).flatten().any(|unwritten| !unwritten.is_over())
    }
}

/// As a record keeps it.
pub(crate) fn watch(unwritten: Option<&Unwritten>) -> Watch {
    unwritten.map_or(std::ptr::null(), std::ptr::from_ref)
}
