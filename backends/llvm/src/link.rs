//! Object bytes in, callable code out, through ORC's LLJIT: host symbols are defined up front, each object has its own resource
//! tracker, and dropping the link frees it.

use std::{
    ffi::{CStr, CString, c_char},
    fmt, ptr,
    sync::Arc,
};

use inkwell::llvm_sys::{
    core::{LLVMCreateMemoryBufferWithMemoryRangeCopy, LLVMDisposeMemoryBuffer},
    error::{LLVMDisposeErrorMessage, LLVMErrorRef, LLVMGetErrorMessage},
    object::{
        LLVMBinaryRef, LLVMCreateBinary, LLVMDisposeBinary, LLVMDisposeSymbolIterator, LLVMGetSymbolName, LLVMGetSymbolSize,
        LLVMMoveToNextSymbol, LLVMObjectFileCopySymbolIterator, LLVMObjectFileIsSymbolIteratorAtEnd,
    },
    orc2::{
        LLVMJITEvaluatedSymbol, LLVMJITSymbolFlags, LLVMJITSymbolGenericFlags, LLVMOrcAbsoluteSymbols, LLVMOrcCSymbolMapPair,
        LLVMOrcJITDylibCreateResourceTracker, LLVMOrcJITDylibDefine, LLVMOrcReleaseResourceTracker, LLVMOrcResourceTrackerRef,
        LLVMOrcResourceTrackerRemove,
        lljit::{
            LLVMOrcCreateLLJIT, LLVMOrcDisposeLLJIT, LLVMOrcLLJITAddObjectFileWithRT, LLVMOrcLLJITGetMainJITDylib,
            LLVMOrcLLJITLookup, LLVMOrcLLJITMangleAndIntern, LLVMOrcLLJITRef,
        },
    },
};
use tierup_backends::{
    abi::{POLL_SYMBOL, TRAP_SYMBOL, poll_stub, trap_stub},
    trap::{self, RegisteredRange},
};
use tierup_broker::Bailout;

use crate::{host, refusal::Refusal};

/// Links objects into this process. Shared by everything it linked.
pub struct Linker {
    jit: LLVMOrcLLJITRef,
}

// SAFETY: ORC's session is internally locked; LLJIT's lookup, add and remove are documented as thread-safe.
unsafe impl Send for Linker {}
// SAFETY: as above.
unsafe impl Sync for Linker {}

impl Linker {
    /// A linker that resolves the ABI's own symbols and `symbols`.
    ///
    /// # Errors
    ///
    /// What LLVM says, as a terminal bailout.
    ///
    /// # Safety
    ///
    /// Each address is a function of the signature code calls it with, alive as long as any code linked here.
    pub unsafe fn new(symbols: &[(&str, *const u8)]) -> Result<Arc<Self>, Bailout> {
        host::register();
        let mut jit = ptr::null_mut();
        // SAFETY: a null builder asks for the defaults; `jit` is an out-parameter.
        check(unsafe { LLVMOrcCreateLLJIT(&mut jit, ptr::null_mut()) })?;
        let linker = Linker { jit };
        let mut pairs = Vec::new();
        for &(name, address) in symbols.iter().chain(&[(TRAP_SYMBOL, trap_stub()), (POLL_SYMBOL, poll_stub())]) {
            pairs.push(LLVMOrcCSymbolMapPair {
                // SAFETY: the JIT is alive; the name is copied into its string pool, and the reference goes to the unit below.
                Name: unsafe { LLVMOrcLLJITMangleAndIntern(jit, c_string(name)?.as_ptr()) },
                Sym: LLVMJITEvaluatedSymbol {
                    Address: address as u64,
                    Flags: LLVMJITSymbolFlags {
                        GenericFlags: LLVMJITSymbolGenericFlags::LLVMJITSymbolGenericFlagsExported as u8
                            | LLVMJITSymbolGenericFlags::LLVMJITSymbolGenericFlagsCallable as u8,
                        TargetFlags: 0,
                    },
                },
            });
        }
        // SAFETY: the unit takes the pairs' name references; the dylib takes the unit.
        check(unsafe {
            let unit = LLVMOrcAbsoluteSymbols(pairs.as_mut_ptr(), pairs.len());
            LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), unit)
        })?;
        Ok(Arc::new(linker))
    }

    /// Links an object that defines `symbol` as a function.
    ///
    /// # Errors
    ///
    /// Terminal: an unresolved or duplicate symbol, or an object LLVM cannot read.
    pub fn link(self: &Arc<Self>, object: &[u8], symbol: &str) -> Result<Linked, Bailout> {
        let name = c_string(symbol)?;
        let bytes = symbol_size(object, &name)?;
        // SAFETY: the JIT is alive, and so its main dylib; the tracker is released in `Linked::drop`.
        let tracker = unsafe { LLVMOrcJITDylibCreateResourceTracker(LLVMOrcLLJITGetMainJITDylib(self.jit)) };
        let mut linked = Linked { _linker: Arc::clone(self), tracker, entry: 0, code_bytes: bytes, _range: None };
        let buffer = memory_buffer(object);
        // SAFETY: the call takes the buffer, also when it fails.
        check(unsafe { LLVMOrcLLJITAddObjectFileWithRT(self.jit, tracker, buffer) })?;
        let mut address = 0;
        // SAFETY: `address` is an out-parameter; the lookup links and seals the object.
        check(unsafe { LLVMOrcLLJITLookup(self.jit, &mut address, name.as_ptr()) })?;
        linked.entry = address as usize;
        // SAFETY: the range is this one function, translated with frame pointers, entered as the ABI says.
        linked._range = Some(unsafe { trap::register_code(linked.entry, bytes.max(1)) });
        Ok(linked)
    }
}

