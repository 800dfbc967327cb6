//! One variant for several loops: where each is there once, and is entered at whatever header a call is at.
//!
//! By the time code is there, the loop that it was asked for may be over, and the call be in the next one.

use cranelift_codegen::ir::Function;

use crate::{Limits, OsrError, Site, Sites, Verified, assemble, flow::Flow, stages::Stages, variant};

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
    let function = assemble(&flow, &stages, sites, &chosen)?;
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
