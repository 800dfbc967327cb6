//! A countdown is spent: where the next slice comes from, and what is asked for when there is none.
//!
//! At a call it is about the body, as `hotness.rs` says. In a loop it is about an OSR variant first, as `loops.rs` says: the
//! thread that finds the loops' work done watches its next back-edges before it asks.

use super::{
    InterpThread,
    watch::{Behind, Watch},
};
use crate::{
    BeadRef, CountSlot, Reason, Tier, Work,
    loops::NATIVE,
    registry::Slot,
    sync::Ordering,
    tuning::{MAX_SLICE, MIN_RECOUNT, NATIVE_WATCH, OSR_SLICE, WATCH},
};

/// Where a slice ran out.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Call,
    /// As [`At::Call`], but the caller asks the policy.
    CallOfAsker,
    Loop(BackEdge),
}

/// A back-edge at which a countdown was spent, or looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackEdge {
    pub(super) site: u32,
    /// The tier of the code that asks, as far as it is known.
    pub(super) asking: Tier,
    /// How many back-edges are to be watched, if these are to be.
    pub(super) watch: u32,
}

impl BackEdge {
    /// Of the interpreter, which tells of each.
    pub(super) fn interpreted(site: u32) -> Self {
        BackEdge { site, asking: Tier::INTERPRETER, watch: WATCH }
    }

    /// Of native code that counts, and tells of one every few hundred thousand work units.
    pub(super) fn counted(site: u32) -> Self {
        BackEdge { site, asking: NATIVE, watch: NATIVE_WATCH }
    }

    /// Of native code that is sampled, and can be asked to tell of each.
    pub(super) fn sampled(site: u32) -> Self {
        BackEdge { watch: WATCH, ..Self::counted(site) }
    }
}

