//! LLVM reports through a handler of its context. Without one it prints, and leaves the process on an error.

use std::{
    cell::RefCell,
    ffi::{CStr, c_void},
};

use inkwell::{
    context::Context,
    llvm_sys::{
        LLVMDiagnosticSeverity,
        core::{LLVMContextSetDiagnosticHandler, LLVMDisposeMessage, LLVMGetDiagInfoDescription, LLVMGetDiagInfoSeverity},
        prelude::LLVMDiagnosticInfoRef,
    },
};

/// What LLVM reported since the last [`take`](Diagnostics::take).
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Messages of errors. The output is not to be used.
    pub(crate) errors: Vec<String>,
    /// Native frames larger than nothing: symbol and bytes.
    pub(crate) frames: Vec<(String, u32)>,
}

/// The handler of one context. Boxed: the context keeps its address.
#[derive(Debug)]
pub(crate) struct Diagnostics(Box<RefCell<Reports>>);

impl Diagnostics {
    /// Listens to `context`, which must not outlive the result.
    pub(crate) fn of(context: &Context) -> Self {
        let reports = Box::new(RefCell::new(Reports::default()));
        // SAFETY: the caller keeps the box as long as the context, which calls the handler on this thread only.
        unsafe { LLVMContextSetDiagnosticHandler(context.raw(), Some(handler), (&raw const *reports).cast_mut().cast()) };
        Diagnostics(reports)
    }

    pub(crate) fn take(&self) -> Reports {
        self.0.take()
    }
}

extern "C" fn handler(info: LLVMDiagnosticInfoRef, reports: *mut c_void) {
    // SAFETY: `Diagnostics::of` registered this pointer.
    let reports = unsafe { &*reports.cast::<RefCell<Reports>>() };
    // SAFETY: LLVM hands over a live diagnostic, and a C string that is ours to dispose of.
    let (severity, text) = unsafe {
        let text = LLVMGetDiagInfoDescription(info);
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        LLVMDisposeMessage(text);
        (LLVMGetDiagInfoSeverity(info), copy)
    };
    match severity {
        LLVMDiagnosticSeverity::LLVMDSError => reports.borrow_mut().errors.push(text),
        _ => reports.borrow_mut().frames.extend(frame_size(&text)),
    }
}

/// Reads the report the attribute `warn-stack-size` asks for: LLVM's C API has no other way to the size of a frame.
fn frame_size(text: &str) -> Option<(String, u32)> {
    // A source position comes first, known or not.
    let (_, report) = text.split_once("stack frame size (")?;
    let (bytes, rest) = report.split_once(") exceeds limit (")?;
    let symbol = rest.split_once("in function '")?.1.strip_suffix('\'')?;
    Some((symbol.to_owned(), bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn frame_sizes_are_read() {
        let report = super::frame_size("<unknown>:0:0: stack frame size (40008) exceeds limit (0) in function 'u0:1'");
        assert_eq!(report, Some(("u0:1".to_owned(), 40008)));
        assert_eq!(super::frame_size("loop not vectorized"), None);
    }
}
