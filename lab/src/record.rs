//! Recording a program that runs: what it tells call by call and turn by turn, gathered into records and written as they are full.
//!
//! What is kept is a few words for each function and thread, whatever the program does. Work is written when a function has gathered a
//! *quantum*: a quarter of what it has done before, but at most a part in two thousand of what the whole program has. So the first calls
//! of a function are told one by one, its ten thousandth by the thousand; times and thresholds are met to within a quarter at worst, and a
//! trace has some ten thousand records however long the program ran.
//!
//! Whether work is by calls or by a loop is told as the broker tells it: a loop that a call has been in for [`WATCH`] turns, and for a
//! quantum, counts as one that only a variant can serve, at the lowest site that came round twice. What other loops do after their first turn is
//! told apart: a variant that is there serves it as well. All else is put down to calls.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use tierup_broker::{CALL_WORK, Work};

use crate::{Kind, Record, TierFacts, trace::TraceWriter};

/// Turns after which a loop is told from one that ends soon: what the broker watches before it asks for a variant.
const WATCH: u32 = 64;
/// A function's quantum is at most this part of all that was done, and this part of what it has done itself.
const OF_ALL: u64 = 2_000;
const OF_ITSELF: u64 = 4;

/// Writes a trace of a program that runs.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    writer: TraceWriter<W>,
    /// By what the program calls a function: its number in the trace.
    numbers: HashMap<u32, u32>,
    functions: Vec<Recorded>,
    gathered: HashMap<(u16, u32), Gathered>,
    total: u64,
    error: Option<io::Error>,
}

/// A function that did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What the program calls it.
    pub id: u32,
    /// What people call it.
    pub name: String,
    /// Bytes of its body.
    pub size: u32,
    /// Work units it did.
    pub work: u64,
    /// Calls of it.
    pub calls: u64,
}

/// Work of one function on one thread that was not written yet.
#[derive(Debug, Clone, Default)]
struct Gathered {
    /// By calls.
    calls: u64,
    /// By loops of calls that are over, after their first turn, by site.
    short: Vec<(u32, u64)>,
    /// By loops of the last call, and of that by the first turn.
    looped: u64,
    first: u64,
    /// Turns of these loops since it began.
    turns: u32,
    /// Sites that came round since then, once and twice; the last bit is for all that have none of their own.
    seen: u64,
    twice: u64,
    /// The site of the last turn.
    last: u32,
}

impl Gathered {
    fn turn(&mut self, site: u32, units: u64) {
        let bit = 1 << site.min(63);
        self.twice |= self.seen & bit;
        self.seen |= bit;
        if self.turns == 0 {
            self.first = units;
        }
        (self.turns, self.last) = (self.turns.saturating_add(1), site);
        self.looped += units;
    }

    /// The last call's loops were short.
    fn settle(&mut self) {
        let first = self.first.min(self.looped);
        let (site, units) = (self.site(), self.looped - first);
        self.calls += first;
        match self.short.iter_mut().find(|(at, _)| *at == site) {
            _ if units == 0 => {}
            Some((_, sum)) => *sum += units,
            None => self.short.push((site, units)),
        }
        (self.looped, self.first) = (0, 0);
    }

    fn by_calls(&self) -> u64 {
        self.calls + self.short.iter().map(|(_, units)| units).sum::<u64>()
    }

    /// The loop the work is put down to.
    fn site(&self) -> u32 {
        if self.twice << 1 == 0 { self.last } else { self.twice.trailing_zeros() }
    }

    /// Whether the last call is in a loop that matters.
    fn is_long(&self, quantum: u64) -> bool {
        self.turns >= WATCH && self.looped >= quantum
    }
}

impl<W: Write> Recorder<W> {
    /// Begins a trace; `tiers` are the tiers' names, the interpreter first.
    ///
    /// # Errors
    ///
    /// What `out` says.
    ///
    /// # Panics
    ///
    /// As [`TraceWriter::new`].
    pub fn new(out: W, tiers: &[impl AsRef<str>]) -> io::Result<Self> {
        let writer = TraceWriter::new(out, tiers)?;
        let (numbers, functions, gathered) = (HashMap::new(), Vec::new(), HashMap::new());
        Ok(Recorder { writer, numbers, functions, gathered, total: 0, error: None })
    }

