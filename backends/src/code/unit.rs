//! One unit's memory while it is linked: cranelift-jit asks for pieces of pages, seals them, and then forgets them; the lease
//! keeps the pages.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::{ModuleError, ModuleResult};

use super::memory::{CodeMemory, CodePages};

/// Pages being filled. A clone is the same pages: the JIT module owns one, the backend keeps the other for the lease.
#[derive(Debug, Clone)]
pub(crate) struct UnitMemory(Arc<Mutex<Segments>>);

#[derive(Debug)]
struct Segments {
    memory: Arc<CodeMemory>,
    open: Vec<Segment>,
    sealed: Vec<CodePages>,
}

#[derive(Debug)]
struct Segment {
    pages: CodePages,
    used: usize,
    protection: libc::c_int,
}

impl UnitMemory {
    pub(crate) fn new(memory: &Arc<CodeMemory>) -> Self {
        UnitMemory(Arc::new(Mutex::new(Segments { memory: Arc::clone(memory), open: Vec::new(), sealed: Vec::new() })))
    }

    /// The sealed pages, for the unit's lease. What was not sealed is returned.
    pub(crate) fn into_pages(self) -> Vec<CodePages> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).sealed)
    }

    fn with<R>(&self, f: impl FnOnce(&mut Segments) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Segments {
    fn allocate(&mut self, size: usize, align: usize, protection: libc::c_int) -> io::Result<*mut u8> {
        for segment in &mut self.open {
            let start = segment.used.next_multiple_of(align);
            if segment.protection == protection && start + size <= segment.pages.bytes() {
                segment.used = start + size;
                // SAFETY: inside the pages, checked above.
                return Ok(unsafe { segment.pages.start().add(start) });
            }
        }
        let pages = self.memory.take_writable(size)?;
        if !(pages.start() as usize).is_multiple_of(align) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let start = pages.start();
        self.open.push(Segment { pages, used: size, protection });
        Ok(start)
    }

    fn seal(&mut self) -> io::Result<()> {
        for segment in self.open.drain(..) {
            segment.pages.protect(segment.protection)?;
            self.sealed.push(segment.pages);
        }
        Ok(())
    }
}

impl JITMemoryProvider for UnitMemory {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        let protection = match kind {
            JITMemoryKind::Executable => libc::PROT_READ | libc::PROT_EXEC,
            JITMemoryKind::Writable => libc::PROT_READ | libc::PROT_WRITE,
            JITMemoryKind::ReadOnly => libc::PROT_READ,
        };
        let align = usize::try_from(align).map_err(|_| io::ErrorKind::InvalidInput)?.max(1);
        self.with(|segments| segments.allocate(size, align, protection))
    }

    unsafe fn free_memory(&mut self) {
        self.with(|segments| {
            segments.open.clear();
            segments.sealed.clear();
        });
    }

    fn finalize(&mut self, _: BranchProtection) -> ModuleResult<()> {
        // x86-64 keeps instruction fetch coherent; other targets have no stubs and so no backend.
        self.with(Segments::seal).map_err(|err| ModuleError::Allocation { err })
    }
}
