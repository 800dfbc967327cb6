//! The signal handler: SIGSEGV and SIGBUS of generated code in a guarded region become traps; all others go to whoever was
//! there before. The one piece of process-global state.
//!
//! It finds the thread's cells by walking frame pointers to the entry trampoline, so it needs no thread-local and works on
//! threads the program never announced. It only reads, writes the cells and the saved registers, and returns: the kernel then
//! resumes in `fault_stub`, outside signal context, which runs the trap hook and unwinds. Nothing jumps out of the handler.

use std::{
    cell::UnsafeCell,
    ffi::{c_int, c_void},
    mem::{self, MaybeUninit},
    ptr,
    sync::Once,
};

use super::ranges::{CODE, REGIONS};
use crate::abi::{self, MAX_STEP};

/// The handlers that were there before, written once before ours can run.
struct Previous([UnsafeCell<MaybeUninit<libc::sigaction>>; 2]);

// SAFETY: written only inside `INSTALL`, before our handler is in place; read only by our handler.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous([UnsafeCell::new(MaybeUninit::uninit()), UnsafeCell::new(MaybeUninit::uninit())]);
static INSTALL: Once = Once::new();
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Installs the handler, once per process.
#[inline]
pub(super) fn install() {
    INSTALL.call_once(|| {
        for (&signal, previous) in SIGNALS.iter().zip(&PREVIOUS.0) {
            // SAFETY: inside the Once, and our handler for this signal is not installed yet, so nobody reads the cell.
            let previous: *mut libc::sigaction = unsafe { (*previous.get()).as_mut_ptr() };
            // SAFETY: only reads the current action into the cell.
            unsafe { libc::sigaction(signal, ptr::null(), previous) };
            // SAFETY: an all-zero sigaction is valid; the fields that matter are set below.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            // SAFETY: the handler is async-signal-safe and forwards what is not its own.
            unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
    });
}

extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo and a ucontext of the interrupted thread.
    let taken = unsafe { deliver_trap(info, context.cast()) };
    if taken.is_none() {
        // SAFETY: the kernel's own arguments.
        unsafe { chain(signal, info, context) };
    }
}

/// Turns the fault into a trap if it is one of ours.
///
/// # Safety
///
/// The arguments are the kernel's, of a fault on this thread.
unsafe fn deliver_trap(info: *mut libc::siginfo_t, context: *mut libc::ucontext_t) -> Option<()> {
    // SAFETY: valid by the caller.
    let code = unsafe { (*info).si_code };
    if code <= 0 {
        return None; // sent by a process, not caused by an access
    }
    // SAFETY: SIGSEGV and SIGBUS raised by the kernel carry an address.
    let address = unsafe { (*info).si_addr() } as usize;
    // SAFETY: valid by the caller, and only this handler touches it.
    let registers = unsafe { &mut (*context).uc_mcontext.gregs };
    let register = |index: c_int| registers[index as usize] as usize;
    let (pc, fp, sp) = (register(libc::REG_RIP), register(libc::REG_RBP), register(libc::REG_RSP));
    let trap = REGIONS.find(address)?;
    CODE.find(pc)?;
    if fp < sp || fp - sp > MAX_STEP || !fp.is_multiple_of(16) {
        return None;
    }
    // SAFETY: the thread stopped in generated code, which keeps frame pointers, and `fp` lies just above its stack pointer.
    let entry = unsafe { abi::entry_frame_of(fp, |pc| CODE.find(pc).is_some()) }?;
    // SAFETY: a checked entry record on this thread's stack.
    let cells = unsafe { (*entry).cells };
    // SAFETY: the cells are this thread's, and it is stopped here.
    let thread = unsafe { &mut *cells };
    thread.trap = trap;
    thread.exit_fp = fp;
    thread.exit_pc = pc + 1; // exit pcs are return addresses: the faulting instruction lies before
    registers[libc::REG_RDI as usize] = cells as i64;
    registers[libc::REG_RIP as usize] = abi::fault_stub as *const () as i64;
    Some(())
}

/// Does what would have happened without us.
///
/// # Safety
///
/// The arguments are the kernel's.
unsafe fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let index = usize::from(signal != libc::SIGSEGV);
    // SAFETY: written before this handler was installed, never after.
    let previous = unsafe { (*PREVIOUS.0[index].get()).assume_init_ref() };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: valid by the caller.
            let sent = unsafe { (*info).si_code } <= 0;
            if sent && previous.sa_sigaction == libc::SIG_IGN {
                return;
            }
            // The default action. The kernel does not let a fault be ignored either.
            // SAFETY: an all-zero sigaction is SIG_DFL.
            let default: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: plain system call.
            unsafe { libc::sigaction(signal, &default, ptr::null_mut()) };
            if sent {
                // A fault happens again on return; a signal that was sent must be sent again.
                // SAFETY: plain system call.
                unsafe { libc::raise(signal) };
            }
        }
        action if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the previous owner registered it with this type.
            let action: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = unsafe { mem::transmute(action) };
            action(signal, info, context);
        }
        action => {
            // SAFETY: without SA_SIGINFO the handler takes the signal alone.
            let action: extern "C" fn(c_int) = unsafe { mem::transmute(action) };
            action(signal);
        }
    }
}
