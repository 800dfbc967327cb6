//! Policies in a broker: what they are told about a bead is so, and what they say is done.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::*;
use tierup_broker::{
    BeadSpec, Broker, BrokerBuilder, CALL_WORK, Decision, HotnessPolicy, Mode, Modified, Modifiers, PolicyConfig, Reason, Rule,
    Rules, Sample, StartupDelay, Threshold, Tiered, WaitReason,
};
use tierup_fake::{Behaviour, FakeCompiler, Guest};

fn two_tiers(policy: impl HotnessPolicy + 'static) -> BrokerBuilder<Guest> {
    let builder = Broker::builder().mode(Mode::Sync).policy(policy).max_beads(1 << 10);
    builder.compiler(FakeCompiler::new()).compiler(FakeCompiler::new())
}

/// Every policy there is gets a function that does not stop to the highest tier.
#[test]
fn every_policy_promotes_what_stays_hot() {
    for name in PolicyConfig::NAMES {
        let broker = two_tiers(PolicyConfig::named(name).unwrap().build().unwrap()).build().unwrap();
        let thread = broker.register_thread().unwrap();
        let bead = bead(&broker, Guest::new(1));
        let reached = |tier| {
            (0..100_000).any(|_| {
                // A call and a loop of ten thousand operators' worth or more, in whatever tier: callers count for the fake compiler's code.
                thread.on_back_edge(bead.as_ref(), 0, many(10_000, 1_000_000) as u32);
                thread.on_invoke(bead.as_ref()).is_some_and(|code| code.tier() >= tier)
            })
        };
        assert!(reached(TIER1) && reached(TIER2), "{name}: {:?}", broker.why(bead.id()));
    }
}

/// Notes what it is told, and waits.
#[derive(Clone, Default)]
struct Listens(Arc<Mutex<Vec<Sample>>>);

impl HotnessPolicy for Listens {
    fn first_budget(&self, _: tierup_broker::Tier, _: u32) -> u32 {
        100 * CALL_WORK
    }

    fn decide(&self, sample: &Sample) -> Decision {
        self.0.lock().unwrap().push(*sample);
        match sample.next {
            TIER1 if sample.spent >= 300 * u64::from(CALL_WORK) => Decision::Promote { tier: TIER1, reason: Reason::Budget },
            _ => Decision::Wait { budget: 100 * CALL_WORK, reason: WaitReason::NotHot },
        }
    }
}

