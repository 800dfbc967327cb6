//! Walking the native frames of a thread: frame pointers from an exit up to the entry trampoline, then the next segment.

use std::iter;

use super::{ThreadCells, stubs};

/// What the entry trampoline leaves at `cells.entry_sp`, lowest address first.
#[repr(C)]
pub(crate) struct EntryFrame {
    /// `entry_sp` of the segment outside this one; 0 = none.
    outer: usize,
    /// Exit record of that segment.
    exit_pc: usize,
    exit_fp: usize,
    regs: usize,
    pub(crate) cells: *mut ThreadCells,
    /// r15, r14, r13, r12, rbx.
    saved: [usize; 5],
    caller_fp: usize,
}

/// Distance from an entry frame to the frame pointer the trampoline runs with.
const ENTRY_FP: usize = std::mem::offset_of!(EntryFrame, caller_fp);
const _: () = assert!(ENTRY_FP == 80 && std::mem::offset_of!(EntryFrame, cells) == 32);

/// Farthest that two frame pointers of neighbouring generated frames can be apart.
pub(crate) const MAX_STEP: usize = 1 << 20;

/// One unbroken run of generated frames: from where native code was left to the trampoline that entered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    exit_fp: usize,
    exit_pc: usize,
    entry_sp: usize,
}

impl Segment {
    /// The innermost segment, for code that generated code called: a helper, the bridge, the trap hook.
    ///
    /// `None` outside native code.
    ///
    /// # Safety
    ///
    /// `cells` is this thread's, and the innermost segment was left through the bridge or trap path, so that its exit record is
    /// current.
    pub unsafe fn innermost(cells: *const ThreadCells) -> Option<Self> {
        // SAFETY: by the caller.
        let cells = unsafe { &*cells };
        (cells.entry_sp != 0).then_some(Segment { exit_fp: cells.exit_fp, exit_pc: cells.exit_pc, entry_sp: cells.entry_sp })
    }

    /// Stack address of the trampoline's frame: identifies the segment.
    pub fn entry_sp(&self) -> usize {
        self.entry_sp
    }

    /// Frames, innermost first, as return addresses: the instruction that was running is the one before.
    ///
    /// # Safety
    ///
    /// The segment is still on this thread's stack while the iterator is used.
    pub unsafe fn frames(&self) -> Frames {
        Frames { next: Some((self.exit_pc, self.exit_fp)), entry_fp: self.entry_sp + ENTRY_FP }
    }

    /// The segment this one was entered from, if any.
    ///
    /// # Safety
    ///
    /// The segment is still on this thread's stack.
    pub unsafe fn outer(&self) -> Option<Segment> {
        // SAFETY: `entry_sp` points at the trampoline's record, still on the stack by the caller.
        let entry = unsafe { &*(self.entry_sp as *const EntryFrame) };
        (entry.outer != 0).then_some(Segment { exit_fp: entry.exit_fp, exit_pc: entry.exit_pc, entry_sp: entry.outer })
    }
}

/// Iterator over the return addresses of one segment.
#[derive(Debug)]
pub struct Frames {
    next: Option<(usize, usize)>,
    entry_fp: usize,
}

impl Iterator for Frames {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let (pc, fp) = self.next?;
        debug_assert!(fp < self.entry_fp, "a generated frame lies below its entry");
        // SAFETY: generated code keeps frame pointers, so `fp` addresses a saved frame pointer and a return address.
        let (caller_fp, return_pc) = unsafe { read_frame(fp) };
        self.next = (caller_fp < self.entry_fp).then_some((return_pc, caller_fp));
        Some(pc)
    }
}

impl iter::FusedIterator for Frames {}

/// Saved frame pointer and return address at a frame pointer.
///
/// # Safety
///
/// `fp` is the frame pointer of a frame on this thread's stack.
unsafe fn read_frame(fp: usize) -> (usize, usize) {
    // SAFETY: by the caller.
    let [caller_fp, return_pc] = unsafe { (fp as *const [usize; 2]).read() };
    (caller_fp, return_pc)
}

/// Finds the entry record above the generated frame `fp`, reading only through frames that look like ours: aligned, upward,
/// near, and returning into a code range. `None` says that the chain is not a segment. Async-signal-safe.
///
/// # Safety
///
/// `fp` is the frame pointer of a thread stopped in generated code, on its own stack.
pub(crate) unsafe fn entry_frame_of(mut fp: usize, is_code: impl Fn(usize) -> bool) -> Option<*const EntryFrame> {
    const MAX_FRAMES: usize = 1 << 22;
    for _ in 0..MAX_FRAMES {
        // SAFETY: `fp` is the caller's frame, or passed the checks below, which only a frame of ours does.
        let (caller_fp, return_pc) = unsafe { read_frame(fp) };
        if caller_fp <= fp || caller_fp - fp > MAX_STEP || !caller_fp.is_multiple_of(16) {
            return None;
        }
        if return_pc == stubs::return_address() {
            let entry = (caller_fp - ENTRY_FP) as *const EntryFrame;
            // SAFETY: the return address proves that the caller is the trampoline, whose record lies under its frame pointer.
            let cells = unsafe { (*entry).cells };
            // SAFETY: the trampoline's cells outlive its activation.
            return (unsafe { (*cells).entry_sp } == entry as usize).then_some(entry);
        }
        if !is_code(return_pc) {
            return None;
        }
        fp = caller_fp;
    }
    None
}
