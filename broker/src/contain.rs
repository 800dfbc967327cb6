//! Containment: foreign code (compilers, callbacks, destructors) may panic; the broker goes on.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::mutation::dropped;

/// Runs `foreign`, turning a panic into its message.
///
/// The caller promises nothing it shares with `foreign` is left half changed: here that is always data `foreign` cannot see.
pub(crate) fn contained<R>(foreign: impl FnOnce() -> R) -> Result<R, String> {
    if dropped!(Contain) {
        return Ok(foreign());
    }
    catch_unwind(AssertUnwindSafe(foreign)).map_err(|payload| {
        #[cfg(loom)]
        if !payload.is::<ToldToPanic>() {
            std::panic::resume_unwind(payload);
        }
        let message = message_of(&*payload);
        // A payload whose destructor panics as well is leaked.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(second);
        }
        message
    })
}

/// The payload of panics that models mean. All others are reports, of loom or of a model, which containing would hide.
#[cfg(loom)]
#[derive(Debug)]
pub struct ToldToPanic;

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
