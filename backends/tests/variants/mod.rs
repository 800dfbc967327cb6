//! Entering loops in native code and leaving them, one body of tests for both compilers.

mod lowering;

use std::{cell::Cell, ffi::c_void};

use tierup_backends::{
    CompiledFunction,
    abi::{CountSlot, NO_SITE, OsrOutcome, Regs, Resume, Segment, ThreadCells, TrapCode, WIDE_SLOTS, enter},
};
use tierup_broker::Bailout;

use lowering::{Frame, INNER, OUTER, Stop, TRAP, interpret};
pub(crate) use lowering::{Guest, lower};

/// What the tests need of a backend.
pub(crate) trait VariantCompiler {
    fn body(&self, guest: &Guest) -> Result<CompiledFunction, Bailout>;
    fn variant(&self, guest: &Guest, site: u32) -> Result<CompiledFunction, Bailout>;
    /// Whether its code can call the count stub.
    fn tells(&self) -> bool;
}

/// Declares a `#[test]` for every case, through a compiler.
macro_rules! every_case {
    ($compiler:expr) => {
        variants::every_case! { $compiler =>
            a_variant_goes_on_wherever_the_loop_was,
            two_results_go_to_the_frame,
            a_trap_in_a_variant_ends_the_entry,
            a_variant_leaves_with_its_slots,
            a_body_leaves_and_returns_what_others_computed,
            a_body_stays_when_it_is_not_told_to_leave,
            what_finishes_a_call_may_trap,
            what_a_backend_cannot_enter_is_refused,
        }
    };
    ($compiler:expr => $($case:ident),* $(,)?) => {
        $(#[test]
        fn $case() {
            variants::$case(&$compiler);
        })*
    };
}
pub(crate) use every_case;

/// A thread with one bead's countdown.
struct Thread {
    cells: Box<ThreadCells>,
    counts: Box<[CountSlot; 1]>,
    wide: Vec<u64>,
    told: Cell<(u32, u32)>,
    finished: Cell<u32>,
    leave: Cell<bool>,
    /// Finishes calls instead of the interpreter.
    variant: Option<CompiledFunction>,
    trap: Option<u64>,
}

const CALLEE: u64 = 5;

impl Thread {
    fn new() -> Box<Self> {
        let (mut counts, mut wide) = (Box::new([CountSlot { countdown: i32::MAX, generation: 0 }]), vec![0; WIDE_SLOTS]);
        let mut cells = Box::new(ThreadCells::new(counts.as_mut_ptr(), wide.as_mut_ptr()));
        cells.on_count = on_count;
        cells.finish = finish;
        cells.leave = 1;
        let (told, finished, leave) = (Cell::new((0, NO_SITE)), Cell::new(0), Cell::new(true));
        let mut thread = Box::new(Thread { cells, counts, wide, told, finished, leave, variant: None, trap: None });
        thread.cells.host = (&raw mut *thread).cast();
        let limit = tierup_backends::abi::stack_limit(512 << 10, 64 << 10);
        thread.cells.limit_stack((&raw const thread.told as usize).min(limit));
        thread
    }

    fn regs(&self, vmctx: &*const ThreadCells) -> Regs {
        let mut regs = Regs::default();
        regs.gpr[0] = (&raw const *vmctx) as u64;
        regs.gpr[1] = CALLEE;
        regs
    }

    /// Enters a body with `n` and 1.0.
    fn call(&self, code: &CompiledFunction, n: u64) -> Result<f64, TrapCode> {
        let vmctx: *const ThreadCells = &*self.cells;
        let mut regs = self.regs(&vmctx);
        regs.gpr[2] = n;
        regs.xmm[0] = 1f64.to_bits();
        // SAFETY: the cells are the thread's and the code takes these arguments; tests have 2 MiB of stack.
        unsafe { enter(vmctx.cast_mut(), code.entry(), &raw mut regs) }?;
        Ok(f64::from_bits(regs.ret_xmm))
    }

    /// Enters a variant at that site with that frame.
    fn enter(&self, code: &CompiledFunction, site: u32, frame: &mut Frame) -> Result<OsrOutcome, TrapCode> {
        let vmctx: *const ThreadCells = &*self.cells;
        let mut regs = self.regs(&vmctx);
        regs.gpr[2] = frame.as_mut_ptr() as u64;
        regs.gpr[3] = site.into();
        // SAFETY: as above; the frame has every slot of the function.
        unsafe { enter(vmctx.cast_mut(), code.entry(), &raw mut regs) }?;
        Ok(OsrOutcome::decode(regs.ret_gpr))
    }
}

