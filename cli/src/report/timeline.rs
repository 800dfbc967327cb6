//! The events of a run, kept in order.

use std::sync::{Arc, Mutex, PoisonError};

use tierup::Event;

/// Records what the broker tells. Cloning shares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline(Arc<Mutex<Vec<Event>>>);

impl Timeline {
    /// What to give the broker. Called by compile workers only, so the lock is no interpreter thread's concern.
    pub(crate) fn recorder(&self) -> Arc<dyn Fn(&Event) + Send + Sync> {
        let timeline = self.clone();
        Arc::new(move |event| timeline.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone()))
    }

    /// What was recorded, by the time it happened.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        events.sort_by_key(|event| event.time);
        events
    }
}
