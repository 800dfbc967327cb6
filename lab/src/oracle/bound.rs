//! A bound that no plan is better than, by prices: what compilers' time is worth at each moment.
//!
//! Whatever a plan does, code saves nothing before it was compiled. Time is counted here on a clock that stands still for the part that everything
//! is slower by while compiles run beside the program ([slowdown](Machine::slowdown)): a program that ends at `U` on it took `U + L`, what is lost beside
//! compiles. With several threads each is bounded alone, as if nothing were lost, and the slowest counts.
//!
//! What a thread does is cut into segments. There are `d_k`, what segment `k` takes on it, `t_k = d_1 + … + d_k`, and the segment in which each compile is first of use; and
//!
//! - compiles that are of use by segment `k` take `workers · t_k` together at most;
//! - each function's part of `d_k` is no less than its work there in the best code that is of use by then;
//! - with the compiles' time `C` in all, and the longest of them `m`, the program takes `t_K + L`, where `L ≥ b · C` and `L ≥ s · m`, if `s` is what one compile
//!   slows the program by and `b` the least of what `i` of them slow it by, over `i`.
//!
//! A price `λ_k ≥ 0` is put on each of the first, and what breaks one pays for it (Lagrange). So a nanosecond of segment `k` costs `w_k = 1 − workers · (λ_k + … + λ_K)`,
//! which grows with `k` and may not be below 0, and a nanosecond of compiles that are of use from `k` on costs `(1 − w_k) / workers`: early time is
//! cheap, for compilers work meanwhile, and early code is dear. Then functions have nothing to do with each other any more. For each the best
//! segments for its compiles are found exactly, and the sum of all that is a bound, whatever the prices. Good ones are found by going where the broken
//! constraints point (a subgradient, with steps as Polyak has them).
//!
//! One thing more is known. To show that no plan takes less than `T` it may be assumed that one does. Then segment `k` is over at `T` less
//! what must come after it, at the latest, and a compile that takes longer is of no use in it. Each step does so with the `T` it hopes to show.
//!
//! Which compile is the longest depends on the plan: there is a bound for each length `m`, and the least counts. Lengths are bounded together, and
//! told apart where the bound is least.

use tierup_broker::Tier;

use crate::{Machine, Program, Record};

/// About how many segments there are.
const SEGMENTS: f64 = 400.0;
/// Steps between two looks at which lengths have the least bound, and how many times there are.
const STEPS: u32 = 60;
const ROUNDS: u32 = 40;
/// Where a bound does not grow by this part any more it is left.
const LEAST: f64 = 2e-4;

/// Nanoseconds that no plan can be better than.
pub fn lower_bound(program: &Program, machine: Machine) -> f64 {
    let threads = program.threads();
    // What one of several loses to compiles may be while they run beside another.
    let machine = if threads <= 1 { machine } else { Machine { sharing: 1.0, processors: usize::MAX, ..machine } };
    (0..threads).map(|thread| of_thread(program, machine, thread)).fold(0.0, f64::max)
}

fn of_thread(program: &Program, machine: Machine, thread: usize) -> f64 {
    let dual = Dual::new(program, machine, thread);
    let mut lengths: Vec<f64> = dual.functions.iter().flat_map(|function| function.costs[1..].iter().copied()).collect();
    lengths.push(0.0);
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    // Where nothing is lost beside compiles it does not matter which is the longest.
    let apart = dual.lost > 0.0;
    let mut prices = Prices::new(&dual);
    let (low, high) = (lengths[0], lengths[lengths.len() - 1]);
    let even = (0..=40).map(|price| Prices { segments: vec![f64::from(price) / 40.0; dual.after.len()], ..prices.clone() });
    let best =
        even.map(|prices| (dual.look(&prices, low, high, 1e30).time, prices)).max_by(|left, right| left.0.total_cmp(&right.0));
    if let Some((_, best)) = best {
        prices = best;
    }
    let all = Case { low: 0, high: lengths.len() - 1, prices, bound: 0.0, hope: 0.2, done: false };
    let mut cases = vec![all];
    for _ in 0..ROUNDS {
        let least = (0..cases.len()).min_by(|&left, &right| cases[left].bound.total_cmp(&cases[right].bound)).unwrap_or(0);
        if !cases[least].done {
            cases[least].improve(&dual, &lengths);
        } else if apart && cases[least].low < cases[least].high {
            let case = cases.swap_remove(least);
            let middle = case.low + (case.high - case.low) / 2;
            let part = |low, high| Case { low, high, hope: 0.05, done: false, ..case.clone() };
            cases.extend([part(case.low, middle), part(middle + 1, case.high)]);
        } else {
            break;
        }
    }
    cases.iter().map(|case| case.bound).fold(f64::INFINITY, f64::min)
}

/// Plans whose longest compile takes one of some lengths.
#[derive(Debug, Clone)]
struct Case {
    low: usize,
    high: usize,
    prices: Prices,
    bound: f64,
    /// By which part the bound may grow.
    hope: f64,
    /// It did not grow any more.
    done: bool,
}

