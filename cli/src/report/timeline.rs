//! The events of a run, kept in order.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tierup::{Event, Transition};

/// Records what the broker tells. Cloning shares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    events: Mutex<Vec<Event>>,
    another: Condvar,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timeline {
    /// What to give the broker. Called by compile workers only, so the lock is no interpreter thread's concern.
    pub(crate) fn recorder(&self) -> Arc<dyn Fn(&Event) + Send + Sync> {
        let Self(told) = self.clone();
        Arc::new(move |event| {
            told.lock().push(event.clone());
            told.another.notify_all();
        })
    }

    /// What was recorded, by the time it happened, once it has so many installs: a worker may be about to tell of the last ones. It is
    /// waited for no longer than `patience`.
    pub(crate) fn events(&self, installs: u64, patience: Duration) -> Vec<Event> {
        let lacks = |events: &mut Vec<Event>| {
            let told = events.iter().filter(|event| matches!(event.what, Transition::Installed)).count();
            (told as u64) < installs
        };
        let waited = self.0.another.wait_timeout_while(self.0.lock(), patience, lacks);
        let mut events = waited.unwrap_or_else(PoisonError::into_inner).0.clone();
        events.sort_by_key(|event| event.time);
        events
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tierup_interp::{Config, Engine, Linker, Module, Store, TierMode};

    use super::*;

    /// `(module (func (export "f")))`
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x05\x01\x01f\0\0\x0a\x04\x01\x02\0\x0b";
    const LONG: Duration = Duration::from_secs(60);

    /// What a broker told of one install, and of what went before it.
    fn told() -> Vec<Event> {
        let timeline = Timeline::default();
        let config = Config { tier: TierMode::Baseline, on_event: Some(timeline.recorder()), ..Config::default() };
        let engine = Engine::new(config).expect("an engine");
        let module = Module::new(&engine, MODULE).expect("a module");
        let mut store = Store::new(&engine, ()).expect("a store");
        let instance = Linker::new().instantiate(&mut store, &module).expect("an instance");
        instance.func(&store, "f").expect("it is exported").call(&mut store, &[]).expect("it returns");
        engine.broker().drain();
        timeline.events(1, LONG)
    }

    #[test]
    fn installs_that_are_being_told_are_waited_for() {
        let told = told();
        let timeline = Timeline::default();
        let recorder = timeline.recorder();
        let events = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                told.iter().for_each(|event| recorder(event));
            });
            timeline.events(1, LONG)
        });
        assert_eq!(events.iter().filter(|event| matches!(event.what, Transition::Installed)).count(), 1, "{events:?}");
        let those = timeline.events(2, Duration::from_millis(1));
        assert_eq!(those.len(), told.len(), "and not for ever");
    }
}
