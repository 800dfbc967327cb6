use super::*;

const TIER: Tier = Tier::new(1);
const MS: Duration = Duration::from_millis(1);
const SMALL: Look = Look { work: 1_000, cost: Duration::from_micros(100), old: false };
const HUGE: Look = Look { work: 1_000, cost: Duration::from_millis(400), old: false };

fn ask(id: u32, reason: Reason, time: Duration) -> Ask {
    Ask::new(id, TIER, reason, time, 0)
}

fn queue_of(large_limit: usize, patience: Option<Duration>, asks: impl IntoIterator<Item = Ask>) -> Queue {
    let queue = Queue::new(patience, large_limit, 1);
    asks.into_iter().for_each(|ask| queue.push(ask));
    queue
}

/// Takes until there is nothing left, at `now`; every job ends at once.
fn order(queue: &Queue, now: Duration, look: impl Fn(&Ask) -> Option<Look>) -> Vec<u32> {
    std::iter::from_fn(|| queue.take(now, None, &look).best.map(|(ask, _)| ask.id)).collect()
}

#[test]
fn equals_go_in_order_and_forced_ones_first() {
    let reasons = [Reason::Budget, Reason::Budget, Reason::Forced, Reason::Budget, Reason::Forced];
    let queue = queue_of(9, None, (0..).zip(reasons).map(|(id, reason)| ask(id, reason, MS * id)));
    assert_eq!(order(&queue, MS * 5, |_| Some(Look { work: 0, cost: MS, old: false })), [2, 4, 0, 1, 3]);
}

#[test]
fn what_was_given_up_is_compiled_again_before_everything_else() {
    let reasons = [Reason::Budget, Reason::Forced, Reason::Deopt, Reason::Forced, Reason::Deopt];
    let queue = queue_of(9, None, (0..).zip(reasons).map(|(id, reason)| ask(id, reason, MS * id)));
    assert_eq!(order(&queue, MS * 5, |_| Some(HUGE)), [2, 4, 1, 3, 0]);
}

#[test]
fn what_has_done_much_work_is_never_stale() {
    let queue = queue_of(9, Some(MS), (0..2).map(|id| ask(id, Reason::Budget, MS)));
    let taken = queue.take(MS * 100, None, |ask| Some(Look { work: 0, old: ask.id == 1, ..SMALL }));
    assert_eq!(taken.best.map(|(ask, _)| ask.id), Some(1));
    assert_eq!(taken.stale.iter().map(|ask| ask.id).collect::<Vec<_>>(), [0]);
}

#[test]
fn places_are_told() {
    let reasons = [Reason::Budget, Reason::Forced, Reason::Budget];
    let queue = queue_of(9, None, (0..).zip(reasons).map(|(id, reason)| ask(id, reason, MS)));
    let look = |ask: &Ask| Some(if ask.id == 2 { Look { work: 9_000, ..SMALL } } else { SMALL });
    let ahead = |id| queue.standing(MS * 2, |ask| ask.id == id, look).map(|standing| (standing.ahead, standing.of));
    assert_eq!([ahead(0), ahead(1), ahead(2), ahead(3)], [Some((2, 3)), Some((0, 3)), Some((1, 3)), None]);
    assert_eq!(order(&queue, MS * 2, look), [1, 2, 0], "and so they are taken");
}

#[test]
fn a_huge_job_goes_after_small_ones_that_came_later() {
    let queue = queue_of(9, None, (0..10).map(|id| ask(id, Reason::Budget, MS * id)));
    assert_eq!(order(&queue, MS * 10, |ask| Some(if ask.id == 0 { HUGE } else { SMALL })).last(), Some(&0));
}

#[test]
fn what_became_hotter_while_it_waited_goes_first() {
    let queue = queue_of(9, None, (0..10).map(|id| ask(id, Reason::Budget, MS)));
    assert_eq!(order(&queue, MS * 3, |ask| Some(if ask.id == 7 { Look { work: 9_000, ..SMALL } } else { SMALL }))[0], 7);
}

#[test]
fn the_best_of_ten_thousand_is_found_again_when_all_are_scored() {
    let count = if cfg!(miri) { 100 } else { 10_000 };
    let queue = queue_of(9, None, (0..count).map(|id| ask(id, Reason::Budget, MS)));
    assert_eq!(queue.take(MS, None, |_| Some(SMALL)).best.map(|(ask, _)| ask.id), Some(0));
    let hot_now = |ask: &Ask| Some(if ask.id == count - 1 { Look { work: 1 << 20, ..SMALL } } else { SMALL });
    assert_eq!(queue.take(MS, None, hot_now).best.map(|(ask, _)| ask.id), Some(1), "not looked at yet");
    assert_eq!(queue.take(MS + RESCORE, None, hot_now).best.map(|(ask, _)| ask.id), Some(count - 1));
    let mut rest = order(&queue, MS * 2 + RESCORE, |_| Some(SMALL));
    rest.sort_unstable();
    assert!(rest.iter().copied().eq(2..count - 1), "none lost, none twice");
}

