//! Which units a thread has on its stack: its walk for a census, over all its native segments.

use tierup_broker::StackReport;

use crate::{
    CodeMap,
    abi::{Segment, ThreadCells},
};

/// Tells a census the unit of every generated frame on this thread's stack, beneath interpreters and host functions, too: what
/// [`InterpThread::poll_with`](tierup_broker::InterpThread::poll_with) asks for, where all code of the broker is in one arena.
///
/// # Safety
///
/// `cells` are this thread's. Native code that waits for the caller was left through a stub that records its exit (bridge, finish,
/// count), and nothing it called since has: so not from a helper.
pub unsafe fn report_frames(cells: *const ThreadCells, map: &CodeMap, report: &mut StackReport) {
    // SAFETY: by the caller, the exit record is current.
    let mut segment = unsafe { Segment::innermost(cells) };
    while let Some(inner) = segment {
        // SAFETY: the segment is on this thread's stack until the caller returns.
        for return_pc in unsafe { inner.frames() } {
            if let Some(unit) = map.unit_of_return(return_pc) {
                report.add(unit);
            }
        }
        // SAFETY: as above.
        segment = unsafe { inner.outer() };
    }
}
