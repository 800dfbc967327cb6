//! Preparation: a function body → the interpreter's code.
//!
//! Lazy (at a function's first call), in one pass, together with validation. The operand stack exists only here: while
//! translating, [`stack`] knows for every entry where its value is, and `local.get` and constants emit nothing.
//!
//! A frame is `locals | two control slots | operands`: an operand at height `h` has one canonical slot,
//! `locals + 2 + h`. At loop headers every operand is in it; at calls an operand is there, or is a constant, or is
//! equal to a local. [`LoopSite`] says what on-stack replacement needs to know of each header,
//! [`Point`] the same of every place where a frame from elsewhere can go on.

mod code;
mod control;
mod notes;
mod operators;
mod point;
mod scalar;
mod stack;
mod translate;

#[cfg(tierup_templates)]
use std::mem;
use std::ptr;
use std::sync::OnceLock;
#[cfg(tierup_templates)]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
#[cfg(tierup_templates)]
use std::sync::{Mutex, PoisonError};

use crate::arms::Arms;
use crate::config::Templates;
use crate::error::Error;
#[cfg(test)]
use crate::exec::Handler;
#[cfg(tierup_templates)]
use crate::exec::Kind;
use crate::liveness::Liveness;
use crate::module::{Body, ModuleInner};
use crate::profile::CallSite;
#[cfg(tierup_templates)]
use crate::template::{self, MachineCode};

use notes::Notes;
pub(crate) use point::{Call, Elsewhere, Place, Point, Points, is_before_point, is_point};

/// Control slots of a frame: return address and caller's frame pointer.
pub(crate) const CONTROL_SLOTS: u32 = 2;

/// A body in the interpreter's form.
pub(crate) struct Prepared {
    /// The body, which owns this.
    body: *const Body,
    /// Where execution starts: the first word of `code`.
    pub(crate) entry: *const u64,
    /// Number of the first control slot: how many locals there are.
    pub(crate) control: u32,
    /// Slots of the whole frame.
    pub(crate) frame_slots: u32,
    /// Each instruction's first word leads to its handler, or, later, to its template.
    code: Box<[AtomicU64]>,
    sites: Box<[LoopSite]>,
    /// Indirect calls, in order, if they are profiled; the code refers to them.
    call_sites: Box<[CallSite]>,
    /// Which wasm operator an instruction came from; made when a trap asks.
    offsets: OnceLock<Box<[Origin]>>,
    /// Which locals are live where; made when an observer asks.
    liveness: OnceLock<Liveness>,
    /// Where a frame can go on; made when one has to.
    points: OnceLock<Points>,
    /// Which parts have run; made when code is to count that.
    arms: OnceLock<Option<Arms>>,
    /// How often its work was paid for.
    #[cfg(tierup_templates)]
    paid: AtomicU32,
    /// What the instructions are, until templates are made of them.
    #[cfg(tierup_templates)]
    kinds: Mutex<Vec<(u32, Kind)>>,
    /// Made when it was paid for a few times, where there can be any.
    #[cfg(tierup_templates)]
    templates: OnceLock<Option<MachineCode>>,
}

// SAFETY: `entry` points into `code`, whose words are atomic; the functions named in code are the module's own, which
// outlives this, the body is this one's, and the call sites are these.
unsafe impl Send for Prepared {}
// SAFETY: as above.
unsafe impl Sync for Prepared {}

/// A loop header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoopSite {
    /// Offset of the `loop` operator in the module's bytes.
    pub(crate) offset: u32,
    /// First word of the loop's body in the code.
    pub(crate) code: u32,
    /// Operands on the stack there, parameters of the loop included; all are in their canonical slots.
    pub(crate) height: u32,
}

/// Where an instruction came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    /// First word.
    code: u32,
    /// Offset of the operator in the module's bytes.
    offset: u32,
}

impl Prepared {
    /// What it was made of.
    pub(crate) fn body(&self) -> &Body {
        // SAFETY: it belongs to the body, which goes with it.
        unsafe { &*self.body }
    }

    /// Loop headers, by site number: the frame map that entering a running loop needs.
    pub(crate) fn sites(&self) -> &[LoopSite] {
        &self.sites
    }

    /// The profile of the indirect call at `offset`, if there is one.
    pub(crate) fn call_site(&self, offset: u32) -> Option<&CallSite> {
        let at = self.call_sites.binary_search_by_key(&offset, |site| site.offset).ok()?;
        Some(&self.call_sites[at])
    }

    /// The profiles of all indirect calls, in order.
    #[cfg(test)]
    pub(crate) fn call_sites(&self) -> &[CallSite] {
        &self.call_sites
    }

    /// The slot of the lowest operand.
    pub(crate) fn first_operand(&self) -> u32 {
        self.control + CONTROL_SLOTS
    }

    /// Where a frame can go on; the body is one of `module`. The first call translates it again.
    pub(crate) fn points(&self, module: &ModuleInner) -> &Points {
        self.points.get_or_init(|| {
            let noted = translate::translate(module, self.body(), Notes::Points);
            noted.map(|(_, noted)| noted.points).unwrap_or_default()
        })
    }

