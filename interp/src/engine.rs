//! An engine: one broker, one configuration, one numbering of function types, shared by any number of modules and stores.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tierup::abi;
use tierup::deopt::ExitTable;
use tierup::{
    Bead, BeadSpec, Broker, BrokerBuilder, CodeMap, Decision, Face, FirstWorker, HotnessPolicy, InterpThread, Mode, OsrAfter,
    Rules, Sample, Threshold, Tier, Tiered, WaitReason,
};

use crate::compilers::Compilers;
use crate::config::{Config, Osr, TierMode};
use crate::deopt::{TestsKeep, describe_guards};
use crate::error::Error;
use crate::module::{Body, FuncHandle};
use crate::types::FuncType;
use crate::vmctx::CodeCell;
#[cfg(feature = "llvm")]
use {crate::llvm::OPTIMIZING, tierup::Reason};

/// What modules and stores share. Cloning shares.
#[derive(Clone)]
pub struct Engine(Arc<EngineInner>);

/// How old an engine is before it compiles anything in the background, unless a module that takes long was loaded: about the time that the first worker and its
/// first compile take the program. Those that are over by then do without (the break-even of the ski-rental problem).
const FIRST_COMPILE: Duration = Duration::from_micros(300);

struct EngineInner {
    config: Arc<Config>,
    broker: Broker<FuncHandle>,
    compilers: Option<Arc<Compilers>>,
    /// The code word of every host function; points at `_host_face`.
    host_code: CodeCell,
    _host_face: Box<Face>,
    /// Function types in the order of their numbers. Locked when a module is loaded or a host function imported, never
    /// while a guest runs.
    types: Mutex<BTreeMap<FuncType, u32>>,
    /// Parts of functions that compiles have left out.
    left_out: AtomicU64,
    /// Bodies that were given templates, and the bytes of those.
    templates: [AtomicU64; 2],
}

/// What the interpreter has in place of its handlers; see [`Templates`](crate::Templates).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TemplateStats {
    /// Bodies that were given templates.
    pub bodies: u64,
    /// Bytes of machine code made for them.
    pub bytes: u64,
}