impl<G: Send + Sync + 'static> InterpThread<G> {
    /// The countdown is spent in a loop that has no variant here: as [`Self::spent`], unless the loop is being watched.
    #[cold]
    #[inline(never)]
    pub(super) fn loop_spent(&self, bead: BeadRef<'_, G>, edge: BackEdge, work: u32) {
        let BackEdge { site, asking, .. } = edge;
        let id = bead.id as u32;
        let mut watch = self.watch.get();
        if watch.is_of_tier(id, asking) {
            watch.note(site);
            self.watch.set(watch);
            if watch.is_on() {
                // The debt is paid when it is over, so that every charge until then comes here.
                return;
            }
            match watch.choose(site, |site| self.is_closed(id, site)) {
                Some(site) => self.ask_for_variant(bead, site, asking),
                None => self.nothing_to_ask(bead),
            }
            if self.osr_entry(bead, site).is_some() {
                // Compiled on this thread. The slot stays void, so that every back-edge finds it.
                return;
            }
        } else if watch.is_of(id) {
            self.watch.set(Watch::OFF);
        }
        self.spent(bead, work, At::Loop(edge));
    }

    /// No site that was seen may have a variant: the loops count on, for one further out, and what they have done pays for the body,
    /// in which the next call runs.
    fn nothing_to_ask(&self, bead: BeadRef<'_, G>) {
        let id = bead.id as u32;
        self.behind.set(Behind::NOWHERE);
        self.shared.refill_loops(id, MAX_SLICE as u32);
        if self.shared.is_budget_spent(bead.hot) {
            self.shared.budget_spent(self.shared.registry.slot(id));
        }
    }

    /// A loop has earned a variant and outlasted the watch.
    fn ask_for_variant(&self, bead: BeadRef<'_, G>, site: u32, asking: Tier) {
        let id = bead.id as u32;
        self.behind.set(Behind::NOWHERE);
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        // What came while the loop was watched, the thread enters when it gets there.
        let prospect = self.shared.prospect(id, &header.variants, asking, site);
        let prospect = prospect.filter(|_| !asking.is_interpreter() || header.variants.at(site).is_none());
        let wait = prospect
            .and_then(|prospect| self.shared.ask_about_loop(id, asking.max(header.variants.tier_at(site)), site, prospect));
        if header.top() <= asking {
            let next = wait.or(prospect.map(|prospect| prospect.budget.max(MIN_RECOUNT)));
            self.shared.refill_loops(id, next.unwrap_or(u32::MAX));
        }
    }

    /// The countdown is spent, or was never drawn: draw on the shared budget, and when that is spent as well, decide. True when
    /// that is left to the caller.
    #[cold]
    #[inline(never)]
    pub(super) fn spent(&self, bead: BeadRef<'_, G>, work: u32, at: At) -> bool {
        let id = bead.id as u32;
        // Ordering: Relaxed. As in `charge`.
        let generation = bead.hot.stamp.load(Ordering::Relaxed);
        let old = self.slot(bead);
        let deficit = if old.generation == generation {
            old.countdown.saturating_neg()
        } else {
            self.countdown.note_use(id);
            if old.generation == 0 {
                self.shared.note_first_use();
            }
            work as i32
        };
        let slot = self.shared.registry.slot(id);
        let most = match at {
            At::Call | At::CallOfAsker => self.called(bead, slot),
            At::Loop(edge) => self.looped(bead, slot, edge, deficit),
        };
        // A recording is to say what was done, not what may be.
        let ahead = if self.shared.on_work.is_some() { 0 } else { most };
        let drawn = self.shared.draw(slot, deficit, ahead);
        self.tell_work(bead, at, drawn.units);
        let (units, drawn) = (drawn.units, drawn.slice);
        let rest = drawn.unwrap_or(0);
        self.set_slot(bead, CountSlot { countdown: rest, generation });
        if let At::Loop(edge) = at {
            slot.warm.tally.note_loop(units);
            // Whether or not the bead's budget could pay: native loops tell of more at once than it may ever hold.
            self.count_loop(bead, edge.asking, deficit.saturating_add(rest));
        }
        match (drawn, at) {
            (_, At::Loop(edge)) if most == 0 => self.loops_spent(bead, edge, drawn.is_none()),
            (Some(_), _) => self.shared.foresee(id),
            (None, At::Call) => self.shared.budget_spent(slot),
            (None, At::CallOfAsker) => return true,
            (None, At::Loop(edge)) => self.budget_spent_in_loop(bead, edge),
        }
        false
    }

    /// Whoever [records](crate::BrokerBuilder::on_work) what is done hears of it when it is paid for.
    fn tell_work(&self, bead: BeadRef<'_, G>, at: At, units: u32) {
        let Some(tell) = self.shared.on_work.as_ref().filter(|_| units > 0) else { return };
        let site = if let At::Loop(edge) = at { Some(edge.site) } else { None };
        // SAFETY: the bead is borrowed from its owner, so the slot is not recycled.
        let guest = unsafe { self.shared.registry.cold(bead.id as u32).guest() };
        tell(guest, Work { site, units });
    }

    fn slot(&self, bead: BeadRef<'_, G>) -> CountSlot {
        // SAFETY: ids are below `max_beads`, the table's length; only this handle touches the table from Rust, and it is not
        // Sync. No reference is kept: in sync mode a callback may use the handle again.
        unsafe { *self.slots.add(bead.id as usize) }
    }

    fn set_slot(&self, bead: BeadRef<'_, G>, slot: CountSlot) {
        // SAFETY: as in `slot`.
        unsafe { *self.slots.add(bead.id as usize) = slot };
    }

    /// The loops have done their work: watches them, and asks when the watch is over. Together with it the bead's budget may have
    /// run out.
    fn loops_spent(&self, bead: BeadRef<'_, G>, edge: BackEdge, budget_too: bool) {
        if budget_too {
            // Looked at by whoever ends the watch.
            self.shared.refill_budget(bead.hot, 0);
        }
        self.begin_watch(bead, edge);
    }

    /// The budget ran out in a loop before the loops' own: whose code does it pay for?
    fn budget_spent_in_loop(&self, bead: BeadRef<'_, G>, edge: BackEdge) {
        let BackEdge { site, asking, .. } = edge;
        let id = bead.id as u32;
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        let prospect = self.shared.prospect(id, &header.variants, asking, site);
        if header.osr_tier > header.tier || self.shared.is_osr_pending(id) {
            // The body's turn comes when the function is called again.
            self.shared.postpone(id);
        } else if prospect.is_some_and(|prospect| self.shared.is_due(id, prospect) && !self.is_closed(id, site)) {
            self.loops_spent(bead, edge, true);
        } else {
            self.shared.budget_spent(self.shared.registry.slot(id));
        }
    }

    fn is_closed(&self, id: u32, site: u32) -> bool {
        self.shared.is_site_closed(id, site)
    }

    /// A slice ran out at a call. Returns the largest slice to draw.
    fn called(&self, bead: BeadRef<'_, G>, slot: Slot<'_, G>) -> i32 {
        let id = bead.id as u32;
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        if self.watch.get().is_of(id) {
            // Frames come and go: the body will do.
            self.watch.set(Watch::OFF);
            self.shared.rearm_loops(id, header.top());
        }
        if header.osr_tier > header.tier && self.shared.may_have_body(id, header.osr_tier) {
            self.shared.request(id, header.osr_tier, Reason::CalledAgain);
        }
        // So that loops that run out of work notice in time.
        MAX_SLICE.min(self.shared.loops_left(slot.cold).max(0))
    }

    /// A slice ran out in a loop, `deficit` units ago. Returns the largest slice to draw: 0 when its loops have done enough.
    fn looped(&self, bead: BeadRef<'_, G>, slot: Slot<'_, G>, edge: BackEdge, deficit: i32) -> i32 {
        let BackEdge { site, asking, .. } = edge;
        let id = bead.id as u32;
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        let left = if header.top() > asking {
            let budget = self.shared.prospect(id, &header.variants, asking, site).map_or(u32::MAX, |prospect| prospect.budget);
            i32::try_from(budget.max(MIN_RECOUNT).saturating_sub(self.behind.get().work(id))).unwrap_or(i32::MAX)
        } else {
            self.shared.loops_left(slot.cold)
        };
        let short = header.osr_tier > asking || self.shared.is_osr_pending(id);
        left.saturating_sub(deficit).clamp(0, if short { OSR_SLICE } else { MAX_SLICE })
    }

    /// A loop has drawn `work` units.
    fn count_loop(&self, bead: BeadRef<'_, G>, asking: Tier, work: i32) {
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        if header.top() > asking {
            self.behind.set(self.behind.get().after(bead.id as u32, work));
        } else {
            self.shared.count_loop(bead.id as u32, work);
        }
    }

    fn begin_watch(&self, bead: BeadRef<'_, G>, edge: BackEdge) {
        let BackEdge { site, asking, watch } = edge;
        let id = bead.id as u32;
        // SAFETY: this thread is online.
        let header = unsafe { self.shared.header(bead.hot) };
        let at_once = self.shared.prospect(id, &header.variants, asking, site).is_none_or(|prospect| prospect.budget == 0)
            // It is being made: to watch again would find the same loop.
            || self.shared.is_osr_pending(id);
        // One watch at a time: two that interrupt each other would never end.
        if !at_once && !self.watch.get().is_on() {
            self.watch.set(Watch::new(id, asking, watch));
        } else if self.is_closed(id, site) {
            self.nothing_to_ask(bead);
        } else {
            self.ask_for_variant(bead, site, asking);
        }
    }
}
