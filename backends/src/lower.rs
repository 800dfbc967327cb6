//! The one thing an embedder writes: guest function in, CLIF out. And the builder it writes with.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    ops::{Deref, DerefMut},
    panic,
    sync::Arc,
};

use cranelift_codegen::{
    ir::{ExtFuncData, ExternalName, FuncRef, Function, SigRef, Signature, Type, UserExternalName, types},
    isa::{CallConv, TargetFrontendConfig},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use tierup_broker::{Assumption, Bailout, BailoutReason, BeadRef, CodeUnit, CompileRequest, Tier, UnitKind};
use tierup_osr::Sites;

use crate::{
    MemoryStyle,
    clif::{self, Countdown},
    exits::DeclaredExits,
    inlined::{Inlining, Places},
    sites::DeclaredSites,
    speculation::{Premises, Speculation},
    stack,
    symbols::Symbols,
};

/// Lowers guest functions to CLIF. Called on compile workers, several at once.
pub trait Lower<G>: Send + Sync + 'static {
    /// Lowers `cx.guest()`: [`LowerCx::start`], build, [`Builder::finish`].
    ///
    /// # Errors
    ///
    /// A [`Bailout`] when the function cannot be lowered, now or ever.
    fn lower(&self, cx: &mut LowerCx<'_, G>) -> Result<(), Bailout>;
}

impl<G, F> Lower<G> for F
where
    F: Fn(&mut LowerCx<'_, G>) -> Result<(), Bailout> + Send + Sync + 'static,
{
    fn lower(&self, cx: &mut LowerCx<'_, G>) -> Result<(), Bailout> {
        self(cx)
    }
}

/// One lowering: what is to be lowered, for whom, and where the result goes.
pub struct LowerCx<'a, G> {
    guest: &'a G,
    tier: Tier,
    countdown: Option<Countdown>,
    samples: bool,
    target: &'a Target<'a>,
    parts: Option<(&'a mut Function, &'a mut FunctionBuilderContext)>,
    finished: &'a Cell<bool>,
    inliner: Option<&'a dyn Inliner<G>>,
    label: Label,
    pub(crate) sites: DeclaredSites,
    pub(crate) exits: DeclaredExits,
    pub(crate) inlining: RefCell<Inlining>,
    pub(crate) premises: Option<&'a dyn Premises>,
    is_callee: bool,
    pub(crate) assumed: RefCell<Vec<Assumption>>,
}

/// The namespace of direct callees until the backend tells which copy of each is called; the index is the [`Inliner`]'s number.
pub(crate) const UNRESOLVED: u32 = u32::MAX - 1;

/// Who says which functions may be inlined.
pub(crate) trait Inliner<G> {
    /// A number for the function, if its body may become part of the unit. From then on it may be read.
    fn admit(&self, callee: BeadRef<'_, G>) -> Option<u32>;
}

/// What the backend tells every lowering.
pub(crate) struct Target<'a> {
    pub(crate) symbols: &'a Symbols,
    pub(crate) memory_style: MemoryStyle,
    pub(crate) polls_loops: bool,
    pub(crate) config: TargetFrontendConfig,
}

/// What is asked of a lowering, besides the guest function.
#[derive(Clone, Copy)]
pub(crate) struct Job<'r> {
    pub(crate) tier: Tier,
    /// What the code is to be.
    pub(crate) kind: UnitKind,
    /// The countdown the code may spend.
    pub(crate) countdown: Option<Countdown>,
    /// Whether it need not.
    pub(crate) samples: bool,
    /// Number of its first exit: that many the unit has already.
    pub(crate) first_exit: u32,
    /// What the code may assume, if a broker asks for it.
    pub(crate) premises: Option<&'r dyn Premises>,
    /// It becomes part of another function's unit.
    pub(crate) is_callee: bool,
}

impl<'r> Job<'r> {
    /// A body that does not count.
    pub(crate) fn body(tier: Tier) -> Self {
        Job { tier, kind: UnitKind::Body, countdown: None, samples: false, first_exit: 0, premises: None, is_callee: false }
    }

    /// A variant that does not count.
    pub(crate) fn variant(tier: Tier, site: u32) -> Self {
        Job { kind: UnitKind::Osr { site }, ..Self::body(tier) }
    }

    /// What the broker requests.
    pub(crate) fn of<G>(request: &'r CompileRequest<'_, G>) -> Self {
        let countdown = request.counts().then(|| Countdown::of_bead(request.bead().id));
        let samples = request.samples();
        Job { kind: request.kind(), countdown, samples, premises: Some(request), ..Self::body(request.tier()) }
    }

    /// The body of another function, for a unit that has so many exits already.
    #[cfg(feature = "llvm")]
    pub(crate) fn callee(tier: Tier, first_exit: u32, premises: &'r dyn Premises) -> Self {
        Job { first_exit, premises: Some(premises), is_callee: true, ..Self::body(tier) }
    }

