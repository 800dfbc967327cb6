//! A bead is invalidated, moved, reloaded or let go of, or another one comes and goes, at every moment of its life: by its owner, by a
//! callback, and by the compile itself.

mod common;

use std::{
    mem,
    sync::{Arc, Mutex},
};

use common::*;
use tierup_broker::{Bead, BeadId, Broker, CompileRequest, Event, InvalidateReason, Mode, Reason, Threshold, Transition};
use tierup_fake::{FakeCompiler, Guest, call};

const MODES: &[Mode] = &[
    Mode::Pump,
    #[cfg(feature = "threads")]
    Mode::Background,
];

/// What the other bead returns.
const OTHER: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Register,
    Invalidate,
    Move,
    Reload,
    Release,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// By its owner, after it was asked for.
    Queued,
    /// By the callback, when it is told that it was asked for.
    Requested,
    /// By the compile.
    Compiling,
    /// By the callback, when it is told that there is code.
    Installed,
    /// By its owner, who is about to enter the code.
    Running,
}

/// What is done when, and to what: once.
struct Stage {
    act: Act,
    moment: Moment,
    bead: Mutex<Option<(Broker<Guest>, Bead<Guest>)>>,
    acted: Mutex<bool>,
}

impl Stage {
    fn reach(&self, moment: Moment) {
        let mut bead = self.bead.lock().unwrap();
        let Some((broker, it)) = bead.as_ref() else { return };
        if moment != self.moment || mem::replace(&mut *self.acted.lock().unwrap(), true) {
            return;
        }
        match self.act {
            Act::Register => {
                let other = common::bead(broker, Guest::new(OTHER));
                broker.promote(other.as_ref(), TIER1, Reason::Forced);
            }
            Act::Invalidate => _ = broker.invalidate(it.as_ref(), InvalidateReason::Requested),
            Act::Move => assert!(broker.update_guest(it.as_ref(), Guest::new(1))),
            Act::Reload => assert!(broker.reload(it.as_ref(), Guest::new(2))),
            Act::Release => *bead = None,
        }
    }

    fn hear(&self, event: &Event) {
        match event.what {
            Transition::Requested(_) if event.bead.id == 0 => self.reach(Moment::Requested),
            Transition::Installed if event.bead.id == 0 => self.reach(Moment::Installed),
            _ => {}
        }
    }
}

fn play(mode: Mode, act: Act, moment: Moment) {
    let what = format!("{mode:?}: {act:?}, {moment:?}");
    let stage = Arc::new(Stage { act, moment, bead: Mutex::default(), acted: Mutex::default() });
    let compiler = FakeCompiler::new();
    let (hook, told) = (Arc::clone(&stage), Arc::clone(&stage));
    let compile = move |request: &CompileRequest<'_, Guest>| {
        if request.guest().value != OTHER {
            hook.reach(Moment::Compiling);
        }
    };
    let broker = Broker::builder().mode(mode).policy(Threshold { calls: 0 }).max_beads(64);
    let broker = broker.compiler(Hooked(compiler.clone(), compile)).on_event(Arc::new(move |event| told.hear(event)));
    let broker = broker.build().unwrap();
    let mut thread = broker.register_thread().unwrap();
    let bead = common::bead(&broker, Guest::new(1));
    let id: BeadId = bead.id();
    *stage.bead.lock().unwrap() = Some((broker.clone(), bead));
    let run = || stage.bead.lock().unwrap().as_ref().map(|(_, bead)| invoke(&thread, bead));
    assert_eq!(run(), Some(None), "{what}");
    stage.reach(Moment::Queued);
    wait_for(&what, || {
        broker.drain();
        moment == Moment::Running || *stage.acted.lock().unwrap()
    });
    if moment == Moment::Running {
        let code = stage.bead.lock().unwrap().as_ref().and_then(|(_, bead)| thread.on_invoke(bead.as_ref()));
        let entry = code.expect("it was compiled").address().as_ptr();
        stage.reach(Moment::Running);
        broker.prune();
        assert!(compiler.leases().outstanding() >= 1, "{what}: what is entered is not freed");
        // SAFETY: this thread has not been quiescent since.
        assert_eq!(unsafe { call(entry) }, 1, "{what}");
    }
    if act != Act::Release {
        let value = if act == Act::Reload { 2 } else { 1 };
        wait_for(&what, || {
            broker.drain();
            run() == Some(Some(value))
        });
    }
    assert_eq!(run().is_none(), act == Act::Release, "{what}");
    drop(stage.bead.lock().unwrap().take());
    broker.drain();
    thread.quiescent();
    wait_for(&what, || {
        broker.prune();
        (broker.stats().pending, broker.stats().beads, compiler.leases().outstanding()) == (0, 0, 0)
    });
    let next = common::bead(&broker, Guest::new(3));
    assert_ne!(next.id(), id, "{what}: an id is used again with another generation");
    wait_for(&what, || {
        broker.drain();
        invoke(&thread, &next) == Some(3)
    });
}

#[test]
fn anything_may_happen_at_any_moment() {
    use {Act::*, Moment::*};
    for &mode in MODES {
        for act in [Register, Invalidate, Move, Reload, Release] {
            for moment in [Queued, Requested, Compiling, Installed, Running] {
                play(mode, act, moment);
            }
        }
    }
}
