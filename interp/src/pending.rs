//! Names of the broker's and the backends' that are not there yet. To be replaced by `tierup`'s.

#![allow(dead_code)]

use std::ffi::c_void;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicPtr, AtomicU64};

#[repr(C)]
pub(crate) struct ThreadCells {
    pub(crate) countdown: *mut c_void,
    pub(crate) stack_limit: usize,
    pub(crate) interrupt: AtomicU64,
    pub(crate) entry_sp: usize,
    pub(crate) exit_fp: usize,
    pub(crate) exit_pc: usize,
    pub(crate) fuel: i64,
    pub(crate) trap: u64,
    pub(crate) host: *mut c_void,
    pub(crate) wide: *mut u64,
    pub(crate) bridge: BridgeFn,
    pub(crate) on_trap: OnTrapFn,
}
pub(crate) type BridgeFn = unsafe extern "C" fn(vmctx: *mut c_void, callee: u64, regs: *mut Regs) -> u32;
pub(crate) type OnTrapFn = unsafe extern "C" fn(cells: *mut ThreadCells);

#[repr(C)]
pub(crate) struct Regs {
    pub(crate) gpr: [u64; 6],
    pub(crate) xmm: [u64; 8],
    pub(crate) stack: *mut u64,
    pub(crate) stack_len: usize,
    pub(crate) ret_gpr: u64,
    pub(crate) ret_xmm: u64,
}

pub(crate) struct Face([u64; 2]);
pub(crate) struct Bead<G>(AtomicPtr<Face>, PhantomData<G>);
impl<G> Bead<G> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::default(), PhantomData)
    }
    pub(crate) fn code_cell(&self) -> *const AtomicPtr<Face> {
        &self.0
    }
}
pub(crate) struct InterpThread<G>(Box<std::mem::MaybeUninit<ThreadCells>>, PhantomData<G>);
impl<G> InterpThread<G> {
    pub(crate) fn new() -> Self {
        Self(Box::new(std::mem::MaybeUninit::zeroed()), PhantomData)
    }
    pub(crate) fn cells(&self) -> *mut ThreadCells {
        self.0.as_ptr().cast_mut()
    }
}
pub(crate) struct GuardedRegion(*mut u8, usize);
impl GuardedRegion {
    pub(crate) fn reserve(bytes: usize, _: u64) -> io::Result<Self> {
        let p = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, 0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1, 0)
        };
        if p == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Self(p.cast(), bytes)) }
    }
    pub(crate) fn base(&self) -> *mut u8 {
        self.0
    }
    pub(crate) fn make_accessible(&self, at: usize, len: usize) -> io::Result<()> {
        let r = unsafe { libc::mprotect(self.0.add(at).cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        if r == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
impl Drop for GuardedRegion {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}
unsafe impl Send for GuardedRegion {}
