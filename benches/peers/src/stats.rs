//! Medians, geometric means and the intervals around them.

/// The 95 % two-sided level of every interval here.
const TAIL: f64 = 0.025;

/// The middle of the values; NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The geometric mean of positive values; NaN for none.
pub(crate) fn geomean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values.into_iter().fold((0.0, 0u32), |(sum, n), value| (sum + value.ln(), n + 1));
    (sum / f64::from(n)).exp()
}

/// A 95 % confidence interval of the median by order statistics: it assumes independent samples and nothing else.
///
/// `None` for fewer than six values, for which no such interval exists.
pub(crate) fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len();
    // The interval from the k-th smallest to the k-th largest misses the median with probability 2 P(Binomial(n, 1/2) < k).
    let mut term = 0.5f64.powi(i32::try_from(n).ok()?);
    let mut below = term;
    let mut k = 0;
    while below <= TAIL {
        k += 1;
        term *= (n - k + 1) as f64 / k as f64;
        below += term;
    }
    if k == 0 {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((sorted[k - 1], sorted[n - k]))
}

/// A 95 % bootstrap interval of the geometric mean of the groups' medians: each group is resampled by itself.
///
/// `None` when a group has fewer than six values. The generator is seeded with a constant: same samples, same interval.
pub(crate) fn geomean_interval(groups: &[Vec<f64>]) -> Option<(f64, f64)> {
    const ROUNDS: usize = 2000;
    if groups.is_empty() || groups.iter().any(|group| group.len() < 6) {
        return None;
    }
    let mut random = SplitMix(0x7165_7275_7020_2031);
    let mut means: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            geomean(groups.iter().map(|group| {
                let resampled: Vec<f64> = (0..group.len()).map(|_| group[random.below(group.len())]).collect();
                median(&resampled)
            }))
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let cut = (ROUNDS as f64 * TAIL) as usize;
    Some((means[cut], means[ROUNDS - 1 - cut]))
}

/// The items in an order by chance, another one for each round and the same in every run (Fisher and Yates's shuffle).
pub(crate) fn shuffled<T: Copy>(items: &[T], round: usize) -> Vec<T> {
    let mut random = SplitMix(round as u64);
    let mut items = items.to_vec();
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
    items
}

/// SplitMix64: a small deterministic generator.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // Multiply-shift: the bias is below bound / 2^64.
        ((u128::from(z) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody always runs behind the same neighbour: whoever does has the caches as that one left them.
    #[test]
    fn every_order_is_another() {
        let engines: Vec<usize> = (0..8).collect();
        let mut behind = vec![[0; 8]; 8];
        for round in 0..56 {
            let order = shuffled(&engines, round);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, engines);
            order.windows(2).for_each(|pair| behind[pair[1]][pair[0]] += 1);
        }
        for (engine, behind) in behind.iter().enumerate() {
            for (other, &times) in behind.iter().enumerate().filter(|&(other, _)| other != engine) {
                // 7 times of 56, on average.
                assert!((1..=20).contains(&times), "{engine} runs behind {other} {times} times");
            }
        }
    }

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn geometric_mean() {
        assert!((geomean([1.0, 4.0, 16.0]) - 4.0).abs() < 1e-12);
        assert!(geomean([]).is_nan());
    }

    /// The ranks are those of the tables of the sign test.
    #[test]
    fn order_statistics() {
        let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        assert_eq!(median_interval(&values(5)), None);
        assert_eq!(median_interval(&values(6)), Some((1.0, 6.0)));
        assert_eq!(median_interval(&values(9)), Some((2.0, 8.0)));
        assert_eq!(median_interval(&values(20)), Some((6.0, 15.0)));
        assert_eq!(median_interval(&values(100)), Some((40.0, 61.0)));
    }

    #[test]
    fn bootstrap_brackets_the_geomean() {
        let group: Vec<f64> = (0..20).map(|i| 1.0 + f64::from(i) / 100.0).collect();
        let groups = vec![group.clone(), group];
        let (low, high) = geomean_interval(&groups).expect("enough values");
        let middle = geomean(groups.iter().map(|g| median(g)));
        assert!(low < middle && middle < high, "{low} {middle} {high}");
        assert_eq!(geomean_interval(&groups), Some((low, high)));
        assert_eq!(geomean_interval(&[vec![1.0; 5]]), None);
    }
}