#[test]
fn samples_say_what_was_done_since_the_code_was_installed() {
    let listens = Listens::default();
    let broker = two_tiers(listens.clone()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    for _ in 0..310 {
        thread.on_invoke(bead.as_ref());
    }
    for _ in 0..110 {
        thread.on_invoke(bead.as_ref());
    }
    let samples = listens.0.lock().unwrap();
    let told: Vec<_> = samples.iter().map(|sample| (sample.tier.index(), sample.spent / u64::from(CALL_WORK))).collect();
    assert_eq!(told, [(0, 100), (0, 200), (0, 300), (1, 100)]);
    assert_eq!(samples[3].work, 400 * u64::from(CALL_WORK), "all tiers together");
    assert!(samples[0].rate == 0.0 && samples[1].rate > 0.0, "known from the second time on");
    let outlook: Vec<_> = samples[0].outlooks().map(|(tier, outlook)| (tier, outlook.speedup > 1.0, outlook.cost > 0)).collect();
    assert_eq!(outlook, [(TIER1, true, true), (TIER2, true, true)]);
    assert!(samples[3].outlooks().all(|(tier, _)| tier == TIER2), "only what is above");
    assert!(samples.iter().all(|sample| sample.loop_work == 0));
}

#[test]
fn samples_tell_loops_from_calls() {
    let listens = Listens::default();
    let broker = two_tiers(listens.clone()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    for _ in 0..300 {
        thread.on_invoke(bead.as_ref());
        for _ in 0..3 {
            thread.on_back_edge(bead.as_ref(), 0, CALL_WORK);
        }
    }
    let samples = listens.0.lock().unwrap();
    let sample = samples.iter().rfind(|sample| sample.tier.is_interpreter()).unwrap();
    let share = sample.loop_work as f64 / sample.spent as f64;
    assert!((0.5..=1.0).contains(&share), "three quarters of the work, taken in slices: {share}");
}

#[test]
fn the_load_is_what_waits_for_the_tier() {
    let listens = Listens::default();
    let compiler = FakeCompiler::new();
    let broker = Broker::builder().mode(Mode::Pump).policy(listens.clone()).compiler(compiler).max_beads(64).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let others: Vec<_> = (0..9).map(|value| bead(&broker, Guest::new(value))).collect();
    for other in &others {
        broker.promote(other.as_ref(), TIER1, Reason::Forced);
    }
    let bead = bead(&broker, Guest::new(1));
    times(101, || thread.on_invoke(bead.as_ref()));
    assert_eq!(listens.0.lock().unwrap().last().map(|sample| (sample.load, sample.queued)), Some((9.0, 9)));
    broker.drain();
    times(101, || thread.on_invoke(bead.as_ref()));
    assert_eq!(listens.0.lock().unwrap().last().map(|sample| sample.load), Some(0.0));
}

#[test]
fn nothing_is_compiled_while_new_functions_are_called() {
    let modifiers = Modifiers { startup_delay: Some(StartupDelay { ms: 60 }), ..Modifiers::default() };
    let broker = two_tiers(Modified::new(Threshold { calls: 10 }, modifiers)).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let hot = bead(&broker, Guest::new(1));
    let start = Instant::now();
    let mut new = Vec::new();
    while start.elapsed() < Duration::from_millis(150) {
        new.push(bead(&broker, Guest::new(2)));
        assert_eq!(invoke(&thread, new.last().unwrap()), None);
        times(100, || invoke(&thread, &hot));
        if thread.on_invoke(hot.as_ref()).is_some() {
            // Only if this test was not run for so long.
            assert!(start.elapsed() > Duration::from_millis(60));
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    std::thread::sleep(Duration::from_millis(61));
    assert!(calls_until_native(&thread, &hot, 100_000).is_some(), "once it is quiet");
}

#[test]
fn efficiency_mode_is_passed_on() {
    let listens = Listens::default();
    let broker = two_tiers(listens.clone()).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    for on in [true, false] {
        broker.set_efficiency_mode(on);
        times(101, || thread.on_invoke(bead.as_ref()));
        assert_eq!(listens.0.lock().unwrap().last().map(|sample| sample.efficiency), Some(on));
    }
}

fn ruled(rules: Vec<Rule>) -> Broker<Guest> {
    let config =
        PolicyConfig { rules: Rules(rules), ..PolicyConfig::new(tierup_broker::PolicyChoice::Tiered(Tiered::new(10, 10))) };
    two_tiers(config.build().unwrap()).describe(|guest| format!("f{}", guest.value)).build().unwrap()
}

fn rule(function: &str, stop_at_tier: Option<u8>, scale: Option<f64>) -> Rule {
    Rule { function: function.to_owned(), stop_at_tier, scale, why: None }
}

#[test]
fn rules_limit_tiers_and_scale_thresholds() {
    let broker = ruled(vec![rule("f1", Some(0), None), rule("f2", Some(1), None), rule("f3", None, Some(3.0))]);
    let thread = broker.register_thread().unwrap();
    let [interpreted, baseline, slow, free] = [1, 2, 3, 4].map(|value| bead(&broker, Guest::new(value)));
    assert_eq!(calls_until_native(&thread, &interpreted, 1_000), None);
    assert_eq!(calls_until_native(&thread, &slow, 1_000), Some(30));
    assert_eq!(calls_until_native(&thread, &free, 1_000), Some(10));
    let top = |bead| {
        times(1_000, || invoke(&thread, bead));
        broker.bead_stats(bead.as_ref()).unwrap().tier
    };
    assert_eq!((top(&baseline), top(&free)), (TIER1, TIER2));
    assert!(broker.compile_now(interpreted.as_ref(), TIER1).is_err() && broker.compile_now(baseline.as_ref(), TIER2).is_err());
    broker.reload(interpreted.as_ref(), Guest::new(1));
    assert_eq!(calls_until_native(&thread, &interpreted, 1_000), None, "whatever its body is");
}

#[test]
fn rules_are_looked_up_again_when_a_name_is_known() {
    let broker = ruled(vec![rule("f1", Some(0), None)]);
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(2));
    broker.update_guest(bead.as_ref(), Guest::new(1));
    assert!(broker.apply_rules(bead.as_ref()));
    assert_eq!(calls_until_native(&thread, &bead, 1_000), None);
    broker.update_guest(bead.as_ref(), Guest::new(2));
    assert!(broker.apply_rules(bead.as_ref()));
    assert_eq!(calls_until_native(&thread, &bead, 1_000), Some(10));
}

#[test]
fn a_limit_may_be_set_later_and_taken_back() {
    let broker = ruled(Vec::new());
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    times(100, || invoke(&thread, &bead));
    let tier = || broker.bead_stats(bead.as_ref()).unwrap().tier;
    assert_eq!(tier(), TIER2);
    assert!(broker.limit_tier(bead.as_ref(), TIER1));
    times(100, || invoke(&thread, &bead));
    assert_eq!(tier(), TIER1);
    assert!(broker.limit_tier(bead.as_ref(), tierup_broker::Tier::MAX));
    times(100, || invoke(&thread, &bead));
    assert_eq!(tier(), TIER2);
    let [other, _] = [ruled(Vec::new()), ruled(Vec::new())];
    assert!(!other.limit_tier(bead.as_ref(), TIER1) && !other.scale_thresholds(bead.as_ref(), 2.0));
    assert!(!broker.scale_thresholds(bead.as_ref(), 0.0) && !broker.scale_thresholds(bead.as_ref(), f64::NAN));
}

#[test]
fn a_compile_under_way_above_a_new_limit_is_not_installed() {
    let broker = Broker::builder()
        .mode(Mode::Pump)
        .policy(Threshold { calls: 0 })
        .compiler(FakeCompiler::new())
        .max_beads(16)
        .build()
        .unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    invoke(&thread, &bead);
    assert!(broker.limit_tier(bead.as_ref(), tierup_broker::Tier::INTERPRETER));
    broker.drain();
    assert_eq!(invoke(&thread, &bead), None);
    assert_eq!(broker.stats().tiers[0].installed, 0);
    assert_eq!(broker.stats().pending, 0);
}

#[test]
fn what_failed_comes_out_as_rules_and_goes_in_again() {
    let run = |rules| {
        let broker = ruled(rules);
        let thread = broker.register_thread().unwrap();
        let beads = [Guest::behaving(1, Behaviour::Terminal), Guest::behaving(2, Behaviour::Panics), Guest::new(3)];
        let beads = beads.map(|guest| broker.register(guest, BeadSpec { size: 10 }).unwrap());
        for bead in &beads {
            times(100, || invoke(&thread, bead));
        }
        let compiled = broker.stats().tiers[0].compiled;
        (broker.do_not_compile(), compiled)
    };
    let (rules, compiled) = run(Vec::new());
    let told: Vec<_> = rules.0.iter().map(|rule| (rule.function.as_str(), rule.stop_at_tier, rule.why.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("f1", Some(0), Some("compiling failed: not supported")),
            ("f2", Some(0), Some("compiling failed: the compiler panicked"))
        ]
    );
    assert_eq!(compiled, 3);
    assert_eq!(run(rules.0), (Rules::default(), 1), "they are not tried again");
}

#[test]
fn what_is_dropped_and_what_is_asked_twice_is_counted() {
    let broker = Broker::builder()
        .mode(Mode::Pump)
        .policy(Threshold { calls: 0 })
        .compiler(FakeCompiler::new())
        .max_beads(16)
        .build()
        .unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    invoke(&thread, &bead);
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    broker.promote(bead.as_ref(), TIER1, Reason::Forced);
    let tier = || broker.stats().tiers.remove(0);
    assert_eq!((tier().deduped, tier().pending), (2, 1));
    broker.reload(bead.as_ref(), Guest::new(2));
    assert_eq!((tier().dropped, tier().stale, tier().pending), (1, 0, 0));
}

/// Waits for so long on the clock, so that a call that is interrupted takes no longer. By Miri's clock each look at it takes long.
fn spin(time: Duration) {
    if cfg!(miri) {
        return std::thread::sleep(time);
    }
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A speedup of five is planted; timed calls of both tiers find it.
#[test]
fn a_planted_speedup_is_measured() {
    let broker = two_tiers(Threshold { calls: u32::MAX }).build().unwrap();
    let thread = broker.register_thread().unwrap();
    let bead = bead(&broker, Guest::new(1));
    let call = || {
        let code = thread.on_invoke(bead.as_ref());
        let time = Duration::from_micros(if code.is_some() { 10 } else { 50 } * many(1, 1_000) as u64);
        thread.timed(bead.as_ref(), code, || spin(time));
    };
    (0..64 * many(40, 24)).for_each(|_| call());
    assert_eq!(broker.bead_stats(bead.as_ref()).unwrap().speedup, None, "only one tier was timed");
    broker.compile_now(bead.as_ref(), TIER1).unwrap();
    (0..64 * many(40, 24)).for_each(|_| call());
    let speedup = broker.bead_stats(bead.as_ref()).unwrap().speedup.unwrap();
    assert!((speedup.factor - 5.0).abs() < 1.0, "planted 5, measured {}", speedup.factor);
    assert_eq!((speedup.from, speedup.to), (tierup_broker::Tier::INTERPRETER, TIER1));
    let tier = broker.stats().tiers.remove(0);
    assert!((tier.speedup - 5.0).abs() < 1.0 && tier.timed_functions == 1, "what policies reckon with: {}", tier.speedup);
}
