//! A broker's events for programs that are asynchronous, and awaiting a tier. No socket.

use std::{fmt, future::Future, sync::Arc};

use tierup_broker::{Bead, BeadId, Broker, Event, Subscription, Tier};
use tokio::sync::broadcast;

use crate::{error::WaitError, standing};

/// Events a [`Feed`] keeps for those who are slow, unless told otherwise.
pub(crate) const BUFFER: usize = 4096;

/// A broker's events, kept in a ring that is the same for all who listen: whoever is too slow misses the oldest, and learns how
/// many. Nobody who makes an event waits for anybody who reads it.
///
/// Holds a clone of the broker, which therefore does not shut down by itself before the feed and every wait is dropped.
pub struct Feed<G: Send + Sync + 'static> {
    broker: Broker<G>,
    ring: broadcast::Sender<Arc<Event>>,
    /// Names of the compilers, tier 1 first.
    tiers: Vec<String>,
    _subscription: Subscription,
}

impl<G: Send + Sync + 'static> Feed<G> {
    /// Subscribes to `broker`'s events, of which 4096 are kept.
    pub fn attach(broker: &Broker<G>) -> Self {
        Self::with_buffer(broker, BUFFER)
    }

    /// The same, and `events` of them are kept, rounded up to a power of two, at least 2 and at most 65,536.
    pub fn with_buffer(broker: &Broker<G>, events: usize) -> Self {
        let (ring, _) = broadcast::channel(events.clamp(2, 1 << 16));
        let subscription = {
            let ring = ring.clone();
            broker.subscribe(move |event| {
                if ring.receiver_count() > 0 {
                    // Fails when the last of them has gone meanwhile.
                    let _ = ring.send(Arc::new(event.clone()));
                }
            })
        };
        let tiers = broker.stats().tiers.into_iter().map(|tier| tier.name).collect();
        Feed { broker: broker.clone(), ring, tiers, _subscription: subscription }
    }

    /// The broker.
    pub fn broker(&self) -> &Broker<G> {
        &self.broker
    }

    /// Events from now on. A receiver that is too slow gets
    /// [`RecvError::Lagged`](broadcast::error::RecvError::Lagged) with the number it missed.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.ring.subscribe()
    }

    /// Waits until `bead` runs code of `tier` or of a higher one, and returns which. OSR variants are none of its own: the body
    /// is meant. The wait does not borrow the bead, may be given up at any time, and never misses an install; it asks for nothing
    /// itself.
    ///
    /// # Errors
    ///
    /// A [`WaitError`] when that cannot happen any more: the bead was released or is disabled, the tier has no working compiler,
    /// the broker is shut down or is another one.
    ///
    /// # Panics
    ///
    /// When awaited outside of a tokio runtime that has its clock enabled.
    pub fn tier_reached(
        self: &Arc<Self>,
        bead: &Bead<G>,
        tier: Tier,
    ) -> impl Future<Output = Result<Tier, WaitError>> + Send + use<G> {
        let known = self.broker.bead_stats(bead.as_ref()).is_some();
        let wait = self.reached(bead.id(), tier);
        async move { if known { wait.await } else { Err(WaitError::ForeignBead) } }
    }

    pub(crate) fn reached(
        self: &Arc<Self>,
        bead: BeadId,
        tier: Tier,
    ) -> impl Future<Output = Result<Tier, WaitError>> + Send + use<G> {
        // Before the first look.
        let events = self.events();
        let feed = Arc::clone(self);
        async move { standing::reached(&feed, events, bead, tier).await }
    }

    /// The highest tier that has a compiler.
    pub(crate) fn highest_tier(&self) -> Tier {
        Tier::new(self.tiers.len() as u8)
    }

    /// Names of the compilers, tier 1 first.
    pub(crate) fn tiers(&self) -> &[String] {
        &self.tiers
    }
}

impl<G: Send + Sync + 'static> fmt::Debug for Feed<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("receivers", &self.ring.receiver_count()).finish_non_exhaustive()
    }
}
