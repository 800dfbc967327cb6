//! On-stack replacement in CLIF: from a function and what its lowering declared at its loop headers, the *variant* that is
//! entered at one of them with the live frame and runs the rest of the function.
//!
//! One lowering makes every variant: the transform knows nothing of the guest. `README.md` in this folder draws the protocol.
//!
//! A variant has the signature `fn(vmctx, callee, frame) -> i64`, and the site as fourth argument if it can be entered at several.
//! It returns [`DONE`] with the results in `frame[0…]`, or the [status](Leave::status) of the block it left through, with the
//! live slots in `frame` or in a [buffer](SlotBuffer) of the thread.
//!
//! [`variant`] makes one for compilers that optimize loops, [`shared`] one for compilers that do little with them, and [`open_in_midst`]
//! has a body entered as it is, for compilers that keep each value in one place.
//!
//! How a variant is made, a file each: which sites it is entered at ([`mod@shared`]), which copies of which loops it is made of ([`stages`]), which values cross from one to
//! another ([`liveness`]), how each gets to its uses ([`homes`]), what runs before the first copy ([`prologue`]), and the copying
//! itself ([`copy`], [`exits`]).

#![forbid(unsafe_code)]

mod copy;
mod error;
mod exits;
mod flow;
mod homes;
mod limits;
mod liveness;
mod midst;
mod prologue;
mod shared;
mod site;
mod slot;
mod stages;
#[cfg(test)]
mod tests;

use cranelift_codegen::{ir::Function, settings::FlagsOrIsa, verify_function};

pub use error::OsrError;
pub use limits::Limits;
pub use midst::{Midst, Opened, Source, open_in_midst};
pub use shared::{Shared, shared};
pub use site::{Leave, Site, Sites, SlotBuffer, WideResults};

use crate::{flow::Flow, homes::Homes, liveness::Liveness, stages::Stages};

/// What a variant returns when the function returned.
pub const DONE: i64 = -1;

/// A function that the verifier accepted, or whoever made it vouches for.
#[derive(Debug, Clone, Copy)]
pub struct Verified<'a>(&'a Function);

impl<'a> Verified<'a> {
    /// Has the verifier look at `body`.
    ///
    /// # Errors
    ///
    /// [`OsrError::Invalid`].
    pub fn check<'f>(body: &'a Function, rules: impl Into<FlagsOrIsa<'f>>) -> Result<Self, OsrError> {
        match verify_function(body, rules) {
            Ok(()) => Ok(Verified(body)),
            Err(errors) => Err(OsrError::Invalid { message: errors.to_string() }),
        }
    }

    /// Takes it that the verifier would accept `body`. What comes of a body that it would not is a variant that it does not accept
    /// either, or a panic.
    pub fn vouched(body: &'a Function) -> Self {
        Verified(body)
    }
}

/// The variant of `body` that is entered at `site`. It is valid CLIF, too.
///
/// `body` is `fn(vmctx: i64, callee: i64, …)` with at most one result; calls of it that run interpreted reach `site` with the
/// slots `sites` declares for it. Nothing else may be live there: in particular nothing in the body's own stack slots. Unless the
/// declarations say that the body [assumes](Sites::assumes) something, every call comes to the site by a way that the body has.
///
/// # Errors
///
/// [`OsrError`]: the body does what a variant cannot, the declarations do not fit it, a value is live
/// at the site that is in no slot and cannot be computed again, or the variant would be larger than `limits` allow.
pub fn variant(body: Verified<'_>, sites: &Sites, site: u32, limits: &Limits) -> Result<Function, OsrError> {
    let Verified(body) = body;
    sites.check(body)?;
    let site = sites.find(site)?;
    let flow = Flow::of(body, sites);
    sites.check_values(&flow, site)?;
    sites.check_frame(&flow, site)?;
    let stages = Stages::plan(&flow, site)?;
    limits.check(site, stages.instructions(&flow), flow.instructions())?;
    assemble(&flow, &stages, sites, &[site])
}

/// Makes the variant that is entered at the sites `entered`, which the stages were planned for.
fn assemble(flow: &Flow<'_>, stages: &Stages, sites: &Sites, entered: &[&Site]) -> Result<Function, OsrError> {
    let liveness = Liveness::of(flow, stages);
    let homes = Homes::assign(flow, stages, &liveness);
    copy::variant(flow, stages, &homes, sites.wide, |copier| copier.prologue(entered, &liveness))
}
