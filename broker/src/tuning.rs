//! Constants that have no effect on correctness: change any of them and every test must still pass.
//!
//! Under loom and Miri some are tiny, so that a model reaches the interesting sizes.

use std::time::Duration;

/// Work units one call is worth. One unit is about one guest operator.
pub const CALL_WORK: u32 = 64;

/// Work units the presets of [`Tiered`](crate::Tiered) take a call to be worth, what the callee does included.
///
/// A compile has to be earned: a quick compiler takes about 0.1 ms for a small function when it begins, Cranelift 0.5, and where it shares a core
/// with the interpreter, half of that is the interpreter's. 25 to 100 calls of this much are interpreted in about as long (the break-even of
/// the ski-rental problem: Karlin, Manasse, Rudolph, Sleator 1988). Over seven whole programs 100 calls of 2,000 to 10,000 units
/// were equally fast, 5 % faster in geometric mean than 100 of 64, and a run of 16 ms was 25 % faster.
pub const TYPICAL_CALL_WORK: u32 = 4096;

/// Work units one turn of a typical loop does: ten operators.
pub(crate) const TYPICAL_TURN_WORK: u32 = 10;

/// Bytes of guest body per work unit, about: most WebAssembly operators have an opcode and one byte of operand.
pub(crate) const BYTES_PER_UNIT: u32 = 2;

/// A thread draws this fraction of what is left of a bead's shared budget at a time.
pub(crate) const SLICES: i32 = 8;

/// Unless that is less than this fraction of what the bead has spent: then it draws all of it. Divided by [`SLICES`] time and again, the last sixteenth of a
/// large budget would be most of the draws.
pub(crate) const REST: u64 = 16;

/// Largest slice a thread draws, in work units: bounds how much work statistics run ahead, and how long an interpreter that polls
/// when a slice is spent goes without: less than 100 us, of one function's work.
pub(crate) const MAX_SLICE: i32 = 1 << 15;

/// Least budget given after a request, in work units, before the policy is asked about the same bead again.
pub(crate) const MIN_RECOUNT: u32 = 16 * CALL_WORK;

/// Work a bead must do after its first retryable bailout before it is tried again; doubled by every further one.
const RETRY_WORK: u32 = 256 * CALL_WORK;

/// Upper bound of the doubled retry budget.
const RETRY_WORK_CAP: u32 = 1 << 24;

/// Work before the next attempt when `before` attempts had given up before the last one.
pub(crate) fn backoff(before: u8) -> u32 {
    RETRY_WORK.saturating_mul(1 << before.min(16)).min(RETRY_WORK_CAP)
}

/// Retryable bailouts after which a tier is disabled for the bead.
pub(crate) const MAX_RETRIES: u8 = 6;

/// Loop sites below this may have OSR variants: a version's table is as long as its highest site. The rest are counted only.
pub(crate) const MOST_SITES: u32 = 1 << 16;

/// Back-edges a thread looks at, once a function's loops have earned an OSR variant, to choose the loop: the outermost that
/// comes round twice. A function called again meanwhile gets its body compiled instead.
pub(crate) const WATCH: u32 = 64;

/// The same for native code, which comes every few hundred thousand work units.
pub(crate) const NATIVE_WATCH: u32 = 4;

/// How often native code is sampled while it does something.
pub const SAMPLE_PERIOD: Duration = Duration::from_millis(2);

/// Samples in a row that nobody is charged for before they become rarer. Fewer would be held against guests that share their thread's
/// time with the host.
#[cfg(feature = "threads")]
pub(crate) const IDLE_SAMPLES: u32 = 32;

/// How often it is looked whether it does anything, at least. (OpenJ9's sampler has ten milliseconds while it is busy, a second
/// when it is not.)
#[cfg(feature = "threads")]
pub(crate) const SLOWEST_SAMPLE_PERIOD: Duration = Duration::from_millis(64);

