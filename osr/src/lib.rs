//! On-stack replacement in CLIF: from a function and what its lowering declared at its loop headers, the *variant* that is
//! entered at one of them with the live frame and runs the rest of the function.
//!
//! One lowering makes every variant: the transform knows nothing of the guest. `README.md` in this folder draws the protocol.
//!
//! A variant has the signature `fn(vmctx, callee, frame) -> i64`, and the site as fourth argument if it can be entered at several.
//! It returns [`DONE`] with the results in `frame[0…]`, or the [status](Leave::status) of the block it left through, with the
//! live slots in `frame` or in a [buffer](SlotBuffer) of the thread.
//!
//! [`variant`] makes one for compilers that optimize loops, [`shared`] one for compilers that are quick.
//!
//! How a variant is made, a file each: which copies of which loops it is made of ([`stages`]), which values cross from one to
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
mod prologue;
mod site;
mod slot;
mod stages;
#[cfg(test)]
mod tests;

use cranelift_codegen::{ir::Function, settings::FlagsOrIsa, verify_function};

pub use error::OsrError;
pub use limits::Limits;
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
    let liveness = Liveness::of(&flow, &stages);
    let homes = Homes::assign(&flow, &stages, &liveness);
    copy::variant(&flow, &stages, &homes, sites.wide, |copier| copier.prologue(&[site], &liveness))
}

/// CLIF instructions of the largest body whose variants are shared. Where a loop is entered in its midst, whatever is live there is a
/// parameter of its header, and a compiler takes several times as long for a large function then (bzip2's of 4.6 KiB, 42 ms for 14).
const LARGEST_SHARED: usize = 1_000;

/// A variant that is entered at any of several sites.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The function: `fn(vmctx, callee, frame) -> i64` where there is one site, otherwise
    /// `fn(vmctx, callee, frame, site: i64) -> i64`.
    pub function: Function,
    /// Where it can be entered. The first is the site that it was asked for.
    pub sites: Vec<u32>,
}

/// The variant of a small `body` that is entered at `site`, or at any other for which the prologue is not too long.
///
/// Each loop is there once, and may be entered in the midst of a nest: for compilers that do little with loops. A large body, or
/// one that [assumes](Sites::assumes) something, gets the [`variant`] that is entered at the one site.
///
/// # Errors
///
/// As [`variant`], if there is none for `site`.
pub fn shared(body: Verified<'_>, sites: &Sites, site: u32, limits: &Limits) -> Result<Shared, OsrError> {
    let alone = || Ok(Shared { function: variant(body, sites, site, limits)?, sites: vec![site] });
    match together(body, sites, site) {
        Ok(Some(shared)) => Ok(shared),
        Ok(None) | Err(_) => alone(),
    }
}

/// The variant for several sites; `None` if there is no other for which there is room.
fn together(Verified(body): Verified<'_>, sites: &Sites, site: u32) -> Result<Option<Shared>, OsrError> {
    sites.check(body)?;
    let asked = sites.find(site)?;
    let flow = Flow::of(body, sites);
    if sites.assumes || flow.instructions() > LARGEST_SHARED || !flow.is_reachable(asked.header) {
        return Ok(None);
    }
    sites.check_values(&flow, asked)?;
    let chosen = choose(&flow, sites, asked);
    if chosen.len() == 1 {
        return Ok(None);
    }
    let stages = Stages::shared(&flow, &chosen);
    let liveness = Liveness::of(&flow, &stages);
    let homes = Homes::assign(&flow, &stages, &liveness);
    let function = copy::variant(&flow, &stages, &homes, sites.wide, |copier| copier.prologue(&chosen, &liveness))?;
    Ok(Some(Shared { function, sites: chosen.iter().map(|site| site.id).collect() }))
}

/// `asked`, and the other sites of the lowest numbers for which there is room, each with a header of its own. A call that is inside the
/// loop asked for comes to its header before long, and the nest stays as it is.
fn choose<'a>(flow: &Flow<'_>, sites: &'a Sites, asked: &'a Site) -> Vec<&'a Site> {
    let mut chosen = vec![asked];
    let is_outside = |site: &&Site| flow.is_reachable(site.header) && !flow.is_around(asked.header, site.header);
    let mut others: Vec<&Site> = sites.sites.iter().filter(is_outside).collect();
    others.sort_by_key(|site| site.id);
    let mut room = flow.instructions() / 2;
    for site in others {
        let is_new = chosen.iter().all(|chosen| chosen.header != site.header);
        if !is_new || sites.check_values(flow, site).is_err() {
            continue;
        }
        match room.checked_sub(site.live.len() + 1) {
            Some(rest) => room = rest,
            None => break,
        }
        chosen.push(site);
    }
    chosen
}