    /// The site the code is entered at, if it is a variant.
    pub(crate) fn site(&self) -> Option<u32> {
        match self.kind {
            UnitKind::Osr { site } => Some(site),
            _ => None,
        }
    }
}

/// What came of one lowering, besides the function.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) label: Label,
    pub(crate) speculation: Speculation,
}

/// How a function is called in maps and profiles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Label {
    pub(crate) tag: u64,
    pub(crate) name: Option<String>,
    /// The site it is entered at, if it is a variant.
    pub(crate) site: Option<u32>,
    /// All sites that it can be entered at, if there are several.
    pub(crate) entered_at: Vec<u32>,
    pub(crate) tally: Tally,
    /// What source locations beyond the guest's stand for.
    pub(crate) places: Places,
    /// What tag and code refer to.
    pub(crate) kept: Option<Kept>,
}

/// How the work of the code becomes known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Tally {
    /// Callers count calls.
    #[default]
    Calls,
    /// The code spends the bead's countdown.
    Counted,
    /// The code polls.
    Sampled,
}

impl Tally {
    /// Tells the unit.
    pub(crate) fn note(self, unit: CodeUnit) -> CodeUnit {
        match self {
            Tally::Calls => unit,
            Tally::Counted => unit.counting(),
            Tally::Sampled => unit.sampled(),
        }
    }
}

/// Something of the embedder's that lives as long as the code.
pub(crate) type Kept = Arc<dyn Any + Send + Sync>;

impl Label {
    /// What profilers see.
    pub(crate) fn name(&self) -> String {
        let name = self.name.clone().unwrap_or_else(|| format!("guest {:#x}", self.tag));
        match self.site {
            Some(site) => format!("{name} from loop {site}"),
            None => name,
        }
    }
}

impl<'a, G> LowerCx<'a, G> {
    pub(crate) fn new(
        guest: &'a G,
        job: &Job<'a>,
        target: &'a Target<'a>,
        func: &'a mut Function,
        context: &'a mut FunctionBuilderContext,
        finished: &'a Cell<bool>,
    ) -> Self {
        LowerCx {
            guest,
            tier: job.tier,
            countdown: job.countdown,
            samples: job.samples,
            target,
            parts: Some((func, context)),
            finished,
            inliner: None,
            label: Label { site: job.site(), ..Label::default() },
            sites: DeclaredSites::new(job),
            exits: DeclaredExits::new(job),
            inlining: RefCell::default(),
            premises: job.premises,
            is_callee: job.is_callee,
            assumed: RefCell::default(),
        }
    }

    /// Lets the function name what it calls.
    pub(crate) fn allow_inlining(&mut self, inliner: Option<&'a dyn Inliner<G>>) {
        self.inliner = inliner;
    }

    pub(crate) fn into_parts(self) -> (Lowered, Sites) {
        let speculation = Speculation { exits: self.exits.into_inner(), assumed: self.assumed.into_inner() };
        let label = Label { places: self.inlining.into_inner().into_places(), ..self.label };
        (Lowered { label, speculation }, self.sites.into_inner())
    }