/// Work units a sample is worth: what sampled code is taken to do in the time between two, 4,096 in a microsecond. (Cranelift's
/// code of the benchmark kernels does 4,000 to 12,000.) No more is charged when the sampler comes late: who was running then is not known.
pub const SAMPLE_WORK: u32 = 4096 * SAMPLE_PERIOD.as_micros() as u32;

/// The least budget that code is sampled for: less is told by fewer than four samples.
pub const SAMPLED_FROM: u32 = 4 * SAMPLE_WORK;

/// How soon a thread that is in sampled code answers: as long as such code goes without a poll, at most.
#[cfg(feature = "threads")]
pub(crate) const PROMPT_ANSWER: Duration = Duration::from_micros(100);

/// Largest slice a thread draws in a loop while a variant of the function is being compiled, or exists at another site: a few
/// microseconds of interpretation.
pub(crate) const OSR_SLICE: i32 = 1 << 13;

/// Beads the registry accepts unless configured otherwise.
pub(crate) const MAX_BEADS: u32 = if cfg!(any(loom, miri)) { 64 } else { 1 << 22 };

/// Entries in the registry's first chunk; each further chunk doubles it. A power of two. Small: it is zeroed when the first function is registered.
pub(crate) const FIRST_CHUNK: u32 = if cfg!(any(loom, miri)) { 2 } else { 8 };

/// Jobs the queue scores on every take, at least; the rest are scored when [`RESCORE`] has passed.
pub(crate) const QUEUE_WINDOW: usize = if cfg!(any(loom, miri)) { 2 } else { 64 };

/// How often all that waits is scored again.
pub(crate) const RESCORE: Duration = Duration::from_millis(10);

/// Shortest time over which a rate of work is taken: HotSpot's `TieredRateUpdateMinTime`.
pub(crate) const RATE_SPAN: Duration = Duration::from_millis(1);

/// A request that has waited this long counts double.
pub(crate) const AGING: Duration = Duration::from_millis(50);

/// A compile that is reckoned to take longer than this is large: one worker is kept free of them. By Miri's clock, five microseconds a step
/// of any thread, a small one takes longer than that.
pub(crate) const LARGE_COST: Duration = Duration::from_millis(if cfg!(miri) { 300 } else { 10 });

/// Nanoseconds a compile is reckoned to take per size unit before any was measured: tier 1, where a quick compiler takes 0.4 us and
/// Cranelift 1.4, and every tier above, where LLVM takes 20 to 180 us for most functions that matter (fifteen programs).
pub(crate) const FIRST_PACES: [f64; 2] = [1e3, 60e3];

/// Work units the interpreter does in a microsecond, about; see [`TYPICAL_CALL_WORK`].
pub(crate) const INTERPRETED_PER_MICROSECOND: f64 = 1024.0;

/// One call in this many is timed, by each thread. A power of two.
pub(crate) const TIMED_ONE_IN: u64 = 64;

/// Timed calls of each tier from which a speedup is told.
pub(crate) const TIMED_CALLS: u8 = 20;

/// How many timed calls, or measured functions, a mean remembers.
pub(crate) const TIMED_MEMORY: u8 = 64;

/// How many times as fast as the interpreter a tier's code is taken to be before any was timed: tier 1, and all above. Cranelift's
/// code of the benchmark kernels does 4,000 to 12,000 units in a microsecond, LLVM's a third to a half more.
pub(crate) const FIRST_SPEEDUPS: [f64; 2] = [6.0, 8.5];

/// What every compile costs beyond its size, in size units.
pub(crate) const BASE_SIZE: f64 = 64.0;

/// How long a function may do no work before its request is dropped, unless configured otherwise. (HotSpot drops after 50 ms,
/// `TieredCompileTaskTimeout`; work is seen here only slice by slice.)
#[cfg(feature = "threads")]
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A function that has done this many times the work that asks for it is compiled even if it does nothing now: HotSpot's
/// `TieredOldPercentage`.
pub(crate) const OLD: u64 = 10;

