//! Whether a bead runs a tier, will, or cannot any more: read from the broker, not from events, so that no event need be seen.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tierup_broker::{BeadId, ClosedBy, Event, Tier, Transition};
use tokio::{sync::broadcast, time};

use crate::{error::WaitError, feed::Feed, protocol::Never};

/// How long a waiter relies on events alone: some ends have none, such as the release of a bead.
const RECHECK: Duration = Duration::from_millis(200);

/// How a bead and a tier stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It runs code of this tier, which is the one asked for or higher.
    Reached(Tier),
    NotYet,
    Never(Never),
}

/// Waits until the bead runs code of `tier` or of a higher one.
///
/// `events` must have been made before this is called first: whatever is installed after the first look is told of there, because
/// code is published before its event is. Cancel-safe.
pub(crate) async fn reached<G: Send + Sync + 'static>(
    feed: &Feed<G>,
    mut events: broadcast::Receiver<Arc<Event>>,
    bead: BeadId,
    tier: Tier,
) -> Result<Tier, WaitError> {
    let highest = feed.highest_tier();
    if tier > highest {
        return Err(WaitError::NoSuchTier { tier, highest });
    }
    loop {
        match standing(feed, bead, tier) {
            Standing::Reached(tier) => return Ok(tier),
            Standing::Never(never) => return Err(WaitError::NotReached { bead, tier, never }),
            Standing::NotYet => {}
        }
        // Past this time, or when events were missed or end, the broker is asked again.
        let _ = time::timeout(RECHECK, concerning(&mut events, bead)).await;
    }
}

/// The next event that may change how `bead` stands.
async fn concerning(events: &mut broadcast::Receiver<Arc<Event>>, bead: BeadId) {
    loop {
        match events.recv().await {
            Ok(event) if event.bead == bead || event.what == Transition::TierOff => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The feed holds the sender, and the waiter the feed.
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn standing<G: Send + Sync + 'static>(feed: &Feed<G>, bead: BeadId, tier: Tier) -> Standing {
    let broker = feed.broker();
    // Before the look at the bead: what is installed before the end is not taken for nothing.
    let ended = broker.is_shut_down();
    let found = broker.walk_from(bead.id, |info| ControlFlow::Break((info.id == bead).then_some(info.stats)));
    let ControlFlow::Break(Some(stats)) = found else { return Standing::Never(Never::Released) };
    let mut above = (tier.index()..=feed.highest_tier().index()).map(Tier::new);
    let closed = |tier: Tier| stats.closed.iter().find(|&&(closed, _)| closed == tier).map(|&(_, by)| by);
    if stats.tier >= tier {
        Standing::Reached(stats.tier)
    } else if ended {
        Standing::Never(Never::ShutDown)
    } else if stats.pending {
        // It may be answered yet, even for a bead that is disabled meanwhile.
        Standing::NotYet
    } else if stats.frozen {
        Standing::Never(Never::Disabled)
    } else if above.clone().any(|tier| closed(tier).is_none()) {
        Standing::NotYet
    } else if above.any(|tier| closed(tier) == Some(ClosedBy::TierOff)) {
        Standing::Never(Never::TierOff)
    } else {
        Standing::Never(Never::Disabled)
    }
}
