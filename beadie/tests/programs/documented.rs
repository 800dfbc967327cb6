// The patterns that the incumbent documents, as programs. Included twice by `same.rs`: `api` is one crate or the other.

use std::{
    ptr::null_mut,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{compiled_tier, when};
use api::{
    AlwaysRecompilePolicy, BackendAdapter, BailoutInfo, Bead, BeadState, Beadie, Broker, Chain, CompileError, DeoptDecision,
    DeoptPolicy, HotnessPolicy, JitBackend, OsrBuild, OsrCompileResult, OsrEntry, ReloadOutcome, SubmitResult,
    ThresholdDeoptPolicy, ThresholdPolicy, TieredAdapter, TieredDeoptPolicy, TieredPolicy,
};

fn code(number: usize) -> *mut () {
    std::ptr::without_provenance_mut(number)
}

/// Invokes until there is code, and says how many invocations were interpreted before it was asked for.
fn invoke_until_compiled<P: HotnessPolicy>(beadie: &Beadie<P>, bead: &Arc<Bead>, number: usize) -> usize {
    let asked = Arc::new(AtomicUsize::new(0));
    for call in 1.. {
        let seen = Arc::clone(&asked);
        if let Some(found) = beadie.on_invoke(bead, move |_| {
            seen.store(call, Ordering::SeqCst);
            code(number)
        }) {
            assert_eq!(found, code(number));
            return asked.load(Ordering::SeqCst);
        }
        if bead.state() != BeadState::Interpreted {
            when("compiled", || bead.state() == BeadState::Compiled);
        }
    }
    unreachable!()
}

#[test]
fn a_function_is_compiled_at_its_threshold() {
    for threshold in [1, 2, 5, 63, 64, 65, 1_000, 5_000] {
        let beadie = Beadie::with_policy(ThresholdPolicy::new(threshold));
        let bead = beadie.register(null_mut(), None);
        assert_eq!(invoke_until_compiled(&beadie, &bead, 0x10), threshold as usize);
    }
    assert_eq!(invoke_until_compiled(&Beadie::new(), &Beadie::new().register(null_mut(), None), 0x10), 1_000);
}

#[test]
fn policies_say_when() {
    let ahead = ThresholdPolicy::new(1_000).queue_ahead(990);
    assert_eq!((ahead.threshold, ahead.queue_at()), (1_000, 10));
    let beadie = Beadie::with_policy(ahead);
    assert_eq!(invoke_until_compiled(&beadie, &beadie.register(null_mut(), None), 0x10), 10);
    let tiered = TieredPolicy::default();
    assert_eq!([499, 500, 10_000].map(|calls| tiered.tier(calls)), [None, Some(1), Some(2)]);
    let beadie = Beadie::with_policy(tiered);
    assert_eq!(invoke_until_compiled(&beadie, &beadie.register(null_mut(), None), 0x10), 500);

    struct EveryTen;
    impl HotnessPolicy for EveryTen {
        fn should_promote(&self, invocations: u32) -> bool {
            invocations / 10 >= 3
        }
    }
    let beadie = Beadie::with_policy_and_capacity(EveryTen, 4);
    assert_eq!(invoke_until_compiled(&beadie, &beadie.register(null_mut(), None), 0x10), 30);
}

#[test]
fn a_bead_goes_through_its_states() {
    let beadie = Beadie::new();
    let (first, second) = (beadie.register(code(1), None), beadie.register(code(2), None));
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    assert_eq!((first.state(), first.compiled(), first.generation()), (BeadState::Interpreted, None, 0));
    let seen = Arc::clone(&gate);
    assert!(
        beadie
            .submit(&first, move |bead| {
                drop(seen.lock());
                bead.core_handle()
            })
            .is_accepted()
    );
    when("compiling", || first.state() == BeadState::Compiling);
    assert_eq!(beadie.submit(&second, |bead| bead.core_handle()), SubmitResult::Accepted);
    assert_eq!(second.state(), BeadState::Queued);
    assert_eq!(beadie.submit(&second, |_| unreachable!()), SubmitResult::AlreadyQueued);
    assert_eq!(beadie.submit(&first, |_| unreachable!()), SubmitResult::AlreadyQueued);
    assert_eq!(first.compiled(), None);
    // The function moves while it is being compiled.
    first.update_core(code(3));
    drop(closed);
    when("both compiled", || [&first, &second].iter().all(|bead| bead.state() == BeadState::Compiled));
    assert_eq!((first.compiled(), second.compiled()), (Some(code(3)), Some(code(2))));
    assert_eq!(beadie.submit(&first, |_| unreachable!()), SubmitResult::AlreadyQueued);
}

#[test]
fn invalidated_beads_are_told_once_and_pruned() {
    let told = Arc::new(AtomicUsize::new(0));
    let beadie = Beadie::new();
    let seen = Arc::clone(&told);
    let dead = beadie.register(null_mut(), Some(Box::new(move || seen.store(seen.load(Ordering::SeqCst) + 1, Ordering::SeqCst))));
    let live = beadie.register(null_mut(), None);
    assert!(dead.eager_install(code(1)) && live.eager_install(code(2)));
    dead.invalidate();
    dead.invalidate();
    assert_eq!((told.load(Ordering::SeqCst), dead.state(), dead.is_valid()), (1, BeadState::Deopt, false));
    assert_eq!((dead.compiled(), beadie.on_invoke(&dead, |_| unreachable!())), (None, None));
    assert_eq!((dead.reload(), dead.eager_install(code(3))), (ReloadOutcome::Dead, false));
    assert_eq!(beadie.chain_len(), 2);
    beadie.prune();
    assert_eq!((beadie.chain_len(), beadie.chain().is_empty()), (1, false));
    let mut left = Vec::new();
    beadie.walk(|bead| left.push(Arc::clone(bead)));
    assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &live));
}

