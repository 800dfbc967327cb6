//! The half of a backend that knows guests and no compiler: the embedder's lowering, scratch space, the verifier. Every
//! backend has one.

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

use cranelift_codegen::{
    Context,
    ir::{ExternalName, Function},
    isa::{CallConv, TargetFrontendConfig},
    verify_function,
};
use cranelift_frontend::FunctionBuilderContext;
use target_lexicon::PointerWidth;
use tierup_broker::{Bailout, BailoutReason};
use tierup_osr::{Sites, Verified};

use crate::{
    MemoryStyle,
    backend::HostIsa,
    lower::{self, Inliner, Job, Lower, LowerCx, Lowered, Target},
    sites, stack,
    stats::{CompileStats, Phase},
    symbols::Symbols,
};

/// Guest functions in, verified CLIF out.
pub(crate) struct Frontend<G, L> {
    lower: L,
    isa: Arc<HostIsa>,
    symbols: Arc<Symbols>,
    memory_style: MemoryStyle,
    /// The compiler does much with loops: it has them poll by itself, and each entered at its header only.
    optimizes_loops: bool,
    /// The lowering makes nothing that the verifier would refuse.
    is_trusted: bool,
    stats: Arc<CompileStats>,
    /// Scratch space of compiles that ended well, for reuse.
    scratch: Mutex<Vec<Scratch>>,
    _guest: PhantomData<fn(&G)>,
}

/// Allocations a compile reuses.
struct Scratch {
    func: Function,
    /// For Cranelift only.
    context: Option<Box<Context>>,
    builder: FunctionBuilderContext,
}

/// What a function builder has to know of the target: the same for all that have stubs.
pub(crate) const CONFIG: TargetFrontendConfig =
    TargetFrontendConfig { default_call_conv: CallConv::SystemV, pointer_width: PointerWidth::U64, page_size_align_log2: 12 };

impl<G, L: Lower<G>> Frontend<G, L> {
    pub(crate) fn new(
        lower: L,
        isa: Arc<HostIsa>,
        symbols: Arc<Symbols>,
        memory_style: MemoryStyle,
        optimizes_loops: bool,
        is_trusted: bool,
        stats: Arc<CompileStats>,
    ) -> Self {
        let (scratch, _guest) = (Mutex::default(), PhantomData);
        Frontend { lower, isa, symbols, memory_style, optimizes_loops, is_trusted, stats, scratch, _guest }
    }

    pub(crate) fn stats(&self) -> &CompileStats {
        &self.stats
    }

    /// Lowers `guest` and hands the function, a body or a variant, to `then`, once it is verified.
    pub(crate) fn lower<R>(
        &self,
        guest: &G,
        job: &Job<'_>,
        then: impl FnOnce(&mut Context, Lowered) -> Result<R, Bailout>,
    ) -> Result<R, Bailout> {
        self.with_scratch(|scratch| {
            let lowered = self.lower_into(scratch, guest, job, None)?;
            let context = scratch.context.get_or_insert_with(|| Box::new(Context::new()));
            std::mem::swap(&mut scratch.func, &mut context.func);
            let result = then(context, lowered)?;
            std::mem::swap(&mut scratch.func, &mut context.func);
            context.clear();
            Ok(result)
        })
    }

    /// Lowers `guest`, verifies the body, and hands it on with what it declared: for a compiler that makes variants by itself. Nobody
    /// else sees what becomes of the body.
    pub(crate) fn lower_as_is<R>(
        &self,
        guest: &G,
        job: &Job<'_>,
        then: impl FnOnce(&mut Function, &Sites, Lowered) -> Result<R, Bailout>,
    ) -> Result<R, Bailout> {
        self.with_scratch(|scratch| {
            let (lowered, sites) = self.lower_body(scratch, guest, job, None)?;
            self.verify(&scratch.func, job)?;
            then(&mut scratch.func, &sites, lowered)
        })
    }

    /// The text of the function, which is verified only if it is a variant.
    pub(crate) fn text(&self, guest: &G, job: &Job<'_>) -> Result<String, Bailout> {
        self.with_scratch(|scratch| {
            let (_, sites) = self.lower_body(scratch, guest, job, None)?;
            if let Some(site) = job.site() {
                self.enter_at(&mut scratch.func, job, &sites, site)?;
            }
            Ok(scratch.func.display().to_string())
        })
    }

    /// Lowers `guest`, which may name what it calls, and verifies the function.
    #[cfg(feature = "llvm")]
    pub(crate) fn lower_inlining(
        &self,
        guest: &G,
        job: &Job<'_>,
        inliner: Option<&dyn Inliner<G>>,
    ) -> Result<(Function, Lowered), Bailout> {
        self.with_scratch(|scratch| {
            let lowered = self.lower_into(scratch, guest, job, inliner)?;
            Ok((std::mem::replace(&mut scratch.func, Function::new()), lowered))
        })
    }