impl Drop for Linker {
    fn drop(&mut self) {
        // SAFETY: every `Linked` holds the Arc, so nothing linked here is in use. A failure leaves nothing to do.
        let _ = check(unsafe { LLVMOrcDisposeLLJIT(self.jit) });
    }
}

impl fmt::Debug for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linker").finish_non_exhaustive()
    }
}

/// Linked code. Dropping it frees the code.
pub struct Linked {
    _linker: Arc<Linker>,
    tracker: LLVMOrcResourceTrackerRef,
    entry: usize,
    code_bytes: usize,
    _range: Option<RegisteredRange>,
}

// SAFETY: as `Linker`: the tracker is used through ORC's locked session.
unsafe impl Send for Linked {}
// SAFETY: as above; shared references only read two numbers.
unsafe impl Sync for Linked {}

impl Linked {
    /// First instruction.
    pub fn entry(&self) -> *const u8 {
        self.entry as *const u8
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        // The handler must forget the range before the memory is gone.
        self._range = None;
        // SAFETY: the tracker is ours and the session alive through `_linker`. Nobody runs the code: its owner gives it up.
        let removed = check(unsafe { LLVMOrcResourceTrackerRemove(self.tracker) });
        debug_assert!(removed.is_ok(), "{removed:?}");
        // SAFETY: released once.
        unsafe { LLVMOrcReleaseResourceTracker(self.tracker) };
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked").field("entry", &self.entry()).field("code_bytes", &self.code_bytes).finish()
    }
}

/// Takes an LLVM error.
fn check(error: LLVMErrorRef) -> Result<(), Refusal> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null error is ours to consume, which makes the message ours to dispose of.
    let message = unsafe { LLVMGetErrorMessage(error) };
    // SAFETY: LLVM's messages are C strings.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: as above, once.
    unsafe { LLVMDisposeErrorMessage(message) };
    Err(Refusal::Llvm(text))
}

fn c_string(name: &str) -> Result<CString, Refusal> {
    CString::new(name).map_err(|_| Refusal::Llvm(format!("symbol {name:?} has a NUL")))
}

fn memory_buffer(bytes: &[u8]) -> inkwell::llvm_sys::prelude::LLVMMemoryBufferRef {
    // SAFETY: the range is readable and copied.
    unsafe { LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes.as_ptr().cast::<c_char>(), bytes.len(), c"object".as_ptr()) }
}

/// Size of a function in an object file.
fn symbol_size(object: &[u8], name: &CStr) -> Result<usize, Refusal> {
    let buffer = memory_buffer(object);
    let mut message = ptr::null_mut();
    // SAFETY: the buffer outlives the binary; `message` is an out-parameter.
    let binary: LLVMBinaryRef = unsafe { LLVMCreateBinary(buffer, ptr::null_mut(), &mut message) };
    let mut found = None;
    if binary.is_null() {
        // SAFETY: set when there is no binary, and ours to dispose of.
        unsafe { inkwell::llvm_sys::core::LLVMDisposeMessage(message) };
    } else {
        // SAFETY: iterates within the binary, which is alive.
        unsafe {
            let symbols = LLVMObjectFileCopySymbolIterator(binary);
            while LLVMObjectFileIsSymbolIteratorAtEnd(binary, symbols) == 0 {
                if CStr::from_ptr(LLVMGetSymbolName(symbols)) == name {
                    found = Some(LLVMGetSymbolSize(symbols) as usize);
                }
                LLVMMoveToNextSymbol(symbols);
            }
            LLVMDisposeSymbolIterator(symbols);
            LLVMDisposeBinary(binary);
        }
    }
    // SAFETY: nothing refers to it any more.
    unsafe { LLVMDisposeMemoryBuffer(buffer) };
    found.ok_or_else(|| Refusal::Llvm(format!("the object does not define {name:?}")))
}
