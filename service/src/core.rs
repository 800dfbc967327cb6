//! What all clients of one service share.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{inspect::Inspect, protocol::Farewell};

/// How long clients have to take their last lines once the service closes.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// What all clients of one service share.
pub(crate) struct Core {
    pub(crate) inspect: Arc<dyn Inspect>,
    /// Why the service is closing, once it is.
    pub(crate) closing: watch::Sender<Option<Farewell>>,
    /// Clients served at a time.
    pub(crate) clients: usize,
    /// Time a client has to say hello, and to take what is written to it.
    pub(crate) patience: Duration,
}

impl Core {
    /// Closes the service. The first reason is the one that is told.
    pub(crate) fn close(&self, why: Farewell) {
        self.closing.send_if_modified(|closing| {
            let first = closing.is_none();
            closing.get_or_insert(why);
            first
        });
    }
}

/// Waits until the service closes.
pub(crate) async fn closed(closing: &mut watch::Receiver<Option<Farewell>>) -> Farewell {
    // The sender is gone only when nobody is left to close anything.
    closing.wait_for(Option::is_some).await.ok().and_then(|why| *why).unwrap_or(Farewell::Closed)
}
