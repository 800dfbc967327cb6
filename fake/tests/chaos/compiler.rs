//! A compiler that does anything, and code that knows what it is: whether it was freed, of which body it is, what it assumes.

use std::{
    panic::resume_unwind,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use tierup_broker::{Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, UnitId, UnitKind};

use crate::{
    random::Random,
    world::{Assumed, Body, GUARD, World},
};

/// What a compile may take; some take longer.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// Compiles that outstay their deadline, for a broker: each costs a worker.
const HANGS: usize = 6;

/// "Machine code": entries point at one. It stays allocated as long as its compiler, so that it can tell that it was freed.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) body: Body,
    pub(crate) kind: UnitKind,
    pub(crate) unit: UnitId,
    /// What it relies on, if on anything.
    pub(crate) assumed: Option<Assumed>,
    pub(crate) freed: AtomicBool,
}

/// The code's mapping: freed once, and not always quietly.
struct Mapping {
    code: Arc<Code>,
    live: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        assert!(!self.code.freed.swap(true, Ordering::SeqCst), "freed twice");
        self.live.fetch_sub(1, Ordering::SeqCst);
        if self.panics {
            resume_unwind(Box::new("a lease that panics"));
        }
    }
}

#[derive(Clone)]
pub(crate) struct Chaotic(Arc<Inner>);

struct Inner {
    random: Mutex<Random>,
    /// From now on everything compiles.
    calm: AtomicBool,
    live: Arc<AtomicUsize>,
    hung: AtomicUsize,
    codes: Mutex<Vec<Arc<Code>>>,
    kept: Mutex<Option<CodeUnit>>,
    world: OnceLock<Weak<World>>,
}

impl Chaotic {
    pub(crate) fn new(seed: u64) -> Self {
        Chaotic(Arc::new(Inner {
            random: Mutex::new(Random::new(seed)),
            calm: AtomicBool::new(false),
            live: Arc::default(),
            hung: AtomicUsize::new(0),
            codes: Mutex::default(),
            kept: Mutex::default(),
            world: OnceLock::new(),
        }))
    }

    /// What its compiles may do something to.
    pub(crate) fn set_world(&self, world: Weak<World>) {
        let _ = self.0.world.set(world);
    }

    pub(crate) fn calm_down(&self) {
        self.0.calm.store(true, Ordering::SeqCst);
        drop(self.0.kept.lock().unwrap().take());
    }

    /// Units that were not freed.
    pub(crate) fn live(&self) -> usize {
        self.0.live.load(Ordering::SeqCst)
    }

    pub(crate) fn not_freed(&self) -> Vec<Arc<Code>> {
        let codes = self.0.codes.lock().unwrap();
        codes.iter().filter(|code| !code.freed.load(Ordering::SeqCst)).cloned().collect()
    }

    fn unit(&self, request: &CompileRequest<'_, Body>, panics: bool, assumes: Option<usize>) -> CodeUnit {
        let world = self.0.world.get().and_then(Weak::upgrade);
        let assumed = assumes.and_then(|number| world.as_ref().map(|world| world.assumed(number)));
        let assumed = assumed.filter(|assumed| request.assume(&assumed.what));
        let assumption = assumed.as_ref().map(|assumed| assumed.what.clone());
        let (body, freed) = (*request.guest(), AtomicBool::new(false));
        let code = Arc::new(Code { body, kind: request.kind(), unit: request.unit_id(), assumed, freed });
        self.0.codes.lock().unwrap().push(Arc::clone(&code));
        self.0.live.fetch_add(1, Ordering::SeqCst);
        let entry = Arc::as_ptr(&code).cast::<u8>();
        let unit = request.unit(entry, 64, Box::new(Mapping { code, live: Arc::clone(&self.0.live), panics }));
        let unit = unit.guarded([GUARD].into_iter().filter(|&guard| !request.is_suppressed(guard)));
        assumption.iter().fold(unit, CodeUnit::assuming)
    }
}

// SAFETY: nobody calls these entries; they point at `Code` that the compiler's list keeps.
unsafe impl Compiler<Body> for Chaotic {
    fn name(&self) -> &str {
        "chaotic"
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, Body>) -> Result<CodeUnit, Bailout> {
        if self.0.calm.load(Ordering::SeqCst) {
            return Ok(self.unit(request, false, None));
        }
        let (fate, seed, number) = {
            let mut random = self.0.random.lock().unwrap();
            (random.below(100), random.next(), random.below(4))
        };
        let gives_up = |reason| Err(Bailout::retryable(reason));
        match fate {
            0..5 => resume_unwind(Box::new("a compile that panics")),
            5..7 => resume_unwind(Box::new(7_u8)),
            7..10 => Err(Bailout::terminal(BailoutReason::Unsupported { what: "anything".to_owned() })),
            10..16 => gives_up(BailoutReason::OutOfCodeMemory),
            16..18 => Ok(request.unit(std::ptr::null(), 0, Box::new(()))),
            18..20 => {
                let unit = self.unit(request, false, None);
                let kept = self.0.kept.lock().unwrap().replace(unit);
                kept.map_or_else(|| gives_up(BailoutReason::Other("nothing foreign yet".to_owned())), Ok)
            }
            20..24 => {
                let site = number as u32 + 1;
                let (size, limit) = (1, 0);
                Err(Bailout::terminal(BailoutReason::OsrTooLarge { size, limit, outer: site.checked_sub(2) }))
            }
            24 if self.0.hung.fetch_add(1, Ordering::SeqCst) < HANGS => {
                sleep(DEADLINE * 2);
                Ok(self.unit(request, false, None))
            }
            25 => {
                while !request.is_cancelled() && !self.0.calm.load(Ordering::SeqCst) {
                    sleep(Duration::from_millis(1));
                }
                gives_up(BailoutReason::Cancelled)
            }
            26..30 => {
                sleep(Duration::from_millis(1));
                Ok(self.unit(request, false, Some(number)))
            }
            30..40 => {
                let unit = self.unit(request, false, None);
                if let Some(world) = self.0.world.get().and_then(Weak::upgrade) {
                    world.meddle(&mut Random::new(seed), false);
                }
                Ok(unit)
            }
            40..44 => Ok(self.unit(request, true, None)),
            44..60 => Ok(self.unit(request, false, Some(number))),
            _ => Ok(self.unit(request, false, None)),
        }
    }
}