impl Case {
    fn improve(&mut self, dual: &Dual<'_>, lengths: &[f64]) {
        let mut idle = 0;
        for _ in 0..STEPS {
            let hoped = if self.bound > 0.0 { self.bound * (1.0 + self.hope) } else { dual.least };
            let look = dual.look(&self.prices, lengths[self.low], lengths[self.high], hoped);
            let shown = look.time.min(hoped);
            idle += 1;
            if shown > self.bound * (1.0 + LEAST) {
                idle = 0;
            }
            self.bound = self.bound.max(shown);
            if look.time < hoped {
                self.prices.step(dual, &look, hoped);
            }
            if idle > 20 {
                (idle, self.hope) = (0, self.hope / 2.0);
            }
        }
        self.done = self.hope < 0.003;
    }
}

#[derive(Debug, Clone)]
struct Prices {
    /// `w_k`.
    segments: Vec<f64>,
    /// How much it counts that `L ≥ b · C`, against `L ≥ s · m`.
    volume: f64,
}

impl Prices {
    fn new(dual: &Dual<'_>) -> Self {
        Prices { segments: vec![1.0; dual.after.len()], volume: 0.5 }
    }

    /// Goes where constraints are broken, as far as `hoped` is away.
    fn step(&mut self, dual: &Dual<'_>, look: &Look, hoped: f64) {
        let (mut compiled, mut time) = (0.0, 0.0);
        let broken: Vec<f64> = (look.compiled.iter().zip(&look.durations))
            .map(|(cost, duration)| {
                (compiled, time) = (compiled + cost, time + duration);
                compiled - dual.workers * time
            })
            .collect();
        // What is not broken and has no price stays so.
        let price = |at: usize, prices: &[f64]| (prices.get(at + 1).copied().unwrap_or(1.0) - prices[at]) / dual.workers;
        let moves = |at: usize| broken[at] > 0.0 || price(at, &self.segments) > 0.0;
        let beside = dual.beside * compiled - dual.lost * look.longest;
        let square: f64 =
            (0..broken.len()).filter(|&at| moves(at)).map(|at| broken[at] * broken[at]).sum::<f64>() + beside * beside;
        if square <= 0.0 {
            return;
        }
        let far = (hoped - look.time) / square;
        self.volume = (self.volume + far * beside).clamp(0.0, 1.0);
        let mut prices = vec![0.0; broken.len()];
        let mut next = 1.0;
        for at in (0..broken.len()).rev() {
            let price = price(at, &self.segments) + if moves(at) { far * broken[at] } else { 0.0 };
            next = f64::max(next - dual.workers * price.max(0.0), 0.0);
            prices[at] = next;
        }
        self.segments = prices;
    }
}

/// What a thread does, by function and segment.
#[derive(Debug)]
struct Dual<'p> {
    program: &'p Program,
    workers: f64,
    /// What is lost beside compiles, in parts of the time while there is one at least, and in parts of the time they take together.
    lost: f64,
    beside: f64,
    functions: Vec<Work>,
    /// For each segment, when it is over at the latest.
    before: Vec<f64>,
    /// For each segment, the least that what comes after it takes.
    after: Vec<f64>,
    /// What everything takes at least.
    least: f64,
}

#[derive(Debug, Default)]
struct Work {
    /// By tier: its compile, and the best pace of it and the tiers below.
    costs: Vec<f64>,
    paces: Vec<f64>,
    /// Segments and work.
    parts: Vec<(usize, f64)>,
}

/// The best there is for some prices.
struct Look {
    time: f64,
    longest: f64,
    /// By segment: what it takes, and the compiles that are first of use in it.
    durations: Vec<f64>,
    compiled: Vec<f64>,
    /// What comes after it, with the compiles that are of use for that, at these prices.
    rest: Vec<f64>,
}

/// Tiers there are at most.
const MOST: usize = 1 + Tier::MAX.index() as usize;