/// # Safety
///
/// `vmctx` points at a pointer to a [`Thread`]'s cells.
unsafe fn thread<'t>(vmctx: *mut c_void) -> (&'t Thread, *mut ThreadCells) {
    // SAFETY: by the caller; only shared references to the thread exist while it runs guests.
    unsafe {
        let cells = *vmctx.cast::<*mut ThreadCells>();
        (&*(*cells).host.cast::<Thread>(), cells)
    }
}

unsafe extern "C" fn on_count(vmctx: *mut c_void, callee: u64, _: u32, site: u32) -> u32 {
    // SAFETY: the stub's.
    let (thread, cells) = unsafe { thread(vmctx) };
    assert_eq!(callee, CALLEE);
    // SAFETY: the stub has just recorded where the code was left; its frame waits in this very call.
    assert_eq!(unsafe { Segment::innermost(cells).unwrap().frames() }.count(), 1);
    let (times, _) = thread.told.get();
    thread.told.set((times + 1, site));
    // SAFETY: this thread's cells, whose countdown is not borrowed here.
    unsafe {
        (*cells).leave = thread.leave.get().into();
        (*(*cells).countdown).countdown = 1;
    }
    0
}

unsafe extern "C" fn finish(vmctx: *mut c_void, callee: u64, frame: *mut u64, site: u64) -> u32 {
    // SAFETY: the stub's.
    let (thread, cells) = unsafe { thread(vmctx) };
    assert_eq!((callee, site), (CALLEE, u64::from(INNER)));
    thread.finished.set(thread.finished.get() + 1);
    // SAFETY: the stub has just recorded where the body was left; its frame waits in this very call.
    assert_eq!(unsafe { Segment::innermost(cells).unwrap().frames() }.count(), 1);
    if let Some(trap) = thread.trap {
        // SAFETY: this thread's cells.
        unsafe { (*cells).trap = trap };
        return 1;
    }
    // SAFETY: the frame is the wide buffer, with the site's slots.
    let mut slots = unsafe { frame.cast::<Frame>().read() };
    let n = slots[0];
    let result = match &thread.variant {
        None => interpret(slots, Some(INNER), None).unwrap(),
        Some(variant) => {
            assert_eq!(thread.enter(variant, INNER, &mut slots), Ok(OsrOutcome::Done));
            f64::from_bits(slots[0])
        }
    };
    // Both ways to return: who has one result looks at the first slot only.
    // SAFETY: as above.
    unsafe { frame.cast::<[u64; 2]>().write([result.to_bits(), n]) };
    0
}

const N: u64 = 9;

fn counting(compiler: &dyn VariantCompiler) -> Guest {
    Guest { counts: true, tells: compiler.tells(), ..Guest::default() }
}

/// The frame when the loop is at `site` for the `arrivals`th time, counted from 0; `None` if that is never.
fn frame_at(site: u32, arrivals: u64) -> Option<Frame> {
    interpret([N, 0, 0, 1f64.to_bits()], None, Some(Stop { site, arrivals })).err()
}

fn whole() -> f64 {
    interpret([N, 0, 0, 1f64.to_bits()], None, None).unwrap()
}

pub(crate) fn a_variant_goes_on_wherever_the_loop_was(compiler: &dyn VariantCompiler) {
    let (guest, thread) = (Guest::default(), Thread::new());
    let body = compiler.body(&guest).unwrap();
    assert_eq!(thread.call(&body, N), Ok(whole()));
    for site in [OUTER, INNER] {
        let variant = compiler.variant(&guest, site).unwrap();
        let mut entries = 0;
        while let Some(mut frame) = frame_at(site, entries) {
            assert_eq!(thread.enter(&variant, site, &mut frame), Ok(OsrOutcome::Done));
            assert_eq!(f64::from_bits(frame[0]), whole(), "site {site}, entry {entries}");
            entries += 1;
        }
        assert!(entries > N, "{entries}");
    }
    assert_eq!(thread.cells.entry_sp, 0);
}