impl Engine {
    /// An engine. Where code is compiled in the background, the first worker begins with the first module that takes long to load, or with
    /// the first request, but for that not before the engine is 300 us old.
    ///
    /// There the compilers, and the addresses that are reserved for code, are made when the first is needed; where the system refuses them then, functions
    /// stay in the interpreter, with a terminal bailout each. In the other modes, and where a perf map is wanted, they are made here.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] when the configuration or the machine does not allow it.
    pub fn new(config: Config) -> Result<Self, Error> {
        let refused = |error: &dyn std::error::Error| Error::Engine(error.to_string());
        let mut builder = Broker::<FuncHandle>::builder().bridge(abi::bridge_stub());
        builder = builder.describe(FuncHandle::describe).describe_guards(describe_guards);
        let config = Arc::new(config);
        let compiles = config.tier != TierMode::Interp;
        let compilers = compiles.then(|| Compilers::new(Arc::clone(&config))).transpose()?;
        if let Some(compilers) = &compilers {
            builder = compilers.tiers().fold(builder, BrokerBuilder::compiler);
        }
        if let Some(mode) = if config.tier == TierMode::Auto { config.mode } else { Some(Mode::Sync) } {
            builder = builder.mode(mode);
        }
        let policy = policy(&config);
        builder = match config.osr {
            Osr::Auto => builder.policy(policy),
            Osr::Off => builder.policy(OsrAfter { policy, work: u32::MAX }),
            Osr::Always | Osr::Random(_) => builder.policy(BodiesBelow { policy, tier: Tier::new(config.compiled_tiers()) }),
        };
        builder = builder.deopt_policy(TestsKeep(config.deopt_policy.clone()));
        if let Some(workers) = config.workers {
            builder = builder.workers(workers);
        }
        for &(tier, workers) in &config.workers_for {
            builder = builder.workers_for(tier, workers);
        }
        if let Some(deadline) = config.deadline {
            builder = builder.deadline(deadline);
        }
        if let Some(on_event) = &config.on_event {
            builder = builder.on_event(Arc::clone(on_event));
        }
        if let Some(on_work) = &config.on_work {
            let on_work = Arc::clone(on_work);
            builder = builder.on_work(move |guest, work| on_work(guest, work));
        }
        // A small program may be over before a thread would be there.
        let broker = builder.first_worker(FirstWorker::WithRequestAfter(FIRST_COMPILE)).build().map_err(|e| refused(&e))?;
        let host_face = Box::new(Face::new(abi::bridge_stub()));
        let host_code = CodeCell::new((&raw const *host_face).cast_mut());
        let (types, left_out, templates) = (Mutex::default(), AtomicU64::new(0), Default::default());
        Ok(Self(Arc::new(EngineInner {
            config,
            broker,
            compilers,
            host_code,
            _host_face: host_face,
            types,
            left_out,
            templates,
        })))
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its broker: statistics, forced promotion, pumping.
    pub fn broker(&self) -> &Broker<FuncHandle> {
        &self.0.broker
    }

    /// How many parts of functions were left out of code, because they had never run: in all compiles there have been, for each anew. See
    /// [`Speculate::Arms`](crate::Speculate::Arms).
    pub fn left_out(&self) -> u64 {
        // Ordering: Relaxed. A number that carries nothing.
        self.0.left_out.load(Relaxed)
    }

    /// How many bodies have got templates so far. Those of modules that have gone are counted, too.
    pub fn templates(&self) -> TemplateStats {
        // Ordering: Relaxed. Numbers that carry nothing.
        let [bodies, bytes] = self.0.templates.each_ref().map(|count| count.load(Relaxed));
        TemplateStats { bodies, bytes }
    }

    /// One more has, with so many bytes.
    #[cfg(tierup_templates)]
    pub(crate) fn note_templates(&self, bytes: usize) {
        for (count, more) in self.0.templates.iter().zip([1, bytes as u64]) {
            // Ordering: Relaxed. Numbers that carry nothing.
            count.fetch_add(more, Relaxed);
        }
    }

    /// One more was.
    pub(crate) fn note_left_out(&self) {
        // Ordering: Relaxed. A number that carries nothing.
        self.0.left_out.fetch_add(1, Relaxed);
    }

    /// The tiers that running loops are made to go on in, in modes that do so out of order.
    pub(crate) fn osr_tiers(&self) -> &'static [Tier] {
        const TIERS: [Tier; 2] = [Tier::new(1), Tier::new(2)];
        let compiled = usize::from(self.0.config.compiled_tiers());
        match self.0.config.tier {
            #[cfg(feature = "llvm")]
            TierMode::Opt => &TIERS[1..],
            _ => &TIERS[..compiled],
        }
    }

