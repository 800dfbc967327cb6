//! An engine's compilers, made when the first of them is needed.
//!
//! A program may be over before anything is hot, and a range of addresses to reserve and code to read for the first time took 14 us of its 200. Where
//! somebody waits for them from the first call on, or is to hear what is wrong with them, they are made with the engine.

use std::sync::{Arc, OnceLock};

use tierup::{
    BackendError, Bailout, BailoutReason, CodeMemory, CodeUnit, CompileRequest, Compiler, CraneliftBackend, DEFAULT_CODE_BYTES,
    Tier, WarmUpTime, abi,
};

use crate::config::{Baseline, Config, TierMode};
use crate::error::Error;
#[cfg(feature = "llvm")]
use crate::llvm::{self, BACKGROUND};
use crate::lower::WasmLower;
use crate::module::FuncHandle;

/// The tier above the interpreter.
const BASELINE: Tier = Tier::new(1);

/// The compilers of engines of one configuration.
pub(crate) struct Compilers {
    config: Arc<Config>,
    made: OnceLock<Result<Made, BackendError>>,
}

struct Made {
    memory: Arc<CodeMemory>,
    baseline: CraneliftBackend<FuncHandle, WasmLower>,
    #[cfg(feature = "llvm")]
    optimizing: Option<llvm::Backend>,
}

impl Compilers {
    /// Those of this configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`] if there are none for this target, or if they are needed at once and the system refuses.
    pub(crate) fn new(config: Arc<Config>) -> Result<Arc<Self>, Error> {
        let refused = |error: &BackendError| Error::Engine(error.to_string());
        if !abi::SUPPORTED {
            return Err(refused(&BackendError::UnsupportedTarget));
        }
        let at_once = config.tier != TierMode::Auto || config.perf_map;
        let compilers = Arc::new(Self { config, made: OnceLock::new() });
        if at_once {
            compilers.made().map_err(refused)?;
        }
        Ok(compilers)
    }

    /// One for each tier, lowest first.
    pub(crate) fn tiers(self: &Arc<Self>) -> impl Iterator<Item = ForTier> {
        (1..=self.config.compiled_tiers()).map(|tier| ForTier { compilers: Arc::clone(self), tier: Tier::new(tier) })
    }

    /// Where their code is, if there is any.
    pub(crate) fn memory(&self) -> Option<&CodeMemory> {
        Some(&self.made.get()?.as_ref().ok()?.memory)
    }

    fn made(&self) -> Result<&Made, &BackendError> {
        self.made.get_or_init(|| Made::of(&self.config)).as_ref()
    }
}

impl Made {
    fn of(config: &Config) -> Result<Self, BackendError> {
        let memory = CodeMemory::reserve(DEFAULT_CODE_BYTES).map_err(BackendError::CodeMemory)?;
        let baseline = WasmLower::baseline(config.baseline.level()).perf_map(config.perf_map).code_memory(Arc::clone(&memory));
        // Before the first call the program waits.
        #[cfg(feature = "llvm")]
        let nice = if config.tier == TierMode::Opt { 0 } else { BACKGROUND };
        #[cfg(feature = "llvm")]
        let optimizing = config
            .optimizing()
            .map(|llvm| llvm.build(&baseline, WasmLower::of(config), nice, config.interruptible))
            .transpose()?;
        Ok(Self {
            memory,
            baseline: baseline.build(WasmLower::of(config))?,
            #[cfg(feature = "llvm")]
            optimizing,
        })
    }

    fn compiler(&self, tier: Tier) -> &dyn Compiler<FuncHandle> {
        #[cfg(feature = "llvm")]
        if tier != BASELINE
            && let Some(optimizing) = &self.optimizing
        {
            return optimizing;
        }
        debug_assert_eq!(tier, BASELINE, "there is one for each tier");
        &self.baseline
    }
}

/// An engine's compiler for one tier. Where the system refuses what it takes, all it is asked for stays in lower tiers.
pub(crate) struct ForTier {
    compilers: Arc<Compilers>,
    tier: Tier,
}

// SAFETY: forwards to one that keeps the promise.
unsafe impl Compiler<FuncHandle> for ForTier {
    fn name(&self) -> &str {
        if self.tier == BASELINE { self.compilers.config.baseline.level().name() } else { "llvm" }
    }

    fn compile(&self, request: &CompileRequest<'_, FuncHandle>) -> Result<CodeUnit, Bailout> {
        match self.compilers.made() {
            Ok(made) => made.compiler(self.tier).compile(request),
            Err(error) => Err(Bailout::terminal(BailoutReason::Unsupported { what: error.to_string() })),
        }
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        match (self.tier == BASELINE, self.compilers.config.baseline) {
            (true, Baseline::Quick) => WarmUpTime::AtStart,
            (true, Baseline::Cranelift) => WarmUpTime::Never,
            (false, _) => WarmUpTime::WhenNear,
        }
    }

    fn warm_up(&self) {
        if let Ok(made) = self.compilers.made() {
            made.compiler(self.tier).warm_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Engine, TierMode};

    #[test]
    fn they_are_made_at_once_for_who_waits_for_them() {
        let has_memory = |tier| Engine::new(Config { tier, ..Config::default() }).expect("an engine").code_map().is_some();
        assert!(!has_memory(TierMode::Interp));
        assert!(has_memory(TierMode::Baseline));
        assert!(!has_memory(TierMode::Auto));
    }
}