    /// Checks that a function is valid CLIF, unless it is vouched for, a body by its signature, and calls only what is registered.
    fn verify<'f>(&self, func: &'f Function, job: &Job<'_>) -> Result<Verified<'f>, Bailout> {
        // Tools want to know.
        let verified = match self.is_trusted && job.premises.is_some() && !cfg!(debug_assertions) {
            true => Verified::vouched(func),
            false => {
                let isa = &**self.isa.get()?;
                self.stats.time(Phase::Verify, || Verified::check(func, isa)).map_err(sites::refused)?
            }
        };
        if func.signature.call_conv != CallConv::SystemV || func.signature.returns.len() > 1 {
            let what = format!("a body of signature {}", func.signature);
            return Err(Bailout::terminal(BailoutReason::Unsupported { what }));
        }
        for (_, callee) in func.dfg.ext_funcs.iter() {
            if let ExternalName::User(name) = callee.name
                && func.params.user_named_funcs()[name].namespace == lower::UNRESOLVED
            {
                continue;
            }
            self.symbols.resolve(&callee.name, func)?;
        }
        Ok(verified)
    }

    /// Makes a body, which is not verified yet, the variant that is entered at `site`, and at the other sites that it says.
    fn enter_at(&self, func: &mut Function, job: &Job<'_>, sites: &Sites, site: u32) -> Result<Vec<u32>, Bailout> {
        let body = self.verify(func, job)?;
        let (variant, entered_at) = self.stats.time(Phase::Lower, || match self.optimizes_loops {
            true => sites::variant(body, sites, site).map(|variant| (variant, Vec::new())),
            false => sites::shared(body, sites, site),
        })?;
        debug_assert_eq!(self.isa.get().map(|isa| verify_function(&variant, &**isa)), Ok(Ok(())), "made of a valid body");
        *func = variant;
        Ok(entered_at)
    }

    /// Has `f` make a function nobody asked for in the scratch space, which then is as large as it takes.
    pub(crate) fn warm_up(&self, f: impl FnOnce(&mut Function, &mut FunctionBuilderContext, TargetFrontendConfig)) {
        let _ = self.with_scratch(|scratch| {
            f(&mut scratch.func, &mut scratch.builder, CONFIG);
            Ok(())
        });
    }

    /// Runs `f` with scratch space, which is kept if `f` succeeds. After a failure it may hold half a function.
    fn with_scratch<R>(&self, f: impl FnOnce(&mut Scratch) -> Result<R, Bailout>) -> Result<R, Bailout> {
        let pooled = self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut scratch =
            pooled.unwrap_or_else(|| Scratch { func: Function::new(), context: None, builder: FunctionBuilderContext::new() });
        let result = f(&mut scratch)?;
        scratch.func.clear();
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        Ok(result)
    }

    /// Leaves what is asked for, verified, in the scratch space.
    fn lower_into(
        &self,
        scratch: &mut Scratch,
        guest: &G,
        job: &Job<'_>,
        inliner: Option<&dyn Inliner<G>>,
    ) -> Result<Lowered, Bailout> {
        let (mut lowered, sites) = self.lower_body(scratch, guest, job, inliner)?;
        match job.site() {
            Some(site) => lowered.label.entered_at = self.enter_at(&mut scratch.func, job, &sites, site)?,
            None => {
                self.verify(&scratch.func, job)?;
            }
        }
        Ok(lowered)
    }

    /// Has the embedder lower a body.
    fn lower_body(
        &self,
        scratch: &mut Scratch,
        guest: &G,
        job: &Job<'_>,
        inliner: Option<&dyn Inliner<G>>,
    ) -> Result<(Lowered, Sites), Bailout> {
        // Only where a caller compiles on its own thread: workers have plenty. It may have more another time.
        if !stack::has_room_to_compile() {
            return Err(Bailout::retryable(BailoutReason::StackExhausted));
        }
        let target =
            Target { symbols: &self.symbols, memory_style: self.memory_style, polls_loops: self.optimizes_loops, config: CONFIG };
        let finished = Cell::new(false);
        let mut cx = LowerCx::new(guest, job, &target, &mut scratch.func, &mut scratch.builder, &finished);
        cx.allow_inlining(inliner);
        let result = self.stats.time(Phase::Lower, || panic::catch_unwind(AssertUnwindSafe(|| self.lower.lower(&mut cx))));
        match result {
            Ok(result) => result?,
            Err(payload) if lower::is_exhaustion(&*payload) => {
                return Err(Bailout::terminal(BailoutReason::StackExhausted));
            }
            Err(payload) => panic::resume_unwind(payload),
        }
        if !finished.get() {
            let message = "the lowering did not finish its function".to_owned();
            return Err(Bailout::terminal(BailoutReason::Verifier { message }));
        }
        Ok(cx.into_parts())
    }
}

impl<G, L> fmt::Debug for Frontend<G, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").field("memory_style", &self.memory_style).finish_non_exhaustive()
    }
}