#[test]
fn a_chain_is_walked_from_the_latest() {
    let chain = Chain::new();
    let beads: Vec<_> = (1..2_000).map(|number| chain.push(code(number), None)).collect();
    beads.iter().step_by(2).for_each(|bead| bead.invalidate());
    chain.prune();
    let mut seen = Vec::new();
    chain.walk(|bead| seen.push(bead.core_handle().addr()));
    assert_eq!(seen, (1..2_000).rev().filter(|number| number % 2 == 0).collect::<Vec<_>>());
    assert_eq!((chain.len(), Chain::default().len()), (999, 0));
}

#[test]
fn a_reload_compiles_afresh_without_counting_again() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(100));
    let (bead, cold) = (beadie.register(null_mut(), None), beadie.register(null_mut(), None));
    assert_eq!(invoke_until_compiled(&beadie, &bead, 1), 100);
    assert_eq!(beadie.reload_matching(|bead| bead.invocation_count() >= 100), 1);
    assert_eq!(
        (bead.state(), bead.compiled(), cold.reload()),
        (BeadState::Interpreted, None, ReloadOutcome::AlreadyInterpreting)
    );
    assert_eq!(invoke_until_compiled(&beadie, &bead, 2), 1, "the invocation after a reload asks at once");
    assert_eq!(beadie.reload_all(), 1);
    assert!(ReloadOutcome::Reverted.will_recompile() && !ReloadOutcome::Dead.will_recompile());
}

#[test]
fn a_reload_discards_what_is_being_compiled() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let bead = beadie.register(null_mut(), None);
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let seen = Arc::clone(&gate);
    beadie.on_invoke(&bead, move |_| {
        drop(seen.lock());
        code(1)
    });
    when("compiling", || bead.state() == BeadState::Compiling);
    assert_eq!((bead.reload(), bead.reload_pending()), (ReloadOutcome::PendingCurrentCompile, true));
    drop(closed);
    when("discarded", || bead.state() == BeadState::Interpreted);
    assert_eq!((bead.compiled(), bead.reload_pending()), (None, false));
    assert_eq!(invoke_until_compiled(&beadie, &bead, 2), 1);
}

#[test]
fn swapped_code_is_handed_back() {
    let beadie = Beadie::new();
    let bead = beadie.register(null_mut(), None);
    assert!(bead.swap_compiled(code(9)).is_none());
    assert!(bead.eager_install(code(1)));
    for number in 2..5 {
        let swapped = bead.swap_compiled(code(number)).unwrap();
        assert_eq!((swapped.old_code, swapped.new_generation), (code(number - 1), number as u64 - 1));
        assert_eq!((bead.compiled(), bead.generation()), (Some(code(number)), number as u64 - 1));
    }
    let other = beadie.register(null_mut(), None);
    let swapped = beadie.swap_matching(|bead| if Arc::ptr_eq(bead, &other) { null_mut() } else { code(7) });
    assert_eq!(swapped.iter().map(|swapped| swapped.old_code).collect::<Vec<_>>(), [code(4)]);
}