/// Requests for a tier per worker above which functions that are still interpreted get a lower one: HotSpot's `Tier3DelayOn`.
pub(crate) const CHANGE_LEVEL_ABOVE: f64 = 5.0;

/// Retired things that make an API call collect by itself.
pub(crate) const LIMBO_EAGER: usize = 64;

/// Bytes of retired code that wait before a census is asked for, unless configured otherwise; and the share of the code in use by
/// which that grows. V8's `WasmEngine::EnqueueFreeableCode` has both: 64 KiB and a tenth.
pub(crate) const CENSUS_AFTER: u64 = 64 << 10;
pub(crate) const CENSUS_SHARE: u64 = 10;

/// What a unit weighs besides its code: compilers give units pages of their own.
pub(crate) const UNIT_WEIGHT: u64 = 4 << 10;

/// What a version weighs besides its units.
pub(crate) const VERSION_WEIGHT: u64 = 512;

/// Workers unless configured otherwise, on a machine that runs `parallelism` threads at a time: HotSpot's number of compiler
/// threads (`CompilationPolicy::initialize`), `max(log2(n) · log2(log2(n)) · 3/2, 2)`, which counts in whole numbers.
#[cfg(feature = "threads")]
pub(crate) fn workers(parallelism: usize) -> usize {
    let log = parallelism.max(2).ilog2();
    ((log * log.ilog2() * 3 / 2) as usize).clamp(2, MOST_WORKERS)
}

#[cfg(all(test, feature = "threads"))]
#[test]
fn as_many_workers_as_hotspot_has() {
    assert_eq!([1, 2, 4, 8, 16, 64, 4096].map(workers), [2, 2, 3, 4, 12, 18, MOST_WORKERS]);
}

/// Stack of a compile worker, in bytes.
#[cfg(feature = "threads")]
pub(crate) const WORKER_STACK: usize = 16 << 20;

/// How long there is one worker only, unless several requests wait. Loom has no time.
#[cfg(feature = "threads")]
pub(crate) const FIRST_WORKER_ALONE: Duration = Duration::from_micros(if cfg!(loom) { 0 } else { 2_000 });

/// How often a worker that worked just now looks at the inbox, and how many times so often: hot functions come in bursts.
#[cfg(feature = "threads")]
pub(crate) const HOT_POLL: Duration = Duration::from_micros(100);
#[cfg(feature = "threads")]
pub(crate) const HOT_POLLS: u32 = 10;

/// How often it looks after that, so that a burst of requests costs no wakes.
#[cfg(feature = "threads")]
pub(crate) const WARM_POLL: Duration = Duration::from_micros(500);

/// How many empty polls a worker makes before it naps.
#[cfg(feature = "threads")]
pub(crate) const WARM_POLLS: u32 = if cfg!(loom) { 0 } else { 100 };

/// How long the worker in `seat` naps after `naps` naps in which nothing happened, while interpreter threads are online: they wake
/// nobody. Twice as long each time, so that what a request waits is in proportion to the time there was none; 16 ms at most for the
/// first worker, 128 ms for the fourth and all after it: one lookout is enough. (HotSpot's `WatcherThread` wakes every 50 ms, for ever.)
#[cfg(feature = "threads")]
pub(crate) fn nap(naps: u32, seat: usize) -> Duration {
    WARM_POLL * (2 << naps.min(4 + seat.min(3) as u32))
}

/// Bytes of guest body for which a compile may take the deadline once more. Compilers take about linear time, and the largest
/// functions are a hundred times the usual ones.
pub(crate) const DEADLINE_BYTES: u32 = 16 << 10;

/// Time one compile of a small body may take unless configured otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Workers abandoned past their deadline before a tier is turned off, unless configured otherwise.
#[cfg(feature = "threads")]
pub(crate) const MAX_ABANDONED: u32 = 3;

/// Most workers a broker may have; parked ones are bits of one word, and replacements need some of them.
#[cfg(feature = "threads")]
pub(crate) const MOST_WORKERS: usize = 32;
