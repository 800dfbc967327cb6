//! Jumps whose targets are filled in later, so that code of two compilers can name each other before either is linked.

use std::ptr;

use super::Symbols;

const BYTES: usize = 16;

/// One jump per name.
pub(crate) struct Thunks {
    page: *mut u8,
    len: usize,
    symbols: Symbols,
}

impl Thunks {
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        let len = (names.len().max(1) * BYTES).next_multiple_of(4096);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping.
        let page = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        let at = |index: usize| page as usize + index * BYTES;
        let symbols = names.into_iter().enumerate().map(|(index, name)| (name, at(index))).collect();
        Thunks { page: page.cast(), len, symbols }
    }

    pub(crate) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    pub(crate) fn bind(&mut self, name: &str, target: usize) {
        let Some(&thunk) = self.symbols.get(name) else { return };
        // `jmp [rip + 0]`, then the address.
        let mut code = [0xff, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        code[6..].copy_from_slice(&target.to_ne_bytes());
        // SAFETY: within our page, which nobody runs yet.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), thunk as *mut u8, code.len()) };
    }
}

impl Drop for Thunks {
    fn drop(&mut self) {
        // SAFETY: our mapping.
        unsafe { libc::munmap(self.page.cast(), self.len) };
    }
}