#[test]
fn running_frames_find_their_loops() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(3));
    let bead = beadie.register(null_mut(), None);
    let entries = || vec![OsrEntry { site: 42, code: code(0xb) }, OsrEntry { site: 7, code: code(0xc) }];
    for _ in 0..3 {
        assert_eq!(bead.osr_entry(7), None);
        beadie.on_invoke_osr(&bead, move |_| OsrCompileResult { entry: code(1), osr: entries() });
    }
    when("compiled", || bead.compiled().is_some());
    assert_eq!([7, 8, 42].map(|site| bead.osr_entry(site)), [Some(code(0xc)), None, Some(code(0xb))]);
    bead.swap_compiled_with_osr(code(2), vec![OsrEntry { site: 8, code: code(0xd) }]).unwrap();
    assert_eq!([7, 8].map(|site| bead.osr_entry(site)), [None, Some(code(0xd))]);
    bead.swap_compiled(code(3)).unwrap();
    assert_eq!(bead.osr_entry(8), None);
    bead.reload();
    let broker = Broker::with_capacity(8);
    assert!(broker.submit_osr(Arc::clone(&bead), move |_| OsrCompileResult { entry: code(4), osr: entries() }).is_accepted());
    when("compiled", || bead.compiled().is_some());
    assert_eq!(bead.osr_entry(42), Some(code(0xb)));
}

/// A compiler of numbers.
#[derive(Clone, Default)]
struct Doubler {
    compiled: Arc<AtomicUsize>,
}

impl JitBackend for Doubler {
    type FunctionDef = usize;
    type Error = CompileError;

    fn compile(&self, _: &Arc<Bead>, def: usize) -> Result<*mut (), CompileError> {
        self.compiled.fetch_add(1, Ordering::SeqCst);
        if def == 0 { Err(CompileError::new("nothing to double")) } else { Ok(code(2 * def)) }
    }
}

#[test]
fn an_adapter_compiles_definitions() {
    let adapter = BackendAdapter::with_policy(Doubler::default(), ThresholdPolicy::new(2));
    let bound = adapter.register(code(21), None);
    assert_eq!(adapter.on_invoke(&bound, |bead| bead.core_handle().addr()), None);
    assert_eq!(adapter.on_invoke(&bound, |bead| bead.core_handle().addr()), None);
    when("compiled", || bound.bead().compiled().is_some());
    assert_eq!(adapter.on_invoke(&bound.clone(), |_| unreachable!()), Some(code(42)));
    let ahead = adapter.register(null_mut(), None);
    assert_eq!(ahead.compile(5).unwrap().compiled(), Some(code(10)));
    assert_eq!(ahead.compile(0).err().unwrap().to_string(), "nothing to double");
    assert_eq!(ahead.backend().compiled.load(Ordering::SeqCst), adapter.backend().compiled.load(Ordering::SeqCst));
    let looping = adapter.register(null_mut(), None);
    for _ in 0..2 {
        adapter.on_invoke_osr(&looping, |_| OsrBuild { def: 4, osr: vec![OsrEntry { site: 1, code: code(9) }] });
    }
    when("compiled", || looping.bead().compiled().is_some());
    assert_eq!(looping.bead().osr_entry(1), Some(code(9)));
    assert_eq!(looping.swap_compiled_with_osr(code(6), Vec::new()).unwrap().old_code, code(8));
    assert_eq!(looping.swap_compiled(code(7)).unwrap().old_code, code(6));
    assert_eq!((looping.reload(), adapter.reload_all(), adapter.chain_len()), (ReloadOutcome::WillRecompile, 2, 3));
    assert_eq!((adapter.reload_matching(|_| true), adapter.beadie().chain_len()), (0, 3));
    adapter.prune();
}

fn policies(thresholds: &[u32]) -> Vec<Box<dyn HotnessPolicy>> {
    thresholds.iter().map(|&calls| Box::new(ThresholdPolicy::new(calls)) as Box<dyn HotnessPolicy>).collect()
}

