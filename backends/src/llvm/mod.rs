//! The LLVM backend: a [`Compiler`] made of a [`Lower`], whatever makes objects, and the loader.
//!
//! Nothing here needs LLVM: it lives in an executable of its own, `tierup-llvm`, that is started when it is first needed. A
//! crash costs one promotion, and a program that never reaches this tier pays nothing. `LLVM.md` in `backends/` has the
//! measurements behind that.

mod callees;
mod config;
mod connection;
mod error;
mod helper;
mod inline;
mod locations;
pub mod protocol;
mod source;

use std::{fmt, sync::Arc};

use cranelift_codegen::ir::Function;
use tierup_broker::{Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, Tier, WarmUpTime};
use tierup_deopt::ExitTableBuilder;

pub use config::{LlvmBackendBuilder, LlvmPipeline};
pub use connection::Status;
pub use error::HelperError;
pub use helper::{HELPER_NAME, HELPER_VARIABLE, Helper};
pub use locations::{LocationFrame, LocationRange, Locations};
pub use source::{Object, ObjectSource};

use callees::Callees;
use inline::{Body, Unit};

use crate::{
    CodeMemory, CompileTotals, CompiledFunction, FunctionReport,
    code::{Chain, FunctionMap, LinkedCode, Publisher},
    frontend::Frontend,
    lower::{Job, Lower, Lowered},
    object::{LoadError, LoadedObject, MAX_UNIT_BYTES, load},
    speculation::{self, Speculation},
    stats::{CompileStats, Phase},
    symbols::Symbols,
};

/// Lowers guest functions with `L`, has them compiled by `S`, and loads what comes back.
///
/// Usable by several workers at once. Keep an `Arc` of it to ask for statistics and to [`prewarm`](Self::prewarm).
pub struct LlvmBackend<G, L, S = Helper> {
    frontend: Frontend<G, L>,
    source: S,
    /// Whether units contain callees.
    inlines: bool,
    symbols: Arc<Symbols>,
    publisher: Publisher,
    stats: Arc<CompileStats>,
}

impl LlvmBackend<(), ()> {
    /// Starts a configuration. (On this instance of the type, so that it needs no annotation.)
    pub fn builder() -> LlvmBackendBuilder {
        LlvmBackendBuilder::default()
    }
}

impl<G, L: Lower<G>, S: ObjectSource> LlvmBackend<G, L, S> {
    /// A request will come soon: starts the helper unless one is idle. Takes about a millisecond, so not for an interpreter
    /// thread; does not wait until the helper is ready.
    pub fn prewarm(&self) {
        self.source.prewarm();
    }

    /// What makes the objects.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Where the code goes, and the map from pcs.
    pub fn code_memory(&self) -> &Arc<CodeMemory> {
        self.publisher.memory()
    }

    /// What was compiled so far and how long each phase took. `codegen` is from request to object, waiting for a helper to
    /// start included.
    pub fn totals(&self) -> CompileTotals {
        self.stats.totals()
    }

    /// Compiles without a broker: for tools and tests.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_direct(&self, guest: &G, tier: Tier) -> Result<CompiledFunction, Bailout> {
        let (unit, Speculation { exits, .. }) = self.single(guest, &Job::body(tier))?;
        self.finish(&unit, exits, &|| false)
    }

    /// Compiles, without a broker, the variant that is entered at `site`: for tools and tests.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_variant(&self, guest: &G, tier: Tier, site: u32) -> Result<CompiledFunction, Bailout> {
        let (unit, Speculation { exits, .. }) = self.single(guest, &Job::variant(tier, site))?;
        self.finish(&unit, exits, &|| false)
    }

    /// Lowers, verifies, compiles and loads, and throws the code away: what `check` commands do.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn check(&self, guest: &G, tier: Tier) -> Result<FunctionReport, Bailout> {
        let (unit, _) = self.single(guest, &Job::body(tier))?;
        let loaded = self.load(&self.object(&unit, &|| false)?)?;
        Ok(FunctionReport {
            instructions: unit.functions[0].dfg.num_insts(),
            code_bytes: loaded.code_bytes(),
            frame_bytes: loaded.largest_frame().unwrap_or_default() as usize,
        })
    }

    /// The function's CLIF, as text. Not verified.
    ///
    /// # Errors
    ///
    /// What the lowering says.
    pub fn clif_text(&self, guest: &G, tier: Tier) -> Result<String, Bailout> {
        self.frontend.text(guest, &Job::body(tier))
    }

    /// The CLIF of the variant that is entered at `site`, as text. Not verified.
    ///
    /// # Errors
    ///
    /// What the lowering says, or why there is no variant.
    pub fn variant_text(&self, guest: &G, tier: Tier, site: u32) -> Result<String, Bailout> {
        self.frontend.text(guest, &Job::variant(tier, site))
    }

    /// The function by itself.
    fn single(&self, guest: &G, job: &Job<'_>) -> Result<(Unit, Speculation), Bailout> {
        let (func, Lowered { label, speculation }) = self.frontend.lower_inlining(guest, job, None)?;
        Ok((Unit::single(Body { func, label }), speculation))
    }

    fn finish(&self, unit: &Unit, exits: ExitTableBuilder, cancelled: &dyn Fn() -> bool) -> Result<CompiledFunction, Bailout> {
        let object = self.object(unit, cancelled)?;
        let linked = self.stats.time(Phase::Link, || self.link(&object, unit, exits))?;
        self.stats.count(linked.code_bytes(), unit.functions[0].dfg.num_insts());
        Ok(linked)
    }

    fn object(&self, unit: &Unit, cancelled: &dyn Fn() -> bool) -> Result<Object, Bailout> {
        if cancelled() {
            return Err(Bailout::retryable(BailoutReason::Cancelled));
        }
        let unit: Vec<&Function> = unit.functions.iter().collect();
        self.stats.time(Phase::Codegen, || self.source.object(&unit, cancelled))
    }

    fn load(&self, object: &Object) -> Result<LoadedObject, Bailout> {
        load(&object.bytes, self.publisher.memory(), &|name| self.symbols.address(name)).map_err(refused)
    }

    fn link(&self, object: &Object, unit: &Unit, exits: ExitTableBuilder) -> Result<CompiledFunction, Bailout> {
        let loaded = self.load(object)?;
        let Some(entry) = loaded.function(&object.entry).map(|function| function.start) else {
            return Err(Bailout::terminal(BailoutReason::Other(format!("the object does not define `{}`", object.entry))));
        };
        let functions = loaded.functions().iter().map(|function| {
            let label = unit.label_of(&function.name);
            let name = if function.start == entry { label.name() } else { format!("{} in {}", label.name(), unit.label.name()) };
            let (start, len, tag) = (function.start, function.len, label.tag);
            (
                FunctionMap {
                    start,
                    len,
                    tag,
                    locations: Box::default(),
                    chains: chains(&object.locations, &function.name, unit),
                },
                name,
            )
        });
        let (functions, bytes) = (functions.collect(), loaded.code_bytes());
        let (exits, pages) = (exits.build(), vec![loaded.into_pages()]);
        let kept = unit.labels.values().filter_map(|label| label.kept.clone()).collect();
        Ok(self.publisher.publish(LinkedCode { entry, bytes, functions, exits, kept, pages }))
    }
}