#[test]
fn withdrawn_requests_are_thrown_out() {
    let queue = queue_of(9, None, [Reason::Budget, Reason::Forced].map(|reason| ask(3, reason, MS)));
    assert!(queue.take(MS, None, |_| None).best.is_none());
    assert!(queue.take_all().is_empty());
}

#[test]
fn one_place_is_kept_free_of_large_jobs() {
    let huge = |_: &Ask| Some(HUGE);
    for reason in [Reason::Budget, Reason::Forced] {
        let queue = queue_of(1, None, (0..3).map(|id| ask(id, reason, MS)));
        let first = queue.take(MS, None, huge).best;
        assert_eq!(first.as_ref().map(|(ask, _)| ask.id), Some(0));
        assert!(queue.take(MS, None, huge).best.is_none(), "the second large one waits");
        queue.push(ask(9, Reason::Budget, MS * 9));
        let look = |ask: &Ask| Some(if ask.id == 9 { SMALL } else { HUGE });
        assert_eq!(queue.take(MS * 9, None, look).best.map(|(ask, _)| ask.id), Some(9), "a small one does not");
        drop(first);
        assert_eq!(order(&queue, MS * 9, huge), [1, 2]);
    }
}

#[test]
fn large_jobs_of_higher_tiers_take_no_place_from_lower_ones() {
    let huge = |_: &Ask| Some(HUGE);
    let second = |id| Ask::new(id, Tier::new(2), Reason::Budget, MS, 0);
    let queue = queue_of(1, None, [second(0)]);
    let slow = queue.take(MS, None, huge).best;
    assert!(slow.is_some());
    queue.push(second(1));
    queue.push(ask(2, Reason::Budget, MS * 2));
    queue.push(ask(3, Reason::Budget, MS * 3));
    let quick = queue.take(MS * 3, None, huge).best;
    assert_eq!(quick.as_ref().map(|(ask, _)| ask.id), Some(2));
    assert!(queue.take(MS * 3, None, huge).best.is_none(), "one at a time of each");
    drop(slow);
    assert!(queue.take(MS * 3, None, huge).best.is_none(), "a large job of a lower tier takes a place from those of higher ones");
    drop(quick);
    assert_eq!(order(&queue, MS * 3, huge), [1, 3]);
}

#[test]
fn requests_of_functions_that_went_cold_are_handed_back() {
    let patience = MS * 50;
    let queue = queue_of(9, Some(patience), (0..3).map(|id| ask(id, Reason::Budget, MS)));
    queue.push(ask(3, Reason::Forced, MS));
    let look = |work: u64| move |ask: &Ask| Some(Look { work: if ask.id == 1 { work } else { 0 }, ..SMALL });
    assert_eq!(queue.take(MS * 30, None, look(100)).best.map(|(ask, _)| ask.id), Some(3));
    assert_eq!(queue.take(MS * 30, None, look(100)).best.map(|(ask, _)| ask.id), Some(1), "the hot one");
    let taken = queue.take(MS * 60, None, look(100));
    assert!(taken.best.is_none());
    assert_eq!(taken.stale.iter().map(|ask| ask.id).collect::<Vec<_>>(), [0, 2]);
}

/// Of many requests for one tier and one for another, the other's worker finds that one, wherever it lies.
#[test]
fn who_compiles_for_one_tier_takes_nothing_else() {
    let other = Tier::new(2);
    let count = if cfg!(miri) { 50 } else { 1_000 };
    let cold = |ask: &Ask| Some(if ask.target.tier == other { Look { work: 0, ..HUGE } } else { SMALL });
    for reason in [Reason::Budget, Reason::Forced] {
        let queue = queue_of(1, None, (0..count).map(|id| ask(id, reason, MS)));
        queue.push(Ask::new(count, other, reason, MS, 0));
        assert_eq!(queue.take(MS, None, cold).best.map(|(ask, _)| ask.id), Some(0), "the window is full of the others");
        let large = queue.take(MS, Some(other), cold).best;
        assert_eq!(large.as_ref().map(|(ask, _)| ask.id), Some(count));
        assert!(queue.take(MS, Some(other), cold).best.is_none());
        queue.push(ask(count + 1, Reason::Budget, MS));
        let huge = |ask: &Ask| (ask.id > count).then_some(HUGE);
        assert!(queue.take(MS, None, huge).best.is_some(), "a large job of a dedicated worker takes no place of the others");
        drop(large);
    }
}
