use super::*;

#[test]
fn requests_are_counted_where_they_are() {
    let pending = Pending::new(2);
    let tiers = [1, 2].map(Tier::new);
    let counts = || (pending.total(), tiers.map(|tier| pending.of(tier)));
    tiers.iter().chain(&tiers[1..]).for_each(|&tier| pending.asked(tier));
    assert_eq!(counts(), (3, [1, 2]));
    pending.lowered(tiers[1], tiers[0]);
    assert_eq!(counts(), (3, [2, 1]));
    pending.answered(tiers[0]);
    assert_eq!(counts(), (2, [1, 1]));
}

#[test]
fn a_request_that_moves_is_never_missed() {
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let pending = Pending::new(7);
        pending.asked(Tier::MAX);
        std::thread::scope(|scope| {
            let tiers = (1..Tier::MAX.index()).rev().map(Tier::new);
            scope.spawn(|| tiers.fold(Tier::MAX, |from, to| (pending.lowered(from, to), to).1));
            while pending.of(Tier::new(1)) == 0 {
                assert!(pending.total() > 0);
            }
        });
    }
}
