//! Who is told of events: the callback the broker was built with, and whoever subscribed since.
//!
//! The list is copied on write, so that it is not locked while anybody is told, and a subscriber may subscribe or unsubscribe.
#![forbid(unsafe_code)]

use std::fmt;

use crate::{
    event::OnEvent,
    sync::{Arc, PlainMutex, plain_lock},
};

/// The list. Shared by the broker's events and by what was handed to subscribers, which may outlive them.
pub(crate) struct Subscribers {
    list: PlainMutex<List>,
}

struct List {
    /// Number of the next subscriber; never reused.
    next: u64,
    all: Arc<[(u64, OnEvent)]>,
}

impl Subscribers {
    /// A list of one, or of none.
    pub(crate) fn new(first: Option<OnEvent>) -> Arc<Self> {
        let all = first.into_iter().map(|callback| (0, callback)).collect();
        Arc::new(Subscribers { list: PlainMutex::new(List { next: 1, all }) })
    }

    /// Those to be told now, in the order in which they subscribed.
    pub(crate) fn all(&self) -> Arc<[(u64, OnEvent)]> {
        Arc::clone(&plain_lock(&self.list).all)
    }

    pub(crate) fn add(self: &Arc<Self>, callback: OnEvent) -> Subscription {
        let mut list = plain_lock(&self.list);
        let number = list.next;
        list.next += 1;
        list.all = list.all.iter().cloned().chain([(number, callback)]).collect();
        Subscription { number, subscribers: Arc::clone(self) }
    }

    fn remove(&self, number: u64) {
        let mut list = plain_lock(&self.list);
        let rest = list.all.iter().filter(|(other, _)| *other != number).cloned().collect();
        // Dropped without the lock: what a callback holds may unsubscribe in turn.
        let before = std::mem::replace(&mut list.all, rest);
        drop(list);
        drop(before);
    }
}

/// Keeps a callback [subscribed](crate::Broker::subscribe) until it is dropped. An event that is being delivered then may still
/// reach the callback after the drop.
pub struct Subscription {
    number: u64,
    subscribers: Arc<Subscribers>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.remove(self.number);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscription").field(&self.number).finish()
    }
}
