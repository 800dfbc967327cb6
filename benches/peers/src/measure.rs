//! One cell of a table: interleaved rounds over the engines, then more pairs where the race is close.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize};

use crate::engines::{Cost, EngineId};
use crate::error::SampleError;
use crate::sample::{Commands, Sample, Work};
use crate::stats::{median, median_interval, shuffled};

/// Ratios nearer to one than this need [`Effort::close_pairs`] pairs before they are believed.
const CLOSE: f64 = 0.10;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) close_pairs: usize,
    /// No round begins after this, but for the first.
    pub(crate) until: Option<Instant>,
}

impl Effort {
    fn is_spent(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

/// One measured cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) row: String,
    pub(crate) column: String,
    pub(crate) engines: Vec<Measured>,
    pub(crate) pairs: Vec<Pair>,
}

/// One engine's samples in a cell.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) engine: EngineId,
    /// Seconds, in the order they were taken.
    pub(crate) samples: Vec<f64>,
    #[serde(deserialize_with = "null_is_nan")]
    pub(crate) median: f64,
    #[serde(deserialize_with = "null_is_nan")]
    pub(crate) min: f64,
    #[serde(deserialize_with = "null_is_nan")]
    pub(crate) max: f64,
    /// What the code of the last sample cost, where the engine can tell.
    pub(crate) cost: Option<Cost>,
    /// The most memory one of its processes had, in bytes.
    #[serde(default)]
    pub(crate) peak_rss: Option<u64>,
    /// Of warm-up samples: calls per second in each of [`curve::windows`](crate::curve::windows).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) curves: Vec<Vec<f64>>,
    /// Why the engine has no (more) samples.
    pub(crate) failure: Option<String>,
}

/// The subject against one peer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) peer: EngineId,
    /// Subject's time / peer's time, pair by pair.
    pub(crate) ratios: Vec<f64>,
    pub(crate) median: f64,
    /// 95 % interval of the median ratio, by order statistics.
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) verdict: Verdict,
}

/// What may be said about the subject after the pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Faster,
    Slower,
    /// Too few pairs for the difference seen, or an interval that holds one.
    Undecided,
}

/// Measures one cell of all engines; only those that are asked give samples.
pub(crate) fn measure(
    commands: &Commands,
    (row, column): (&str, &str),
    work: &Work,
    (all, engines): (&[EngineId], &[EngineId]),
    subject: EngineId,
    effort: Effort,
) -> Cell {
    let mut taken = Taken::default();
    let mut rounds = 0;
    for round in 0..effort.rounds {
        if round > 0 && effort.is_spent() {
            break;
        }
        rounds += 1;
        // An engine that always ran behind the same neighbour would always have the caches as that one leaves them, which is a quarter of the
        // shortest samples' time.
        for engine in shuffled(engines, round) {
            taken.sample(commands, engine, work);
        }
    }
    let mut pairs = Vec::new();
    for &peer in engines.iter().filter(|&&peer| peer != subject) {
        let mut ratios = taken.ratios(subject, peer, rounds);
        let mut first = (subject, peer);
        while !ratios.is_empty()
            && ratios.len() < effort.close_pairs
            && !effort.is_spent()
            && (median(&ratios) - 1.0).abs() < CLOSE
        {
            let one = taken.sample(commands, first.0, work);
            let two = taken.sample(commands, first.1, work);
            let (Some(one), Some(two)) = (one, two) else {
                break;
            };
            let (own, other) = if first.0 == subject { (one, two) } else { (two, one) };
            ratios.push(own / other);
            first = (first.1, first.0);
        }
        if !ratios.is_empty() {
            pairs.push(Pair::new(peer, ratios));
        }
    }
    Cell {
        row: row.to_owned(),
        column: column.to_owned(),
        engines: all.iter().map(|&engine| taken.measured(engine)).collect(),
        pairs,
    }
}

/// The samples of a cell so far.
#[derive(Default)]
struct Taken {
    seconds: BTreeMap<&'static str, Vec<f64>>,
    failures: BTreeMap<&'static str, SampleError>,
    costs: BTreeMap<&'static str, Cost>,
    rss: BTreeMap<&'static str, u64>,
    curves: BTreeMap<&'static str, Vec<Vec<f64>>>,
    /// What the first sample answered; every other must agree.
    answer: Option<i64>,
}