    /// The locals live at the resume point at `offset`, ascending; the body is one of `module`. The first call analyses it.
    pub(crate) fn live_locals(&self, module: &ModuleInner, offset: u32) -> impl Iterator<Item = u32> {
        let liveness = self.liveness.get_or_init(|| {
            let operators = self.body().read(module).get_operators_reader().ok();
            operators.and_then(|operators| Liveness::at_points(operators, self.control)).unwrap_or_default()
        });
        liveness.at_point(offset).into_iter().flatten()
    }

    /// Which parts have run, of a body of `module` that is worth counting it. The first call analyses it.
    pub(crate) fn counted_arms(&self, module: &ModuleInner) -> Option<&Arms> {
        let arms = || Arms::of(self.body().read(module).get_operators_reader().ok()?, module.engine.config().speculate);
        self.arms.get_or_init(arms).as_ref()
    }

    /// The same, if code was made that counts.
    pub(crate) fn arms(&self) -> Option<&Arms> {
        self.arms.get()?.as_ref()
    }

    /// The number of the loop whose operator is at `offset`.
    pub(crate) fn site_at(&self, offset: u32) -> Option<u32> {
        self.sites.binary_search_by_key(&offset, |site| site.offset).ok().map(|site| site as u32)
    }

    /// Where the interpreter goes on at a loop header.
    pub(crate) fn header(&self, site: u32) -> *const u64 {
        (&raw const self.code[self.sites[site as usize].code as usize]).cast()
    }

    /// The addresses of the code.
    pub(crate) fn addresses(&self) -> std::ops::Range<usize> {
        let words = self.code.as_ptr_range();
        words.start.addr()..words.end.addr()
    }

    /// The code.
    #[cfg(test)]
    pub(crate) fn words(&self) -> Vec<u64> {
        // Ordering: Relaxed. Nobody runs it.
        self.code.iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// Whether `ip` points into this code.
    pub(crate) fn contains(&self, ip: *const u64) -> bool {
        self.code.as_ptr_range().contains(&ip.cast())
    }

    /// Some of its work was paid for: makes templates once that has happened a few times. The body is one of `module`.
    #[inline]
    pub(crate) fn note_paid(&self, module: &ModuleInner) {
        // Ordering: Relaxed. A count.
        #[cfg(tierup_templates)]
        if self.paid.fetch_add(1, Ordering::Relaxed) + 1 == template::due(self.body().bytes(module).len())
            && module.engine.config().templates == Templates::Auto
        {
            self.make_templates(module);
        }
        #[cfg(not(tierup_templates))]
        let _ = module;
    }

    /// Makes templates, if there are none.
    #[cfg(tierup_templates)]
    #[cold]
    fn make_templates(&self, module: &ModuleInner) {
        self.templates.get_or_init(|| {
            let kinds = mem::take(&mut *self.kinds.lock().unwrap_or_else(PoisonError::into_inner));
            if kinds.is_empty() {
                return None;
            }
            let made = MachineCode::of(&self.code, &kinds)?;
            module.engine.note_templates(made.bytes());
            Some(made)
        });
    }

    /// What its instructions are, and where they begin: translates the body, which is one of `module`, again.
    #[cfg(all(test, tierup_templates))]
    pub(crate) fn kinds(&self, module: &ModuleInner) -> Vec<(u32, Kind)> {
        let (again, _) = translate::translate(module, self.body(), Notes::Kinds).expect("it was before");
        again.kinds.into_inner().expect("nobody else has it")
    }

    /// The offset of the operator the instruction at `ip` came from, in the bytes that the body came with, which is one of `module`.
    ///
    /// The first call translates the body again, with notes: translation is deterministic, and traps are rarer than
    /// bodies.
    pub(crate) fn offset_of(&self, module: &ModuleInner, ip: *const u64) -> u32 {
        let origins = self.offsets.get_or_init(|| {
            let noted = translate::translate(module, self.body(), Notes::Origins);
            noted.map(|(_, noted)| noted.origins.into()).unwrap_or_default()
        });
        let word = (ip as usize - self.code.as_ptr() as usize) / size_of::<u64>();
        let at = origins.partition_point(|origin| origin.code as usize <= word);
        at.checked_sub(1).map_or(self.body().start() as u32, |at| origins[at].offset)
    }
}

/// A body's prepared form, once there is one. Set once.
#[derive(Debug, Default)]
pub(crate) struct PreparedCell(AtomicPtr<Prepared>);

impl PreparedCell {
    /// The prepared form, if some thread has made it.
    pub(crate) fn get(&self) -> Option<&Prepared> {
        // Ordering: Acquire. Pairs with: the Release exchange in `set`. Carries: the code and its description.
        let prepared = self.0.load(Ordering::Acquire);
        // SAFETY: null, or a box `set` leaked, which only `drop` frees.
        unsafe { prepared.as_ref() }
    }

