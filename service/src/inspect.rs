//! What a client may ask of a broker, whatever its guest handles are. Everything here may take a while, a walk over all beads for
//! instance, and is kept off the threads that serve the socket.

use std::{future::Future, ops::ControlFlow, pin::Pin, sync::Arc};

use tierup_broker::{BeadId, BeadInfo, Event, InvalidateReason, Tier};
use tokio::sync::broadcast;

use crate::{
    error::WaitError,
    feed::Feed,
    protocol::{Answer, Ask, BeadKey, BeadRecord, Hello, Id, LARGEST_PAGE, PROTOCOL, Page, Refusal, StatsRecord},
};

/// Beads named in a [`Refusal::Ambiguous`].
const CANDIDATES: usize = 8;

pub(crate) type Alias<G> = Box<dyn Fn(&G) -> String + Send + Sync>;
pub(crate) type Renew<G> = Box<dyn Fn(BeadId, &G) -> Result<G, String> + Send + Sync>;
pub(crate) type Reached = Pin<Box<dyn Future<Output = Result<Tier, WaitError>> + Send>>;

/// A broker as a client sees it.
pub(crate) trait Inspect: Send + Sync {
    /// Who speaks. At once: it is asked on the threads that serve.
    fn hello(&self) -> Hello;

    /// Does what is asked: everything that is done at once, and concerns no connection.
    fn answer(&self, ask: Ask) -> Result<Answer, Refusal>;

    /// The bead of this name.
    fn find(&self, key: &BeadKey) -> Result<Id, Refusal>;

    fn reached(&self, bead: Id, tier: Tier) -> Reached;

    fn events(&self) -> broadcast::Receiver<Arc<Event>>;
}

/// The one implementation.
pub(crate) struct Inspector<G: Send + Sync + 'static> {
    pub(crate) feed: Arc<Feed<G>>,
    pub(crate) alias: Option<Alias<G>>,
    pub(crate) renew: Option<Renew<G>>,
    pub(crate) read_only: bool,
}

impl<G: Send + Sync + 'static> Inspect for Inspector<G> {
    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            server: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
            pid: std::process::id(),
            tiers: self.feed.tiers().to_vec(),
        }
    }

    fn answer(&self, ask: Ask) -> Result<Answer, Refusal> {
        if self.read_only && ask.changes() {
            return Err(Refusal::ReadOnly);
        }
        let broker = self.feed.broker();
        Ok(match ask {
            Ask::Why { bead } => self.with(&bead, |info| self.why(&info))?,
            Ask::Beads { from, limit, containing } => Answer::Beads(self.page(from, limit, &containing)),
            Ask::Stats => Answer::Stats(Box::new(StatsRecord::new(&broker.stats(), broker.is_shut_down()))),
            Ask::Invalidate { bead } => self.with(&bead, |info| Answer::Invalidated {
                bead: info.id.into(),
                had_code: broker.invalidate(info.bead, InvalidateReason::Requested),
            })?,
            Ask::Reload { bead } => self.with(&bead, |info| self.reload(&bead, &info))??,
            Ask::Disable { bead } => self.with(&bead, |info| {
                broker.disable(info.bead);
                Answer::Disabled { bead: info.id.into() }
            })?,
            Ask::Shutdown => {
                broker.shutdown();
                Answer::ShutDown
            }
            Ask::Hello { .. } | Ask::Subscribe(_) | Ask::TierReached { .. } => unreachable!("about a connection"),
        })
    }

    fn find(&self, key: &BeadKey) -> Result<Id, Refusal> {
        let BeadKey::Name { name } = key else { return self.with(key, |info| info.id.into()) };
        let (mut count, mut some) = (0_u64, Vec::new());
        self.feed.broker().walk(|info| {
            if self.is_called(info.guest, name) {
                count += 1;
                if some.len() < CANDIDATES {
                    some.push(info.id.into());
                }
            }
        });
        match (count, some.first()) {
            (0, _) | (_, None) => Err(Refusal::UnknownBead { bead: key.clone() }),
            (1, Some(&one)) => Ok(one),
            _ => Err(Refusal::Ambiguous { bead: key.clone(), count, some }),
        }
    }

    fn reached(&self, bead: Id, tier: Tier) -> Reached {
        Box::pin(self.feed.reached(bead.into(), tier))
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.feed.events()
    }
}

impl<G: Send + Sync + 'static> Inspector<G> {
    /// What `look` makes of the bead of this name.
    fn with<R>(&self, key: &BeadKey, look: impl FnOnce(BeadInfo<'_, G>) -> R) -> Result<R, Refusal> {
        let exact = match *key {
            BeadKey::Id { .. } => key.clone(),
            BeadKey::Name { .. } => self.find(key)?.into(),
        };
        let BeadKey::Id { id, .. } = exact else { return Err(Refusal::UnknownBead { bead: key.clone() }) };
        let mut look = Some(look);
        let found = self.feed.broker().walk_from(id, |info| {
            ControlFlow::Break(if exact.is_id(info.id) { look.take().map(|look| look(info)) } else { None })
        });
        found.break_value().flatten().ok_or_else(|| Refusal::UnknownBead { bead: key.clone() })
    }

    fn is_called(&self, guest: &G, name: &str) -> bool {
        self.feed.broker().describe(guest) == name || self.alias.as_ref().is_some_and(|alias| alias(guest) == name)
    }

    fn record(&self, info: &BeadInfo<'_, G>, name: String) -> BeadRecord {
        BeadRecord::new(info.id.into(), name, &info.stats)
    }

    fn page(&self, from: u32, limit: u32, containing: &str) -> Page {
        let limit = if limit == 0 { LARGEST_PAGE } else { limit.min(LARGEST_PAGE) } as usize;
        let broker = self.feed.broker();
        let mut beads = Vec::new();
        let next = broker.walk_from(from, |info| {
            if beads.len() == limit {
                return ControlFlow::Break(info.id.id);
            }
            let name = broker.describe(info.guest);
            if name.contains(containing) {
                beads.push(self.record(&info, name));
            }
            ControlFlow::Continue(())
        });
        Page { beads, next: next.break_value() }
    }

    fn why(&self, info: &BeadInfo<'_, G>) -> Answer {
        let broker = self.feed.broker();
        let bead = Box::new(self.record(info, broker.describe(info.guest)));
        let missing = match broker.why(info.id) {
            _ if broker.is_shut_down() => "nothing is promoted any more: the broker is shut down".to_owned(),
            Some(why) => why.outlook().to_string(),
            // Between the walk and this.
            None => "nothing: it was released".to_owned(),
        };
        Answer::Why { bead, missing }
    }

    fn reload(&self, key: &BeadKey, info: &BeadInfo<'_, G>) -> Result<Answer, Refusal> {
        let refused = |problem: String| Refusal::NotReloaded { bead: key.clone(), problem };
        let renew = self.renew.as_ref().ok_or_else(|| refused("this program reloads nothing".to_owned()))?;
        let guest = renew(info.id, info.guest).map_err(refused)?;
        self.feed.broker().reload(info.bead, guest);
        Ok(Answer::Reloaded { bead: info.id.into() })
    }
}