impl<'p> Dual<'p> {
    fn new(program: &'p Program, machine: Machine, thread: usize) -> Self {
        let slower = |busy: usize| machine.slowdown(1, busy) - 1.0;
        let beside = (1..=machine.workers).map(|busy| slower(busy) / busy as f64).fold(f64::INFINITY, f64::min);
        let of = |function: &crate::Function| {
            let best = |best: &mut f64, tier: &crate::TierFacts| {
                *best = tier.pace.min(*best);
                Some(*best)
            };
            let costs = function.tiers.iter().map(|tier| tier.compile as f64).collect();
            Work { costs, paces: function.tiers.iter().scan(f64::INFINITY, best).collect(), parts: Vec::new() }
        };
        let mut functions: Vec<Work> = program.functions.iter().map(of).collect();
        let records = || program.records.iter().filter(|record| usize::from(record.thread) == thread && record.work > 0);
        let times = |functions: &[Work], record: &Record| {
            let paces = &functions[record.function as usize].paces;
            let best = paces.last().copied().unwrap_or(0.0);
            (record.work as f64 * paces.first().copied().unwrap_or(0.0), record.work as f64 * best)
        };
        let (mut slow, mut fast, mut count) = (0.0, 0.0, 0.0);
        for record in records() {
            let (slower, faster) = times(&functions, record);
            (slow, fast, count) = (slow + slower, fast + faster, count + 1.0);
        }
        // Segments are short where the program is slow, where it is fast, and where it does new things.
        let (mut before, mut done) = (Vec::new(), 0.0);
        let (mut after, mut left, mut full, mut at) = (Vec::new(), fast, 0.0, 0);
        for record in records() {
            let (slower, faster) = times(&functions, record);
            let tiers = &program.functions[record.function as usize].tiers;
            let slowest = record.work as f64 * tiers.iter().map(|tier| tier.pace).fold(0.0, f64::max);
            let share = (slower / slow + faster / fast + 1.0 / count) / 3.0 * SEGMENTS;
            let pieces = share.ceil().max(1.0);
            for _ in 0..pieces as u64 {
                if full > 0.0 && full + share / pieces > 1.0 {
                    after.push(left);
                    before.push(done);
                    (full, at) = (0.0, at + 1);
                }
                (full, left) = (full + share / pieces, left - faster / pieces);
                done += slowest / pieces;
                let (parts, work) = (&mut functions[record.function as usize].parts, record.work as f64 / pieces);
                match parts.last_mut() {
                    Some((last, sum)) if *last == at => *sum += work,
                    _ => parts.push((at, work)),
                }
            }
        }
        after.push(0.0);
        before.push(done);
        functions.retain(|function| !function.parts.is_empty());
        Dual { program, workers: machine.workers as f64, lost: slower(1), beside, functions, before, after, least: fast }
    }

    /// The best for some prices, if no compile takes longer than `longest`, one takes `shortest`, and all is over before `hoped`.
    fn look(&self, prices: &Prices, shortest: f64, longest: f64, hoped: f64) -> Look {
        let lost = self.lost;
        let latest = hoped - lost * shortest;
        let mut over: Vec<f64> = self.before.iter().zip(&self.after).map(|(before, after)| before.min(latest - after)).collect();
        // What must come after a segment is known better when it is known what compiles cost.
        let first = self.with(prices, shortest, longest, &over);
        let latest = hoped - (1.0 - prices.volume) * lost * shortest;
        for (at, over) in over.iter_mut().enumerate() {
            let price = prices.segments.get(at + 1).copied().unwrap_or(1.0);
            if price > 0.0 {
                *over = over.min((latest - first.rest[at]) / price);
            }
        }
        // No segment is over after the next one.
        for at in (1..over.len()).rev() {
            over[at - 1] = over[at - 1].min(over[at]);
        }
        self.with(prices, shortest, longest, &over)
    }

    /// The same, if segments are over when `over` says at the latest.
    fn with(&self, prices: &Prices, shortest: f64, longest: f64, over: &[f64]) -> Look {
        let (lost, tiers, segments) = (self.lost, self.program.tiers.len(), over.len());
        let mut look = Look {
            time: (1.0 - prices.volume) * lost * shortest,
            longest: shortest,
            durations: vec![0.0; segments],
            compiled: vec![0.0; segments],
            rest: vec![0.0; segments + 1],
        };
        let beside = prices.volume * self.beside;
        let dear: Vec<f64> = prices.segments.iter().map(|price| (1.0 - price) / self.workers + beside).collect();
        let mut chosen: Vec<[u8; MOST]> = Vec::new();
        for function in &self.functions {
            // The first segment in which a compile may be of use.
            let first = |&cost: &f64| if cost > longest { segments } else { over.partition_point(|over| *over < cost) };
            let first: Vec<usize> = function.costs.iter().map(first).collect();
            // By the highest tier there was before: what is left costs so much, from the end on.
            let mut costs = [0.0; MOST];
            chosen.clear();
            for (place, &(at, work)) in function.parts.iter().enumerate().rev() {
                let mut choices = [0; MOST];
                for tier in 0..tiers {
                    costs[tier] += work * prices.segments[at] * function.paces[tier];
                    choices[tier] = tier as u8;
                }
                // Higher ones are as they are when the segment begins.
                for tier in 0..tiers {
                    for above in (tier + 1..tiers).filter(|&above| at >= first[above]) {
                        let cost = costs[above] + function.costs[above] * dear[at];
                        if cost < costs[tier] {
                            (costs[tier], choices[tier]) = (cost, above as u8);
                        }
                    }
                }
                chosen.push(choices);
                let since = place.checked_sub(1).map_or(0, |before| function.parts[before].0);
                look.rest[since] += costs[0];
                look.rest[at] -= costs[0];
            }
            look.time += costs[0];
            let mut tier = 0;
            for (&(at, work), choices) in function.parts.iter().zip(chosen.iter().rev()) {
                let next = usize::from(choices[tier]);
                if next != tier {
                    look.compiled[at] += function.costs[next];
                    tier = next;
                }
                look.durations[at] += work * function.paces[tier];
            }
        }
        for at in 1..segments {
            look.rest[at] += look.rest[at - 1];
        }
        look
    }
}