    /// A function did something on a thread. `id` is what the program calls it, and `describe`, which is asked once, says its name and the
    /// size of its body. When the output fails nothing is written any more, and [`Self::finish`] says so.
    pub fn note(&mut self, thread: u16, id: u32, work: Work, describe: impl FnOnce() -> (String, u32)) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.try_note(thread, id, work, describe) {
            self.error = Some(error);
        }
    }

    fn try_note(&mut self, thread: u16, id: u32, work: Work, describe: impl FnOnce() -> (String, u32)) -> io::Result<()> {
        let number = match self.numbers.get(&id) {
            Some(&number) => number,
            None => {
                let (name, size) = describe();
                let number = self.writer.function(&name, size)?;
                self.functions.push(Recorded { id, name, size, work: 0, calls: 0 });
                self.numbers.insert(id, number);
                number
            }
        };
        let units = u64::from(work.units);
        let function = &mut self.functions[number as usize];
        let quantum = (function.work / OF_ITSELF).min(self.total / OF_ALL).max(CALL_WORK.into());
        function.work += units;
        self.total += units;
        let gathered = self.gathered.entry((thread, number)).or_default();
        let full = match work.site {
            None => {
                function.calls += 1;
                // The calls were before a long loop; this one is after it.
                let mut full = gathered.is_long(quantum).then(|| std::mem::take(gathered));
                gathered.settle();
                let Gathered { calls, short, .. } = std::mem::take(gathered);
                *gathered = Gathered { calls: calls + units, short, ..Gathered::default() };
                if full.is_none() && gathered.by_calls() >= quantum {
                    full = Some(std::mem::take(gathered));
                }
                full
            }
            Some(site) => {
                gathered.turn(site, units);
                // It may go on.
                gathered.is_long(quantum).then(|| {
                    let full = gathered.clone();
                    (gathered.calls, gathered.looped, gathered.first) = (0, 0, 0);
                    gathered.short.clear();
                    full
                })
            }
        };
        full.map_or(Ok(()), |full| self.write(thread, number, &full))
    }

    fn write(&mut self, thread: u16, function: u32, gathered: &Gathered) -> io::Result<()> {
        let mut record = |kind, work| match work {
            0 => Ok(()),
            _ => self.writer.record(Record { thread, function, kind, work }),
        };
        record(Kind::Calls, gathered.calls)?;
        gathered.short.iter().try_for_each(|&(site, work)| record(Kind::Short { site }, work))?;
        record(Kind::Loop { site: gathered.site() }, gathered.looped)
    }

    /// The functions that did something, by their numbers in the trace.
    pub fn functions(&self) -> &[Recorded] {
        &self.functions
    }

    /// Ends the trace: writes what is left, and what the tiers are for each function.
    ///
    /// # Errors
    ///
    /// What the output has said, now or before.
    ///
    /// # Panics
    ///
    /// If there are not facts of every function, for every tier.
    pub fn finish(mut self, facts: &[Vec<TierFacts>]) -> io::Result<W> {
        assert_eq!(facts.len(), self.functions.len(), "facts of every function");
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut left: Vec<_> = self.gathered.drain().collect();
        left.sort_unstable_by_key(|(key, _)| *key);
        for ((thread, number), mut gathered) in left {
            if !gathered.is_long(CALL_WORK.into()) {
                gathered.settle();
            }
            self.write(thread, number, &gathered)?;
        }
        facts.iter().zip(0..).try_for_each(|(facts, number)| self.writer.facts(number, facts))?;
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Program, trace::TraceReader};

    fn work(site: Option<u32>, units: u32) -> Work {
        Work::new(site, units)
    }

    fn recorded(tell: impl FnOnce(&mut Recorder<Vec<u8>>)) -> Program {
        let mut recorder = Recorder::new(Vec::new(), &["interpreter"]).unwrap();
        tell(&mut recorder);
        let facts = vec![vec![TierFacts::new(1.0, 0, 0)]; recorder.functions().len()];
        let bytes = recorder.finish(&facts).unwrap();
        TraceReader::new(&bytes[..]).unwrap().program("recorded").unwrap()
    }

    fn call(recorder: &mut Recorder<Vec<u8>>, id: u32) {
        recorder.note(0, id, work(None, CALL_WORK), || (format!("f{id}"), 10 * id));
    }

    #[test]
    fn nothing_is_lost_and_long_programs_have_short_traces() {
        let program = recorded(|recorder| {
            for round in 0..400_000 {
                call(recorder, 7);
                recorder.note(0, 7, work(Some(0), 20), || unreachable!("known"));
                if round % 10 == 0 {
                    call(recorder, 9);
                }
            }
        });
        let done = |function| -> u64 {
            (program.records.iter()).filter(|record| record.function == function).map(|record| record.work).sum()
        };
        assert_eq!((done(0), done(1)), (400_000 * 84, 40_000 * 64));
        assert!(program.records.iter().all(|record| record.kind == Kind::Calls), "no call is in its loop for long");
        assert!((1_000..20_000).contains(&program.records.len()), "{}", program.records.len());
        assert_eq!((&program.functions[0].name[..], program.functions[1].size), ("f7", 90));
        // Whoever has done a tenth of the other's work when half is over has done so in the trace.
        let half = &program.records[..program.records.len() / 2];
        let part =
            |function| half.iter().filter(|record| record.function == function).map(|record| record.work).sum::<u64>() as f64;
        assert!((part(1) / part(0) / (64.0 / 840.0) - 1.0).abs() < 0.25, "{} {}", part(1), part(0));
    }

    #[test]
    fn a_loop_that_lasts_is_told_from_one_that_ends() {
        let program = recorded(|recorder| {
            call(recorder, 0);
            for turn in 0..100_000 {
                recorder.note(0, 0, work(Some(1), 10), || unreachable!("known"));
                if turn % 5 == 0 {
                    recorder.note(0, 0, work(Some(0), 10), || unreachable!("known"));
                }
            }
        });
        let of = |kind| -> u64 { program.records.iter().filter(|record| record.kind == kind).map(|record| record.work).sum() };
        assert_eq!(program.records[0].kind, Kind::Calls);
        assert!(of(Kind::Loop { site: 0 }) > 1_190_000, "the outer one: {}", of(Kind::Loop { site: 0 }));
        assert_eq!(of(Kind::Calls) + of(Kind::Loop { site: 0 }) + of(Kind::Loop { site: 1 }), 64 + 1_200_000);
    }

    #[test]
    fn short_loops_are_told_from_calls_after_their_first_turn() {
        let program = recorded(|recorder| {
            for _ in 0..10_000 {
                call(recorder, 0);
                for (site, units) in [(2, 30), (2, 10), (1, 7), (2, 10), (1, 7)] {
                    recorder.note(0, 0, work(Some(site), units), || unreachable!("known"));
                }
            }
        });
        let of = |kind| -> u64 { program.records.iter().filter(|record| record.kind == kind).map(|record| record.work).sum() };
        assert_eq!((of(Kind::Calls), of(Kind::Short { site: 1 })), (10_000 * 94, 10_000 * 34), "the outer loop came round twice");
        assert!((1_000..20_000).contains(&program.records.len()), "{}", program.records.len());
    }

    #[test]
    fn threads_are_told_apart() {
        let program = recorded(|recorder| {
            for thread in [0, 1, 0, 1] {
                recorder.note(thread, 3, work(None, CALL_WORK), || ("f".to_owned(), 1));
            }
        });
        assert_eq!((program.threads(), program.functions.len()), (2, 1));
        assert_eq!(program.records.iter().map(|record| record.work).sum::<u64>(), 256);
    }
}
