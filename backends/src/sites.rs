//! Loop sites: what a lowering declares of them, and the variants that come of it.
//!
//! The protocol is in `osr/README.md`. A lowering that declares no sites works as ever; its functions have no variants.

use std::cell::RefCell;

use cranelift_codegen::ir::{Block, Function, InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use tierup_broker::{Bailout, BailoutReason};
use tierup_osr::{Leave, Limits, OsrError, Shared, Site, Sites, SlotBuffer, Verified, WideResults};

use crate::{
    LowerCx,
    abi::{Resume, WIDE_SLOTS, offset},
    clif::{self, BodyAbi},
    lower::Job,
};

/// What one lowering declared.
pub(crate) struct DeclaredSites {
    wanted: bool,
    /// The body becomes the variant that is entered here.
    entered: Option<u32>,
    sites: RefCell<Sites>,
}

impl DeclaredSites {
    pub(crate) fn new(job: &Job<'_>) -> Self {
        let entered = job.site();
        DeclaredSites { wanted: entered.is_some() || job.countdown.is_some(), entered, sites: RefCell::default() }
    }

    /// Fills the current block, through which the code leaves: a body by the finish stub, a variant by returning `status`.
    pub(crate) fn leave(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, status: u32, live: Vec<(u32, Value)>, to: SlotBuffer) {
        if self.entered.is_some() {
            // The variant's own way out replaces it.
            b.ins().trap(clif::UNREACHABLE);
        } else {
            clif::finish(b, abi, status, &live);
        }
        let block = b.current_block().expect("it is being filled");
        self.sites.borrow_mut().leaves.push(Leave { block, status, live, to });
    }

    /// The code leaves where it would not know what to do.
    pub(crate) fn assume(&self) {
        self.sites.borrow_mut().assumes = true;
    }

    pub(crate) fn into_inner(self) -> Sites {
        self.sites.into_inner()
    }
}

impl<G> LowerCx<'_, G> {
    /// Whether anybody needs the loop sites: a variant is asked for, or the code counts, and so may leave. If not, declaring them
    /// changes nothing but the cost of lowering.
    pub fn wants_sites(&self) -> bool {
        self.sites.wanted
    }

    /// The loop site that the code is to be entered at, if it becomes a variant: the one whose slots have to be its header's parameters, if
    /// the code [speculates](Self::loop_site).
    pub fn entered_site(&self) -> Option<u32> {
        self.sites.entered
    }

    /// Declares a loop header at which the function can be entered.
    ///
    /// The values in its slots are those a variable has while the builder is in the header. To use a variable there may give the
    /// header a parameter, so declare only if [asked](Self::wants_sites).
    ///
    /// Code that [speculates](Self::guard) is left by calls that do otherwise than it assumes, and they come to its loops, too: what is in
    /// a slot there need not be what the code has brought. So each slot's value must be a parameter of the header, of its own; a
    /// lowering appends those to the block, and passes the values where it jumps there. Otherwise the site is refused. (Of the reasons to
    /// leave, on request, for another call target, and because the code is withdrawn change nothing of that kind.)
    pub fn loop_site(&self, site: Site) {
        self.sites.sites.borrow_mut().sites.push(site);
    }

    /// Says that the function has `count` results, two or more, and [stores](clif::store_wide) them to the wide buffer. Owed by a
    /// lowering that declares sites.
    pub fn wide_results(&self, count: u32) {
        self.sites.sites.borrow_mut().wide = Some(WideResults { count, buffer: offset::WIDE });
    }

    /// A cold block, filled, through which the code leaves at `site` with that site's slots: somebody else finishes the call
    /// ([`FinishFn`](crate::abi::FinishFn)), and its results are returned. To be branched to where code has
    /// [told](clif::Countdown::tell) of the site and [should leave](clif::should_leave).
    ///
    /// The builder's current block must be ended, or not begun; the new one has to be sealed when it has been branched to.
    ///
    /// `None` if a slot does not fit into the buffer frames leave through: its number is [`WIDE_SLOTS`] at least. (Nor is there a site
    /// that [`Resume`] has no room for.)
    pub fn leave_block(&self, b: &mut FunctionBuilder<'_>, abi: &BodyAbi, site: u32, live: &[(u32, Value)]) -> Option<Block> {
        if site >= Resume::LIMIT || live.iter().any(|&(slot, _)| slot as usize >= WIDE_SLOTS) {
            return None;
        }
        let block = b.create_block();
        b.set_cold_block(block);
        b.switch_to_block(block);
        let status = Resume::Site(site).encode();
        if !self.leave_inlined(b, abi, status, live) {
            self.sites.leave(b, abi, status, live.to_vec(), SlotBuffer::Frame);
        }
        Some(block)
    }
}

/// The variant of `body` that is entered at `site`.
pub(crate) fn variant(body: Verified<'_>, sites: &Sites, site: u32) -> Result<Function, Bailout> {
    tierup_osr::variant(body, sites, site, &Limits::default()).map_err(refused)
}

/// The variant of `body` that is entered at `site`, and all the sites that it is entered at.
pub(crate) fn shared(body: Verified<'_>, sites: &Sites, site: u32) -> Result<(Function, Vec<u32>), Bailout> {
    tierup_osr::shared(body, sites, site, &Limits::default()).map(|Shared { function, sites }| (function, sites)).map_err(refused)
}

/// What the broker is told of a variant, or a body, that cannot be.
pub(crate) fn refused(error: OsrError) -> Bailout {
    Bailout::terminal(match error {
        OsrError::Invalid { message } => BailoutReason::Verifier { message },
        OsrError::TooLarge { instructions, limit, .. } => {
            BailoutReason::TooLarge { size: instructions as u64, limit: limit as u64 }
        }
        other => BailoutReason::Unsupported { what: other.to_string() },
    })
}
