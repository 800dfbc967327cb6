//! The hot path, one out-of-line function per row, ours beside the incumbent's.
//!
//! `cargo bench --bench hotpath` runs every row under callgrind and prints instructions per call, `ret` included;
//! without valgrind it says so. `cargo bench --bench hotpath -- --time` prints the best nanoseconds per call instead.
//! `cargo bench --bench hotpath -- --row NAME CALLS` makes the calls of one row and nothing else, for any profiler.

mod rows;

use std::{hint::black_box, sync::Arc};

use incumbent::Beadie;
use rows::Row;
use tierup::{
    Bailout, Bead, BeadRef, BeadSpec, Broker, CodeUnit, CompileRequest, Compiler, InterpThread, Mode, NativeCode, OsrEntry,
    Threshold, Tier, Tiered,
};

/// A compiler of one Rust function.
struct OneFunction;

extern "C" fn body() -> u64 {
    1
}

// SAFETY: the entry is a function of this program.
unsafe impl Compiler<u32> for OneFunction {
    fn name(&self) -> &str {
        "one function"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, u32>) -> Result<CodeUnit, Bailout> {
        Ok(request.unit(body as *const u8, 1, Box::new(())))
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_on_invoke<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>) -> Option<NativeCode<'t>> {
    thread.on_invoke(bead)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_on_back_edge(thread: &InterpThread<u32>, bead: BeadRef<'_, u32>) {
    thread.on_back_edge(bead, 0, 5);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_osr_entry<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>, site: u32) -> Option<OsrEntry<'t>> {
    thread.osr_entry(bead, site)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_back_edge_spent<'t>(thread: &'t InterpThread<u32>, bead: BeadRef<'_, u32>, site: u32) -> Option<OsrEntry<'t>> {
    thread.back_edge_spent(bead, site, 5)
}

#[unsafe(no_mangle)]
#[inline(never)]
fn tierup_quiescent(thread: &mut InterpThread<u32>) {
    thread.quiescent();
}

#[unsafe(no_mangle)]
#[inline(never)]
fn beadie_on_invoke(beadie: &Beadie, bead: &Arc<incumbent::Bead>) -> Option<*mut ()> {
    beadie.on_invoke(bead, |_| body as *mut ())
}

struct Tierup {
    thread: InterpThread<u32>,
    bead: Bead<u32>,
    _broker: Broker<u32>,
}

impl Tierup {
    fn new(tiers: usize, policy: impl tierup::HotnessPolicy + 'static) -> Self {
        let builder = (0..tiers).fold(Broker::builder(), |builder, _| builder.compiler(OneFunction));
        let broker = builder.mode(Mode::Sync).policy(policy).build().expect("the configuration is valid");
        let thread = broker.register_thread().expect("there is memory");
        let bead = broker.register(0, BeadSpec { size: 10 }).expect("there is room");
        Tierup { thread, bead, _broker: broker }
    }

    fn compiled(self) -> Self {
        self._broker.compile_now(self.bead.as_ref(), Tier::new(1)).expect("the compiler works");
        self
    }

    /// The calls of a row, after one that draws the slice.
    fn invoke(&self, calls: u64) {
        for _ in 0..=calls {
            black_box(tierup_on_invoke(&self.thread, self.bead.as_ref()));
        }
    }
}

const ROWS: &[Row] = &[
    Row {
        name: "tierup/compiled-final",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(1, Threshold { calls: 0 }).compiled().invoke(calls),
    },
    Row {
        name: "tierup/compiled-pending",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(2, Tiered::new(0, u32::MAX)).compiled().invoke(calls),
    },
    Row {
        name: "tierup/cold",
        symbol: "tierup_on_invoke",
        calls: |calls| Tierup::new(1, Threshold { calls: u32::MAX }).invoke(calls),
    },
    Row {
        name: "tierup/back-edge",
        symbol: "tierup_on_back_edge",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| tierup_on_back_edge(&it.thread, black_box(it.bead.as_ref())));
        },
    },
    Row {
        name: "tierup/osr-lookup-hit",
        symbol: "tierup_osr_entry",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            it._broker.compile_osr_now(it.bead.as_ref(), Tier::new(1), 7).expect("the compiler works");
            (0..=calls).for_each(|_| {
                assert!(tierup_osr_entry(&it.thread, black_box(it.bead.as_ref()), 7).is_some());
            });
        },
    },
    Row {
        name: "tierup/osr-lookup-miss",
        symbol: "tierup_osr_entry",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| {
                assert!(tierup_osr_entry(&it.thread, black_box(it.bead.as_ref()), 7).is_none());
            });
        },
    },
    Row {
        name: "tierup/back-edge-enters",
        symbol: "tierup_back_edge_spent",
        calls: |calls| {
            let it = Tierup::new(1, Threshold { calls: u32::MAX });
            it._broker.compile_osr_now(it.bead.as_ref(), Tier::new(1), 7).expect("the compiler works");
            (0..=calls).for_each(|_| {
                assert!(tierup_back_edge_spent(&it.thread, black_box(it.bead.as_ref()), 7).is_some());
            });
        },
    },
    Row {
        name: "tierup/quiescent",
        symbol: "tierup_quiescent",
        calls: |calls| {
            let mut it = Tierup::new(1, Threshold { calls: u32::MAX });
            (0..=calls).for_each(|_| tierup_quiescent(black_box(&mut it.thread)));
        },
    },
    Row {
        name: "beadie/compiled",
        symbol: "beadie_on_invoke",
        calls: |calls| {
            let beadie = Beadie::new();
            let bead = beadie.register(std::ptr::null_mut(), None);
            bead.eager_install(body as *mut ());
            (0..=calls).for_each(|_| {
                black_box(beadie_on_invoke(&beadie, black_box(&bead)));
            });
        },
    },
    Row {
        name: "beadie/cold",
        symbol: "beadie_on_invoke",
        calls: |calls| {
            let beadie = Beadie::with_policy(incumbent::ThresholdPolicy::new(u32::MAX));
            let bead = beadie.register(std::ptr::null_mut(), None);
            (0..=calls).for_each(|_| {
                black_box(beadie_on_invoke(&beadie, black_box(&bead)));
            });
        },
    },
];

fn main() {
    rows::main(ROWS);
}