    /// Whether both are one engine.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The engine-wide number of a function type, and the type as first seen, which shares its storage.
    pub(crate) fn intern(&self, ty: FuncType) -> (u32, FuncType) {
        // A panic while the lock was held cannot have left the map half changed.
        let mut types = self.0.types.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, &number)) = types.get_key_value(&ty) {
            return (number, known.clone());
        }
        let number = types.len() as u32;
        types.insert(ty.clone(), number);
        (number, ty)
    }

    /// Registers a function of `size` body bytes with the broker.
    pub(crate) fn register(&self, handle: FuncHandle, size: u32) -> Result<Bead<FuncHandle>, Error> {
        self.0.broker.register(handle, BeadSpec { size }).map_err(|e| Error::Engine(e.to_string()))
    }

    /// Registers a guest thread with the broker.
    pub(crate) fn register_thread(&self) -> Result<InterpThread<FuncHandle>, Error> {
        self.0.broker.register_thread().map_err(|e| Error::Engine(e.to_string()))
    }

    /// The code word of every host function: its entry is the bridge.
    pub(crate) fn host_code(&self) -> *const CodeCell {
        &raw const self.0.host_code
    }

    /// Whose code is where, if there is any.
    pub(crate) fn code_map(&self) -> Option<&CodeMap> {
        Some(self.0.compilers.as_ref()?.memory()?.map())
    }

    /// The bodies that are under way at the instruction before `return_pc`, inlined ones first, and the offset in the bytes
    /// it came with that each is at, where the compiler kept it. None if that is not native code.
    pub(crate) fn native_locations(&self, return_pc: usize, mut found: impl FnMut(*const Body, Option<u32>)) {
        if let Some(code) = self.code_map() {
            code.each_return(return_pc, |position| found(position.tag as *const Body, position.guest_offset));
        }
    }

    /// The innermost of them: alive while the code is.
    pub(crate) fn native_body(&self, return_pc: usize) -> Option<*const Body> {
        Some(self.code_map()?.find_return(return_pc)?.tag as *const Body)
    }

    /// The exits of the unit that `pc` lies in, a return address or the entry of a variant, if it has any.
    pub(crate) fn exits(&self, pc: usize) -> Option<Arc<ExitTable>> {
        self.code_map()?.exits(pc)
    }
}

/// What is hot.
fn policy(config: &Config) -> Arc<dyn HotnessPolicy> {
    match config.tier {
        TierMode::Auto => match &config.policy {
            Some(policy) => Arc::clone(policy),
            None => Arc::new(Tiered::default()),
        },
        // Nothing is hot: it is up to the mode.
        _ if config.osr.is_forced() => Arc::new(Threshold { calls: u32::MAX }),
        // Without a compiler nobody asks the policy.
        TierMode::Interp | TierMode::Baseline => Arc::new(Threshold { calls: 0 }),
        #[cfg(feature = "llvm")]
        TierMode::Opt => Arc::new(AtOnce),
    }
}

/// Leaves everything to a policy but the bodies of `tier` and above, of which there are none: in modes that enter loops out of
/// order, a call in one could not be entered again.
struct BodiesBelow<P> {
    policy: P,
    tier: Tier,
}

impl<P: HotnessPolicy> HotnessPolicy for BodiesBelow<P> {
    fn wants_quiet(&self) -> bool {
        self.policy.wants_quiet()
    }

    fn rules(&self) -> Option<&Rules> {
        self.policy.rules()
    }

    fn first_budget(&self, tier: Tier, size: u32) -> u32 {
        if tier < self.tier { self.policy.first_budget(tier, size) } else { u32::MAX }
    }

    fn osr_budget(&self, tier: Tier, size: u32) -> u32 {
        self.policy.osr_budget(tier, size)
    }

    fn decide(&self, sample: &Sample) -> Decision {
        match self.policy.decide(sample) {
            Decision::Promote { tier, reason } if sample.site.is_none() && tier >= self.tier => {
                if sample.next < self.tier {
                    Decision::Promote { tier: sample.next, reason }
                } else {
                    Decision::Wait { budget: u32::MAX, reason: WaitReason::NotHot }
                }
            }
            decision => decision,
        }
    }
}

/// Straight to the optimizing tier, or below where that is refused.
#[cfg(feature = "llvm")]
struct AtOnce;

#[cfg(feature = "llvm")]
impl HotnessPolicy for AtOnce {
    fn first_budget(&self, _: Tier, _: u32) -> u32 {
        0
    }

    fn decide(&self, sample: &Sample) -> Decision {
        // A tier that was refused is corrected to the next one there is.
        Decision::Promote { tier: OPTIMIZING, reason: if sample.bailouts > 0 { Reason::Retry } else { Reason::FirstCall } }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.0.config).finish_non_exhaustive()
    }
}
