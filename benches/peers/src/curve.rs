//! Warm-up curves: how fast the work goes, window by window, from the moment the bytes are there.

/// Each window is this much longer than the one before: six of them make a tenfold time.
const PER_DECADE: f64 = 6.0;
/// The end of the first window, in seconds.
const FIRST: f64 = 200e-6;

/// The ends of the windows, in seconds; the first begins at zero, each other where the one before ends. The last ends at `seconds`.
pub(crate) fn windows(seconds: f64) -> Vec<f64> {
    let mut ends = Vec::new();
    for at in 0u32.. {
        let end = FIRST * 10f64.powf(f64::from(at) / PER_DECADE);
        // A last window that is much shorter than its neighbour would be noise.
        if end * 1.2 >= seconds {
            break;
        }
        ends.push(end);
    }
    ends.push(seconds);
    ends
}

/// Calls per second in each window. `ends` has, in nanoseconds, when the first call began and when each call ended; work goes on
/// evenly within a call, so that a call longer than a window counts in each by its part.
pub(crate) fn rates(ends: &[u64], windows: &[f64]) -> Vec<f64> {
    let ends: Vec<f64> = ends.iter().map(|ns| *ns as f64 / 1e9).collect();
    // How many calls were done at a time.
    let done = |time: f64| -> f64 {
        let after = ends.partition_point(|end| *end <= time);
        match (after.checked_sub(1), ends.get(after)) {
            (None, _) => 0.0,
            (Some(last), None) => last as f64,
            (Some(last), Some(next)) => last as f64 + (time - ends[last]) / (next - ends[last]),
        }
    };
    let mut begin = 0.0;
    let mut rates = Vec::with_capacity(windows.len());
    for &end in windows {
        rates.push((done(end) - done(begin)) / (end - begin));
        begin = end;
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_and_end_with_the_measurement() {
        let windows = windows(2.0);
        assert!(windows.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(windows.first(), Some(&FIRST));
        assert_eq!(windows.last(), Some(&2.0));
        assert!((windows[6] / windows[0] - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_long_call_counts_in_every_window_by_its_part() {
        // Ready after 1 ms; one call of 4 ms, then two of 1 ms.
        let ends = [1_000_000, 5_000_000, 6_000_000, 7_000_000];
        let rates = rates(&ends, &[1e-3, 3e-3, 5e-3, 7e-3]);
        let want = [0.0, 250.0, 250.0, 1000.0];
        assert!(rates.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{rates:?}");
    }

    #[test]
    fn no_work_is_lost() {
        let ends: Vec<u64> = (0..=1000u64).map(|call| 300_000 + call * call * 1_900).collect();
        let windows = windows(2.0);
        let mut begin = 0.0;
        let mut calls = 0.0;
        for (rate, end) in rates(&ends, &windows).iter().zip(&windows) {
            calls += rate * (end - begin);
            begin = *end;
        }
        assert!((calls - 1000.0).abs() < 1e-6, "{calls}");
    }
}
