use super::*;

#[test]
fn requests_are_counted_where_they_are() {
    let pending = Pending::new(2);
    let tiers = [1, 2].map(Tier::new);
    let counts = || (pending.total(), tiers.map(|tier| pending.of(tier)));
    tiers.iter().chain(&tiers[1..]).for_each(|&tier| pending.asked(tier));
    assert_eq!(counts(), (3, [1, 2]));
    assert!(!pending.lowering(tiers[1], tiers[0], || false));
    assert_eq!(counts(), (3, [1, 2]));
    assert!(pending.lowering(tiers[1], tiers[0], || true));
    assert_eq!(counts(), (3, [2, 1]));
    pending.answered(tiers[0]);
    assert_eq!(counts(), (2, [1, 1]));
}

#[test]
fn who_answers_what_has_just_moved_takes_away_what_is_there() {
    let pending = Pending::new(2);
    let [low, high] = [1, 2].map(Tier::new);
    pending.asked(high);
    let answered_at_once = || {
        assert_eq!((pending.of(low), pending.total()), (1, 2), "of both tiers while it moves");
        pending.answered(low);
        assert_eq!((pending.of(low), pending.total()), (0, 1));
        true
    };
    assert!(pending.lowering(high, low, answered_at_once));
    assert_eq!(pending.total(), 0);
}

#[test]
fn a_request_that_moves_is_never_missed() {
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let pending = Pending::new(7);
        pending.asked(Tier::MAX);
        std::thread::scope(|scope| {
            let tiers = (1..Tier::MAX.index()).rev().map(Tier::new);
            scope.spawn(|| tiers.fold(Tier::MAX, |from, to| (pending.lowering(from, to, || true), to).1));
            while pending.of(Tier::new(1)) == 0 {
                assert!(pending.total() > 0);
            }
        });
    }
}