    /// The guest function's handle.
    pub fn guest(&self) -> &'a G {
        self.guest
    }

    /// The tier the code is for.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The bead's countdown, if there is a tier above this one. A lowering that asks promises to charge every call of the body
    /// to it: the interpreter then counts none. One that does not ask need not: calls by the interpreter are counted there, and
    /// calls by native code are not.
    pub fn countdown(&mut self) -> Option<Countdown> {
        if self.countdown.is_some() {
            self.label.tally = Tally::Counted;
        }
        self.countdown
    }

    /// The bead's countdown, if there is a tier above this one and the code need not charge anything to it, because it can be sampled. A
    /// lowering that asks promises that the code polls, at its entry ([`clif::sampled_prologue`]) and at the header of every loop, and
    /// [tells](Countdown::tell) of no work where it finds the cell raised. Where there is nobody to sample it, or it does not poll, ask for
    /// the [countdown](Self::countdown).
    pub fn sampled(&mut self) -> Option<Countdown> {
        let countdown = self.countdown.filter(|_| self.may_be_sampled());
        if countdown.is_some() {
            self.label.tally = Tally::Sampled;
        }
        countdown
    }

    /// Whether there is a tier above this one, and code is sampled until it gets there: what [`sampled`](Self::sampled) would tell, without a promise. For lowerings
    /// that do neither, where they count otherwise.
    pub fn may_be_sampled(&self) -> bool {
        self.countdown.is_some() && self.samples
    }

    /// How [`clif::access`] protects linear memory in this tier.
    pub fn memory_style(&self) -> MemoryStyle {
        self.target.memory_style
    }

    /// Whether the compiler puts polls into loops by itself, where they cost least, or leaves them out: then a lowering need not.
    pub fn polls_loops(&self) -> bool {
        self.target.polls_loops
    }

    /// Whether the function is to be part of another one's unit, in whose frame it runs.
    pub fn is_callee(&self) -> bool {
        self.is_callee
    }

    /// The type of native addresses.
    pub fn isa_pointer_type(&self) -> Type {
        types::I64
    }

    /// The calling convention of bodies and helpers.
    pub fn call_conv(&self) -> CallConv {
        CallConv::SystemV
    }

    /// What [`CodeMap`](crate::CodeMap) says for pcs of this function. 0 unless set.
    pub fn set_tag(&mut self, tag: u64) {
        self.label.tag = tag;
    }

    /// Keeps something for as long as the code can be run or asked about: what its [tag](Self::set_tag), its exits and addresses in
    /// it refer to. It may be dropped on any thread.
    pub fn keep(&mut self, kept: Arc<dyn Any + Send + Sync>) {
        self.label.kept = Some(kept);
    }

    /// What profilers call this function.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.label.name = Some(name.into());
    }

    /// Starts the function.
    ///
    /// # Panics
    ///
    /// When called twice, or after [`provide`](Self::provide): a lowering makes one function.
    pub fn start(&mut self, signature: Signature) -> Builder<'a> {
        let (func, context) = self.parts.take().expect("a lowering makes one function");
        func.signature = signature;
        Builder {
            inner: FunctionBuilder::new(func, context),
            config: self.target.config,
            floor: stack::floor(),
            finished: self.finished,
        }
    }

    /// Hands in a function that was made elsewhere: parsed from text, or by another builder.
    ///
    /// # Panics
    ///
    /// After [`start`](Self::start) or another `provide`.
    pub fn provide(&mut self, function: Function) {
        let (func, _) = self.parts.take().expect("a lowering makes one function");
        *func = function;
        self.finished.set(true);
    }

    /// Whether the compiler inlines callees at all: if not, [`inlinable`](Self::inlinable) answers `None` whatever is asked.
    pub fn inlines(&self) -> bool {
        self.inliner.is_some()
    }

    /// What the function may call where the guest function calls `callee` directly, itself included: the compiler may put the
    /// callee's body there, which it lowers for that. Signature and arguments are those of a call through the callee's code
    /// cell. `None` where it would not: then the call goes through the cell.
    ///
    /// The compiler sees to it that the code goes when the callee is reloaded, invalidated or released. Whoever is inside by then
    /// finishes with the body that was. What the lowering promises about memory reaches as far as the code: what is read with the
    /// `readonly` flag must not change while the *caller* runs, and alias regions of the same user id must be the same memory
    /// in both bodies.
    pub fn inlinable(&self, b: &mut FunctionBuilder<'_>, callee: BeadRef<'_, G>, signature: SigRef) -> Option<FuncRef> {
        let index = self.inliner?.admit(callee)?;
        let name = b.func.declare_imported_user_function(UserExternalName { namespace: UNRESOLVED, index });
        let name = ExternalName::user(name);
        Some(
            clif::imported(b, &name)
                .unwrap_or_else(|| b.import_function(ExtFuncData { name, signature, colocated: false, patchable: false })),
        )
    }

    /// Imports a host symbol that was registered with the backend, for `b.ins().call`.
    ///
    /// # Errors
    ///
    /// Terminal, [`BailoutReason::UnknownSymbol`].
    pub fn helper(&self, b: &mut FunctionBuilder<'_>, name: &str) -> Result<FuncRef, Bailout> {
        match self.target.symbols.signature(name) {
            Some(signature) => Ok(clif::import_symbol(b, name, signature)),
            None => Err(Bailout::terminal(BailoutReason::UnknownSymbol { name: name.to_owned() })),
        }
    }
}

impl<G> fmt::Debug for LowerCx<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowerCx").field("tier", &self.tier).field("label", &self.label).finish_non_exhaustive()
    }
}

/// A [`FunctionBuilder`] that checks the machine stack whenever it is borrowed mutably: a lowering that recurses without end
/// ends in a bailout instead of a crash.
pub struct Builder<'a> {
    inner: FunctionBuilder<'a>,
    config: TargetFrontendConfig,
    floor: usize,
    finished: &'a Cell<bool>,
}

impl Builder<'_> {
    /// Completes the function.
    ///
    /// # Panics
    ///
    /// With debug assertions, if a block is not sealed or not filled.
    pub fn finish(self) {
        self.finished.set(true);
        self.inner.finalize(self.config);
    }
}

impl<'a> Deref for Builder<'a> {
    type Target = FunctionBuilder<'a>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Builder<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        if stack::position() < self.floor {
            exhausted();
        }
        &mut self.inner
    }
}

impl fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("block", &self.inner.current_block()).finish_non_exhaustive()
    }
}

/// The payload that unwinds a lowering out of stack to its backend.
struct LoweringExhausted;

#[cold]
fn exhausted() -> ! {
    // Not `panic!`: nothing is wrong with the program, so no hook and no message.
    panic::resume_unwind(Box::new(LoweringExhausted))
}

/// Whether a caught panic is the builder's; others go on to the broker.
pub(crate) fn is_exhaustion(payload: &(dyn Any + Send)) -> bool {
    payload.is::<LoweringExhausted>()
}
