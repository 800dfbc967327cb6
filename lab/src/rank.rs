//! Whether a replay ranks policies as live runs do: Kendall's tau over the pairs that live runs tell apart.
//!
//! A live time is known as an interval. Two policies whose intervals overlap are not told apart, and a replay cannot be wrong about them. Of the
//! other pairs some are ranked alike by the replay (`c`), some the other way round (`d`): tau is `(c − d) / (c + d)`, 1 where all agree. A tie of the
//! replay, to within a tenth of a percent, counts as neither alike nor the other way round, but as a pair.

/// A time, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// No less.
    pub low: f64,
    /// No more.
    pub high: f64,
}

impl Interval {
    /// Where the median is with a confidence of 95 %, whatever the times' distribution: from the `k`th smallest to the `k`th largest of `n`, with the
    /// largest `k` for which no more than `k - 1` of `n` fair coins show heads with a probability of 2.5 % at most (the sign test's interval;
    /// Hahn and Meeker, *Statistical Intervals*, 1991, §5.2). Fewer than six times cannot be that sure, and give the smallest and the largest. `None`
    /// if there are none.
    pub fn of_median(times: &[f64]) -> Option<Self> {
        let mut times = times.to_vec();
        times.sort_by(f64::total_cmp);
        let last = times.len().checked_sub(1)?;
        let inward = inward(times.len());
        Some(Interval { low: times[inward], high: times[last - inward] })
    }

    fn is_below(self, other: Self) -> bool {
        self.high < other.low
    }
}

/// How many of `n` sorted times lie on either side of the interval.
fn inward(n: usize) -> usize {
    /// From here on the normal distribution is close enough, and `2^-n` soon no number.
    const MANY: usize = 1000;
    if n >= MANY {
        return ((n as f64 - 1.96 * (n as f64).sqrt()) / 2.0) as usize - 1;
    }
    // The chance that exactly `heads` of `n` coins show heads, and that no more do.
    let (mut exactly, mut at_most) = (0.5f64.powi(n as i32), 0.0);
    for heads in 0..n / 2 {
        at_most += exactly;
        if at_most > 0.025 {
            return heads.saturating_sub(1);
        }
        exactly *= (n - heads) as f64 / (heads + 1) as f64;
    }
    0
}

/// Pairs that two rankings agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Ranked alike.
    pub alike: u64,
    /// Ranked the other way round.
    pub contrary: u64,
    /// Told apart by live runs, but not by the replay.
    pub tied: u64,
    /// Not told apart by live runs.
    pub open: u64,
}

/// Replayed times closer than this are a tie.
const TIE: f64 = 1e-3;

impl Agreement {
    /// Compares what was replayed with what was measured, for each policy.
    pub fn of(times: &[(f64, Interval)]) -> Self {
        let mut agreement = Agreement::default();
        for (at, &(replayed, live)) in times.iter().enumerate() {
            for &(other_replayed, other_live) in &times[..at] {
                let faster = if live.is_below(other_live) {
                    replayed / other_replayed
                } else if other_live.is_below(live) {
                    other_replayed / replayed
                } else {
                    agreement.open += 1;
                    continue;
                };
                *match faster {
                    ratio if ratio < 1.0 - TIE => &mut agreement.alike,
                    ratio if ratio > 1.0 + TIE => &mut agreement.contrary,
                    _ => &mut agreement.tied,
                } += 1;
            }
        }
        agreement
    }

    /// Both together: of several programs.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Agreement {
            alike: self.alike + other.alike,
            contrary: self.contrary + other.contrary,
            tied: self.tied + other.tied,
            open: self.open + other.open,
        }
    }

    /// Kendall's tau; `None` when no pair is told apart.
    pub fn tau(&self) -> Option<f64> {
        let pairs = self.alike + self.contrary + self.tied;
        (pairs > 0).then(|| (self.alike as f64 - self.contrary as f64) / pairs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(low: f64, high: f64) -> Interval {
        Interval { low, high }
    }

    #[test]
    fn pairs_that_overlap_are_left_out() {
        let agreement =
            Agreement::of(&[(10.0, known(1.0, 2.0)), (20.0, known(1.5, 3.0)), (30.0, known(4.0, 5.0)), (5.0, known(6.0, 7.0))]);
        // The last is the slowest live, and the fastest replayed.
        assert_eq!(agreement, Agreement { alike: 2, contrary: 3, tied: 0, open: 1 });
        assert_eq!(agreement.tau(), Some(-0.2));
        assert_eq!(agreement.and(Agreement { alike: 3, ..Agreement::default() }).tau(), Some(0.25));
    }

    #[test]
    fn a_tie_speaks_neither_for_nor_against() {
        let agreement = Agreement::of(&[(10.0, known(1.0, 2.0)), (10.001, known(3.0, 4.0))]);
        assert_eq!((agreement.tied, agreement.tau()), (1, Some(0.0)));
        assert_eq!(Agreement::of(&[(1.0, known(1.0, 2.0))]).tau(), None);
    }

    #[test]
    fn a_median_is_known_to_95_percent() {
        // As tables of the sign test have it.
        for (n, inside) in [(1, 0), (5, 0), (6, 0), (9, 1), (12, 2), (15, 3), (20, 5), (100, 39), (999, 468), (1000, 468)] {
            assert_eq!(inward(n), inside, "{n}");
        }
        let times: Vec<_> = (0..15).rev().map(f64::from).collect();
        assert_eq!(Interval::of_median(&times), Some(known(3.0, 11.0)));
        assert_eq!(Interval::of_median(&[5.0, 1.0, 2.0, 4.0, 3.0]), Some(known(1.0, 5.0)));
        assert_eq!(Interval::of_median(&[]), None);
    }

    #[test]
    fn it_covers_the_median_as_often_as_it_says() {
        // A linear congruence (Knuth's MMIX) is random enough for that.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let covered = (0..4000)
            .filter(|_| {
                let times: Vec<_> = (0..15).map(|_| uniform().powi(3)).collect();
                let interval = Interval::of_median(&times).unwrap();
                interval.low <= 0.125 && 0.125 <= interval.high
            })
            .count();
        // 96.5 % with 15.
        assert!((3820..=3900).contains(&covered), "{covered}");
    }
}
