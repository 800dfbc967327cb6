//! One compiler behind a trait, and beads that know theirs.

use std::{fmt, ptr, sync::Arc};

use crate::{
    Bead, Beadie, CoreHandle, HotnessPolicy, OsrCompileResult, OsrEntry, ReloadOutcome, SwapResult, ThresholdPolicy,
    bead::OnInvalidate,
};

/// A compile that failed, in words.
#[derive(Debug)]
pub struct CompileError {
    /// What went wrong.
    pub message: String,
}

impl CompileError {
    /// An error of these words.
    pub fn new(msg: impl Into<String>) -> Self {
        CompileError { message: msg.into() }
    }

    /// Another error's words.
    pub fn from_err<E: std::error::Error>(e: E) -> Self {
        CompileError { message: e.to_string() }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CompileError {}

/// A compiler.
pub trait JitBackend: Send + Sync + 'static {
    /// What it compiles.
    type FunctionDef: Send + 'static;
    /// How it fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Compiles a function. After an error, or null, the bead stays with the interpreter until it is reloaded.
    ///
    /// # Errors
    ///
    /// Whatever the compiler says.
    fn compile(&self, bead: &Arc<Bead>, def: Self::FunctionDef) -> Result<*mut (), Self::Error>;
}

/// What a factory makes of a function whose code has OSR entries.
#[derive(Debug)]
pub struct OsrBuild<D> {
    /// What to compile.
    pub def: D,
    /// Where its code can be entered in the middle.
    pub osr: Vec<OsrEntry>,
}

/// A bead and its compiler.
#[derive(Debug)]
pub struct BoundBead<B: JitBackend> {
    bead: Arc<Bead>,
    backend: Arc<B>,
}

impl<B: JitBackend> Clone for BoundBead<B> {
    fn clone(&self) -> Self {
        BoundBead { bead: Arc::clone(&self.bead), backend: Arc::clone(&self.backend) }
    }
}

impl<B: JitBackend> BoundBead<B> {
    /// The bead.
    pub fn bead(&self) -> &Arc<Bead> {
        &self.bead
    }

    /// The compiler.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }

    /// Compiles now, on this thread, and [installs](Bead::eager_install) the code if the bead has none.
    ///
    /// # Errors
    ///
    /// The compiler's.
    pub fn compile(&self, def: B::FunctionDef) -> Result<Arc<Bead>, B::Error> {
        let code = self.backend.compile(&self.bead, def)?;
        self.bead.eager_install(code);
        Ok(Arc::clone(&self.bead))
    }

    /// As [`Bead::reload`].
    pub fn reload(&self) -> ReloadOutcome {
        self.bead.reload()
    }

    /// As [`Bead::swap_compiled`].
    pub fn swap_compiled(&self, new_code: *mut ()) -> Option<SwapResult> {
        self.bead.swap_compiled(new_code)
    }

    /// As [`Bead::swap_compiled_with_osr`].
    pub fn swap_compiled_with_osr(&self, new_code: *mut (), osr: Vec<OsrEntry>) -> Option<SwapResult> {
        self.bead.swap_compiled_with_osr(new_code, osr)
    }
}

/// A [`Beadie`] on one compiler.
#[derive(Debug)]
pub struct BackendAdapter<B: JitBackend, P: HotnessPolicy = ThresholdPolicy> {
    beadie: Beadie<P>,
    backend: Arc<B>,
}

impl<B: JitBackend> BackendAdapter<B> {
    /// Compiles at the 1,000th invocation.
    pub fn new(backend: B) -> Self {
        Self::with_policy(backend, ThresholdPolicy::default())
    }
}

impl<B: JitBackend, P: HotnessPolicy> BackendAdapter<B, P> {
    /// Compiles when `policy` says.
    pub fn with_policy(backend: B, policy: P) -> Self {
        BackendAdapter { beadie: Beadie::with_policy(policy), backend: Arc::new(backend) }
    }

    /// As [`Beadie::register`].
    pub fn register(&self, core: CoreHandle, on_invalidate: Option<OnInvalidate>) -> BoundBead<B> {
        BoundBead { bead: self.beadie.register(core, on_invalidate), backend: Arc::clone(&self.backend) }
    }

    /// As [`Beadie::on_invoke`]; `factory` makes what the compiler compiles, on its thread. Failures are logged.
    #[inline]
    pub fn on_invoke<F>(&self, bound: &BoundBead<B>, factory: F) -> Option<*mut ()>
    where
        F: FnOnce(&Arc<Bead>) -> B::FunctionDef + Send + 'static,
    {
        self.invoke(bound, move |bead| OsrBuild { def: factory(bead), osr: Vec::new() })
    }

    /// As [`on_invoke`](Self::on_invoke), for code with [OSR entries](Bead::osr_entry).
    #[inline]
    pub fn on_invoke_osr<F>(&self, bound: &BoundBead<B>, factory: F) -> Option<*mut ()>
    where
        F: FnOnce(&Arc<Bead>) -> OsrBuild<B::FunctionDef> + Send + 'static,
    {
        self.invoke(bound, factory)
    }

    #[inline(always)]
    fn invoke<F>(&self, bound: &BoundBead<B>, factory: F) -> Option<*mut ()>
    where
        F: FnOnce(&Arc<Bead>) -> OsrBuild<B::FunctionDef> + Send + 'static,
    {
        self.beadie.invoke(&bound.bead, move || {
            let backend = Arc::clone(&bound.backend);
            Box::new(move |bead| {
                let OsrBuild { def, osr } = factory(bead);
                let entry = backend.compile(bead, def).unwrap_or_else(|error| {
                    tracing::error!(target: "beadie", %error, "a function could not be compiled");
                    ptr::null_mut()
                });
                OsrCompileResult { entry, osr }
            })
        })
    }

    /// As [`Beadie::prune`].
    pub fn prune(&self) {
        self.beadie.prune();
    }

    /// As [`Beadie::reload_all`].
    pub fn reload_all(&self) -> usize {
        self.beadie.reload_all()
    }

    /// As [`Beadie::reload_matching`].
    pub fn reload_matching(&self, pred: impl Fn(&Arc<Bead>) -> bool) -> usize {
        self.beadie.reload_matching(pred)
    }

    /// As [`Beadie::chain_len`].
    pub fn chain_len(&self) -> usize {
        self.beadie.chain_len()
    }

    /// What it is made of.
    pub fn beadie(&self) -> &Beadie<P> {
        &self.beadie
    }

    /// The compiler.
    pub fn backend(&self) -> &Arc<B> {
        &self.backend
    }
}