    /// Publishes `prepared`, unless another thread was first; the winner's is returned.
    fn set(&self, prepared: Prepared) -> &Prepared {
        let ours = Box::into_raw(Box::new(prepared));
        // Ordering: Release publishes our contents, Acquire on failure pairs with the winner's Release.
        match self.0.compare_exchange(ptr::null_mut(), ours, Ordering::Release, Ordering::Acquire) {
            // SAFETY: just leaked, and freed by `drop` only.
            Ok(_) => unsafe { &*ours },
            Err(theirs) => {
                // SAFETY: nobody else has seen it.
                drop(unsafe { Box::from_raw(ours) });
                // SAFETY: the winner's leaked box.
                unsafe { &*theirs }
            }
        }
    }
}

impl Drop for PreparedCell {
    fn drop(&mut self) {
        let prepared = *self.0.get_mut();
        if !prepared.is_null() {
            // SAFETY: `set` leaked it, and nothing can refer to it any more.
            drop(unsafe { Box::from_raw(prepared) });
        }
    }
}

/// What calls of a function enter, once it was prepared: the form of the body that it has now. Belongs to that.
#[derive(Debug, Default)]
pub(crate) struct Entered(AtomicPtr<Prepared>);

// Templates load it.
const _: () = assert!(size_of::<Entered>() == size_of::<*const Prepared>());

impl Entered {
    /// What is to be entered, if it was prepared.
    ///
    /// # Safety
    ///
    /// The calling thread runs a guest, and the reference is not used after its next poll unless the body has a frame there.
    #[inline(always)]
    pub(crate) unsafe fn get<'a>(&self) -> Option<&'a Prepared> {
        // Ordering: Acquire. Pairs with: the Release store and exchange below. Carries: the code and its description.
        let prepared = self.0.load(Ordering::Acquire);
        // SAFETY: null, or owned by the function's body of now or of a moment ago, which is not freed before the thread has polled.
        unsafe { prepared.as_ref() }
    }

    /// Sets it for the first body, unless there is one already: a thread that is late must not take a reloaded one back.
    pub(crate) fn begin_with(&self, prepared: &Prepared) {
        // Ordering: Release publishes what the caller sees of it. Whoever failed looks again.
        let _ =
            self.0.compare_exchange(ptr::null_mut(), ptr::from_ref(prepared).cast_mut(), Ordering::Release, Ordering::Relaxed);
    }

    /// Sets it for the next body.
    pub(crate) fn replace(&self, prepared: &Prepared) {
        // Ordering: Release. Pairs with: Acquire in `get`.
        self.0.store(ptr::from_ref(prepared).cast_mut(), Ordering::Release);
    }
}

/// The prepared form of `body`, one of `module`, made now if there is none.
///
/// # Errors
///
/// [`Error::Malformed`], [`Error::Invalid`] or [`Error::Unsupported`] for a body that is not valid, and
/// [`Error::Unsupported`] for one whose frame has more slots than an instruction can name.
pub(crate) fn ensure<'a>(module: &ModuleInner, body: &'a Body) -> Result<&'a Prepared, Error> {
    if let Some(prepared) = body.prepared.get() {
        return Ok(prepared);
    }
    let templates = module.engine.config().templates;
    // With debug assertions handlers return to a loop, which has to be told where they go on.
    let notes = if Templates::AVAILABLE && templates != Templates::Off { Notes::Kinds } else { Notes::None };
    let (prepared, _) = translate::translate(module, body, notes)?;
    #[cfg(tierup_templates)]
    if templates == Templates::Always {
        prepared.make_templates(module);
    }
    Ok(body.prepared.set(prepared))
}

/// Prepares a body that has not been prepared, with another handler in place of those at its resume points; returns the code's
/// address, and which words were replaced, with what they were.
#[cfg(test)]
pub(crate) fn ensure_with(module: &ModuleInner, body: &Body, handler: Handler) -> (*const u64, Vec<(u32, u64)>) {
    let (mut prepared, noted) = translate::translate(module, body, Notes::Points).expect("a valid body");
    let (plain, _) = translate::translate(module, body, Notes::None).expect("a valid body");
    // But for addresses within the code and its call sites, which are elsewhere, noting changes nothing of it.
    let bases = |of: &Prepared| [0, of.entry as u64, of.call_sites.as_ptr() as u64];
    let places = bases(&plain).into_iter().zip(bases(&prepared));
    let alike = |(a, b): (u64, u64)| places.clone().any(|(old, new)| a.wrapping_sub(old) == b.wrapping_sub(new));
    let (plain, noting) = (plain.words(), prepared.words());
    assert!(plain.len() == noting.len() && plain.into_iter().zip(noting).all(alike));
    let mut words: Vec<u32> = noted.points.iter().map(|point| point.code).collect();
    words.dedup();
    let replaced = words.into_iter().map(|word| {
        let old = std::mem::replace(prepared.code[word as usize].get_mut(), handler as usize as u64);
        (word, old)
    });
    let replaced = replaced.collect();
    prepared.entry = prepared.code.as_ptr().cast();
    (body.prepared.set(prepared).entry, replaced)
}
