//! Names of the broker's that are not there yet. To be replaced by `tierup`'s.

#![allow(dead_code, missing_debug_implementations)]

use std::marker::PhantomData;
use std::sync::atomic::AtomicPtr;

use tierup::ThreadCells;

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
pub(crate) struct InterpThread<G>(*mut ThreadCells, PhantomData<G>);
impl<G> InterpThread<G> {
    pub(crate) fn new() -> Self {
        let wide = Box::leak(vec![0; tierup::WIDE_SLOTS].into_boxed_slice());
        Self(Box::into_raw(Box::new(ThreadCells::new(std::ptr::null_mut(), wide.as_mut_ptr()))), PhantomData)
    }
    pub(crate) fn cells(&self) -> *mut ThreadCells {
        self.0
    }
    pub(crate) fn quiescent(&mut self) {}
}
pub(crate) struct NativeCode<'t>(std::ptr::NonNull<u8>, PhantomData<&'t ()>);
impl NativeCode<'_> {
    pub(crate) fn address(&self) -> std::ptr::NonNull<u8> {
        self.0
    }
}
pub(crate) struct BeadRef<'a, G>(&'a Bead<G>);
impl<G> Bead<G> {
    pub(crate) fn as_ref(&self) -> BeadRef<'_, G> {
        BeadRef(self)
    }
}
impl<G> InterpThread<G> {
    #[inline]
    pub(crate) fn on_invoke(&self, bead: BeadRef<'_, G>) -> Option<NativeCode<'_>> {
        let face = bead.0.0.load(std::sync::atomic::Ordering::Acquire);
        std::ptr::NonNull::new(face.cast::<u8>()).map(|p| NativeCode(p, PhantomData))
    }
    #[inline]
    pub(crate) fn on_back_edge(&self, _bead: BeadRef<'_, G>, _site: u32, _work: u32) -> Option<()> {
        None
    }
}

/// Stands in for `exec::run`.
pub(crate) unsafe fn run(
    _: *mut crate::store::StoreInner,
    _: *mut crate::vmctx::VmCtx,
    _: &crate::module::Function,
    _: *mut u64,
) -> Result<(), crate::trap::Raised> {
    Err(crate::trap::TrapCode::Unreachable.into())
}