#[test]
fn tiers_follow_each_other_at_their_thresholds() {
    let adapter = TieredAdapter::new(policies(&[3, 80, 1_500]));
    let bound = adapter.register(null_mut(), None);
    let asked = Arc::new(Mutex::new(Vec::new()));
    for call in 1..=2_000 {
        let seen = Arc::clone(&asked);
        let found = adapter.on_invoke(&bound, move |tier, _| {
            seen.lock().unwrap().push((tier, call));
            code(tier + 1)
        });
        assert_eq!(found, compiled_tier(call, &[3, 80, 1_500]).map(|tier| code(tier + 1)), "call {call}");
        when("answered", || bound.current_tier() == compiled_tier(call + 1, &[3, 80, 1_500]));
    }
    assert_eq!(*asked.lock().unwrap(), [(0, 3), (1, 80), (2, 1_500)]);
    assert!(bound.is_promoted_beyond(1) && bound.is_queued_for(2) && !bound.is_queued_for(0));
    assert_eq!((bound.generation(), bound.max_tier(), adapter.num_tiers(), adapter.chain_len()), (2, 2, 3, 1));
    assert_eq!(adapter.reload_all(), 1);
    assert_eq!(bound.current_tier(), None);
}

#[test]
fn a_tier_can_be_forced_and_left() {
    let adapter = TieredAdapter::with_deopt_policy(policies(&[1, u32::MAX]), TieredDeoptPolicy::new(1, 1));
    let bound = adapter.register(null_mut(), None);
    assert!(!adapter.force_promote(&bound, 1, |_| unreachable!()), "there is no code yet");
    adapter.on_invoke(&bound, |tier, _| code(tier + 1));
    when("compiled", || bound.current_tier() == Some(0));
    assert!(!adapter.force_promote(&bound, 0, |_| unreachable!()) && !adapter.force_promote(&bound, 2, |_| unreachable!()));
    assert!(adapter.force_promote(&bound, 1, |_| code(2)));
    when("promoted", || bound.current_tier() == Some(1));
    assert!(!adapter.force_promote(&bound, 1, |_| unreachable!()), "it was asked for");
    let info = BailoutInfo { guard_id: 1, pc_offset: 2, generation: bound.generation() };
    assert_eq!(adapter.on_bailout(&bound, info), DeoptDecision::RevertToTier1);
    assert_eq!((bound.max_tier(), bound.is_queued_for(1), bound.bead().bailout_count()), (0, false, 1));
    bound.reset_to_interpreter();
    assert_eq!((bound.max_tier(), bound.bead().state()), (1, BeadState::Interpreted));
    let mut walked = 0;
    adapter.walk(|_| walked += 1);
    adapter.prune();
    assert_eq!(walked, 1);
}

#[test]
fn bailouts_do_what_the_policy_says() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(1));
    let bead = beadie.register(null_mut(), None);
    let info = || BailoutInfo { guard_id: 0, pc_offset: 0, generation: 0 };
    let policy = ThresholdDeoptPolicy::new(2);
    for _ in 0..2 {
        assert!(bead.eager_install(code(1)));
        assert!(bead.on_bailout(info(), &policy).allows_recompile());
        assert_eq!(bead.state(), BeadState::Interpreted);
    }
    assert!(bead.eager_install(code(1)));
    assert!(bead.on_bailout(info(), &policy).is_terminal());
    assert!(bead.is_blacklisted() && !bead.eager_install(code(1)));
    assert_eq!((bead.bailout_count(), bead.recompile_after()), (3, 0));
    assert_eq!(beadie.on_invoke(&bead, |_| unreachable!()), None);
    assert_eq!(beadie.submit(&bead, |_| unreachable!()), SubmitResult::AlreadyQueued);
    assert_eq!(AlwaysRecompilePolicy.on_bailout(&bead, &info(), 99), DeoptDecision::Recompile);
}

#[test]
fn runtimes_that_count_by_themselves_submit() {
    let beadie = Beadie::with_policy(ThresholdPolicy::new(u32::MAX));
    let bead = Bead::new(null_mut(), None);
    for number in 1..=10 {
        assert_eq!(bead.tick(), (number, BeadState::Interpreted));
    }
    assert_eq!(bead.invocation_count(), 10);
    assert!(beadie.submit(&bead, |_| code(1)).is_accepted());
    when("compiled", || bead.compiled().is_some());
    assert_eq!(bead.tick(), (11, BeadState::Compiled));
}