pub(crate) fn two_results_go_to_the_frame(compiler: &dyn VariantCompiler) {
    let (guest, thread) = (Guest { wide: true, ..Guest::default() }, Thread::new());
    let variant = compiler.variant(&guest, INNER).unwrap();
    let mut frame = frame_at(INNER, 17).unwrap();
    assert_eq!(thread.enter(&variant, INNER, &mut frame), Ok(OsrOutcome::Done));
    assert_eq!(frame[..2], [N, whole().to_bits()]);
}

pub(crate) fn a_trap_in_a_variant_ends_the_entry(compiler: &dyn VariantCompiler) {
    let (guest, thread) = (Guest { trap_at: Some(6), ..Guest::default() }, Thread::new());
    for site in [OUTER, INNER] {
        let variant = compiler.variant(&guest, site).unwrap();
        let mut frame = frame_at(site, 3).unwrap();
        assert_eq!(thread.enter(&variant, site, &mut frame), Err(TrapCode(TRAP)));
        assert_eq!((thread.cells.entry_sp, thread.cells.exit_fp), (0, 0));
        let mut behind = [N, 7, 0, 1f64.to_bits()];
        assert_eq!(thread.enter(&variant, site, &mut behind), Ok(OsrOutcome::Done));
    }
}

pub(crate) fn a_variant_leaves_with_its_slots(compiler: &dyn VariantCompiler) {
    let (guest, mut thread) = (counting(compiler), Thread::new());
    for site in [OUTER, INNER] {
        let variant = compiler.variant(&guest, site).unwrap();
        for turns in [0, 1, 5, 12] {
            thread.counts[0].countdown = turns;
            let mut frame = frame_at(site, 4).unwrap();
            assert_eq!(thread.enter(&variant, site, &mut frame), Ok(OsrOutcome::Exit(Resume::Site(INNER))));
            assert_eq!(frame[2] >> 32, 0, "narrow values leave with zeros above");
            assert_eq!(interpret(frame, Some(INNER), None), Ok(whole()), "site {site} after {turns} turns");
            assert!(!compiler.tells() || thread.told.get().1 == INNER);
        }
    }
    assert_eq!(thread.finished.get(), 0, "a variant is left by returning");
}

pub(crate) fn a_body_leaves_and_returns_what_others_computed(compiler: &dyn VariantCompiler) {
    let guest = counting(compiler);
    let body = compiler.body(&guest).unwrap();
    for finishes_natively in [false, true] {
        let mut thread = Thread::new();
        thread.variant = finishes_natively.then(|| compiler.variant(&Guest::default(), INNER).unwrap());
        for turns in [0, 1, 7, 30] {
            thread.counts[0].countdown = turns;
            assert_eq!(thread.call(&body, N), Ok(whole()), "after {turns} turns");
        }
        assert_eq!(thread.finished.get(), 4);
        assert!(!compiler.tells() || thread.told.get() == (4, INNER));
    }
    let body = compiler.body(&Guest { wide: true, ..guest }).unwrap();
    let mut thread = Thread::new();
    thread.counts[0].countdown = 3;
    thread.call(&body, N).unwrap();
    assert_eq!(thread.wide[..2], [whole().to_bits(), N], "two results are where `finish` left them");
}

pub(crate) fn a_body_stays_when_it_is_not_told_to_leave(compiler: &dyn VariantCompiler) {
    let mut thread = Thread::new();
    let body = compiler.body(&counting(compiler)).unwrap();
    thread.leave.set(false);
    thread.cells.leave = 0;
    thread.counts[0].countdown = 4;
    assert_eq!(thread.call(&body, N), Ok(whole()));
    assert_eq!(thread.finished.get(), 0);
    assert!(!compiler.tells() || thread.told.get().0 > 10);
}

pub(crate) fn what_finishes_a_call_may_trap(compiler: &dyn VariantCompiler) {
    let mut thread = Thread::new();
    let body = compiler.body(&counting(compiler)).unwrap();
    thread.trap = Some(8);
    thread.counts[0].countdown = 4;
    assert_eq!(thread.call(&body, N), Err(TrapCode(8)));
    assert_eq!((thread.cells.entry_sp, thread.cells.exit_fp), (0, 0));
}

pub(crate) fn what_a_backend_cannot_enter_is_refused(compiler: &dyn VariantCompiler) {
    let refused = compiler.variant(&Guest::default(), 2).unwrap_err();
    assert!(!refused.is_retryable());
    assert_eq!(refused.to_string(), "terminal bailout: unsupported: no site 2");
}