/// What is under way in the code of the function that is defined as `symbol`.
fn chains(locations: &Locations, symbol: &str, unit: &Unit) -> Box<[Chain]> {
    let symbol_of = |index: u32| locations.symbols.get(index as usize).map(String::as_str);
    let ranges = locations.ranges.iter().filter(|range| symbol_of(range.function) == Some(symbol));
    let chain = |range: &LocationRange| {
        // A stub is nobody's function.
        let frames = |frame: &LocationFrame| {
            let label = unit.labels.get(symbol_of(frame.function)?)?;
            Some(label.places.frames(label.tag, frame.offset))
        };
        Chain { start: range.start, end: range.end, frames: range.frames.iter().filter_map(frames).flatten().collect() }
    };
    ranges.map(chain).filter(|chain| !chain.frames.is_empty()).collect()
}

fn refused(error: LoadError) -> Bailout {
    match error {
        LoadError::Unresolved(name) => Bailout::terminal(BailoutReason::UnknownSymbol { name }),
        LoadError::FrameTooLarge(bytes) => {
            Bailout::terminal(BailoutReason::FrameTooLarge { bytes, limit: crate::abi::MAX_FRAME as u64 })
        }
        LoadError::TooLarge => {
            Bailout::terminal(BailoutReason::TooLarge { size: MAX_UNIT_BYTES as u64 + 1, limit: MAX_UNIT_BYTES as u64 })
        }
        LoadError::OutOfCodeMemory(_) => Bailout::retryable(BailoutReason::OutOfCodeMemory),
        other => Bailout::terminal(BailoutReason::Other(other.to_string())),
    }
}

// SAFETY: a unit's entry is what the source made of CLIF that is verified or vouched for, which it promises to compile under the ABI
// (`ObjectSource`), at an address that stays mapped until the pages in the lease are dropped. That the CLIF means the guest
// function is the `Lower` implementation's affair, as in the Cranelift backend.
unsafe impl<G: Send + Sync + 'static, L: Lower<G>, S: ObjectSource> Compiler<G> for LlvmBackend<G, L, S> {
    fn name(&self) -> &str {
        self.publisher.backend()
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, G>) -> Result<CodeUnit, Bailout> {
        let (job, cancelled) = (Job::of(request), || request.is_cancelled());
        let mut callees = Callees::of(request, &self.frontend);
        let single = || self.single(request.guest(), &job);
        let (mut unit, Speculation { exits, mut assumed }) = if self.inlines {
            let (func, Lowered { label, speculation }) = self.frontend.lower_inlining(request.guest(), &job, Some(&callees))?;
            callees.begin_with(speculation);
            let unit = Unit::unfold(Body { func, label }, &mut callees);
            (unit, callees.take_speculation())
        } else {
            single()?
        };
        let compiled = match self.finish(&unit, exits, &cancelled) {
            // What it contains may be to blame.
            Err(bailout) if !bailout.is_retryable() && unit.functions.len() > 1 => {
                let alone = single()?;
                (unit, assumed) = (alone.0, alone.1.assumed);
                self.finish(&unit, alone.1.exits, &cancelled)
            }
            other => other,
        }?;
        let exits = compiled.exits().cloned();
        let code = request.unit(compiled.entry(), compiled.code_bytes(), Box::new(compiled));
        let code = speculation::note(callees.note(unit.contents, code), exits.as_deref(), &assumed);
        Ok(unit.label.tally.note(code))
    }

    fn wants_warm_up(&self) -> WarmUpTime {
        WarmUpTime::WhenNear
    }

    fn warm_up(&self) {
        self.prewarm();
    }
}

impl<G, L, S: fmt::Debug> fmt::Debug for LlvmBackend<G, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlvmBackend").field("source", &self.source).finish_non_exhaustive()
    }
}