impl Taken {
    /// Takes one more sample; an engine that failed once is not asked again.
    fn sample(&mut self, commands: &Commands, engine: EngineId, work: &Work) -> Option<f64> {
        if self.failures.contains_key(engine.name()) {
            return None;
        }
        match commands.sample(engine, work).and_then(|sample| self.agree(sample)) {
            Ok(Sample { seconds, cost, peak_rss, curve, .. }) => {
                if let Some(cost) = cost {
                    self.costs.insert(engine.name(), cost);
                }
                if let Some(bytes) = peak_rss {
                    let most = self.rss.entry(engine.name()).or_default();
                    *most = bytes.max(*most);
                }
                if !curve.is_empty() {
                    self.curves.entry(engine.name()).or_default().push(curve);
                }
                self.seconds.entry(engine.name()).or_default().push(seconds);
                Some(seconds)
            }
            Err(failure) => {
                self.failures.insert(engine.name(), failure);
                None
            }
        }
    }

    fn agree(&mut self, sample: Sample) -> Result<Sample, SampleError> {
        let want = *self.answer.get_or_insert(sample.answer);
        if sample.answer == want { Ok(sample) } else { Err(SampleError::WrongAnswer { got: sample.answer, want }) }
    }

    /// The ratios of the first `rounds` samples, pair by pair.
    fn ratios(&self, subject: EngineId, peer: EngineId, rounds: usize) -> Vec<f64> {
        let seconds = |engine: EngineId| {
            let samples = self.seconds.get(engine.name()).map_or(&[][..], Vec::as_slice);
            samples.iter().take(rounds)
        };
        seconds(subject).zip(seconds(peer)).map(|(own, other)| own / other).collect()
    }

    fn measured(&self, engine: EngineId) -> Measured {
        let samples = self.seconds.get(engine.name()).cloned().unwrap_or_default();
        Measured {
            engine,
            median: median(&samples),
            min: samples.iter().copied().fold(f64::NAN, f64::min),
            max: samples.iter().copied().fold(f64::NAN, f64::max),
            samples,
            cost: self.costs.get(engine.name()).copied(),
            peak_rss: self.rss.get(engine.name()).copied(),
            curves: self.curves.get(engine.name()).cloned().unwrap_or_default(),
            failure: self.failures.get(engine.name()).map(ToString::to_string),
        }
    }
}

/// JSON has no NaN: what was none is null.
fn null_is_nan<'de, D: Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

impl Pair {
    fn new(peer: EngineId, ratios: Vec<f64>) -> Self {
        let median = median(&ratios);
        let interval = median_interval(&ratios);
        Self { peer, median, interval, verdict: verdict(ratios.len(), median, interval), ratios }
    }
}

/// A difference below 10 % is claimed only from 20 pairs on, and any difference only when the interval excludes one.
fn verdict(pairs: usize, median: f64, interval: Option<(f64, f64)>) -> Verdict {
    match interval {
        _ if pairs < 20 && (median - 1.0).abs() < CLOSE => Verdict::Undecided,
        Some((_, high)) if high < 1.0 => Verdict::Faster,
        Some((low, _)) if low > 1.0 => Verdict::Slower,
        _ => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(verdict(7, 0.5, Some((0.4, 0.6))), Verdict::Faster);
        assert_eq!(verdict(7, 1.5, Some((1.4, 1.6))), Verdict::Slower);
        assert_eq!(verdict(7, 0.95, Some((0.94, 0.96))), Verdict::Undecided, "too few pairs");
        assert_eq!(verdict(20, 0.95, Some((0.94, 0.96))), Verdict::Faster);
        assert_eq!(verdict(20, 0.95, Some((0.94, 1.01))), Verdict::Undecided);
        assert_eq!(verdict(3, 0.2, None), Verdict::Undecided, "no interval");
    }

    #[test]
    fn the_first_answer_binds() {
        let mut taken = Taken::default();
        let sample = |answer| Sample { seconds: 1.0, answer, cost: None, peak_rss: None, curve: Vec::new() };
        assert!(taken.agree(sample(3)).is_ok());
        assert!(taken.agree(sample(3)).is_ok());
        assert!(matches!(taken.agree(sample(4)), Err(SampleError::WrongAnswer { got: 4, want: 3 })));
    }
}
