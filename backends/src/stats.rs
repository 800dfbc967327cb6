//! What compiles cost, by phase.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The phases of a compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The embedder's lowering.
    Lower,
    /// Cranelift's verifier.
    Verify,
    /// Optimization, register allocation, emission.
    Codegen,
    /// Pages, relocation, sealing, the code map.
    Link,
}

const PHASES: usize = 4;

/// Counters. Relaxed throughout: sums that publish nothing.
#[derive(Debug, Default)]
pub(crate) struct CompileStats {
    nanos: [AtomicU64; PHASES],
    units: AtomicU64,
    quick_units: AtomicU64,
    code_bytes: AtomicU64,
    instructions: AtomicU64,
}

/// Totals since the backend was built. Failed compiles count in the phases they reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompileTotals {
    /// Functions compiled to the end.
    pub units: u64,
    /// How many of them the [quick](crate::OptLevel::Quick) compiler compiled.
    pub quick_units: u64,
    /// Bytes of machine code they have.
    pub code_bytes: u64,
    /// CLIF instructions they had.
    pub instructions: u64,
    /// Time in the lowering.
    pub lower: Duration,
    /// Time in the verifier.
    pub verify: Duration,
    /// Time in the code generator.
    pub codegen: Duration,
    /// Time linking.
    pub link: Duration,
}

impl CompileStats {
    pub(crate) fn time<R>(&self, phase: Phase, f: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = f();
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Ordering: Relaxed. A sum.
        self.nanos[phase as usize].fetch_add(nanos, Ordering::Relaxed);
        result
    }

    pub(crate) fn count(&self, code_bytes: usize, instructions: usize) {
        // Ordering: Relaxed, all three. Sums.
        self.units.fetch_add(1, Ordering::Relaxed);
        self.code_bytes.fetch_add(code_bytes as u64, Ordering::Relaxed);
        self.instructions.fetch_add(instructions as u64, Ordering::Relaxed);
    }

    /// The quick compiler compiled the function that is counted next.
    pub(crate) fn note_quick(&self) {
        // Ordering: Relaxed. A sum.
        self.quick_units.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> CompileTotals {
        // Ordering: Relaxed. A reading of sums, not a consistent cut.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let spent = |phase: Phase| Duration::from_nanos(read(&self.nanos[phase as usize]));
        CompileTotals {
            units: read(&self.units),
            quick_units: read(&self.quick_units),
            code_bytes: read(&self.code_bytes),
            instructions: read(&self.instructions),
            lower: spent(Phase::Lower),
            verify: spent(Phase::Verify),
            codegen: spent(Phase::Codegen),
            link: spent(Phase::Link),
        }
    }
}
