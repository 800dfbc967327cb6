//! A compiler of plain Rust functions: its units are `extern "C"` functions of this very program, and it does whatever a test
//! tells it to. With it loom, Miri, policy and abuse tests run the whole broker without generated code.
//!
//! Guest handles are [`Guest`]s: what one compile of a function shall do is part of the function.

mod lease;
mod made;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use lease::{Lease, Leases};
pub use made::Made;
use tierup_broker::{Assumption, Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, GuardId, Tier, UnitKind};

/// What a compile of a function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Returns the function's code.
    #[default]
    Compiles,
    /// Returns the function's code after a while.
    Slowly(Duration),
    /// Gives up for good.
    Terminal,
    /// Gives up this often, then compiles.
    Retryable(u32),
    /// Panics.
    Panics,
    /// Panics with a payload that is not a string.
    PanicsOddly,
    /// Returns a null entry.
    Null,
    /// Returns the unit that an earlier request was given, or a unit it had kept.
    Foreign,
    /// Returns only when the request is cancelled.
    HangsUntilCancelled,
    /// Returns only when the test lets it: see [`FakeCompiler::release_hung`].
    Hangs,
    /// Returns code whose lease panics when it is dropped.
    LeasePanics,
    /// Gives up on OSR variants of this site and of higher ones: too large, but the loop around, one number lower, may do.
    TooLargeFrom(u32),
}

/// A guest function: a number to return, and how it compiles.
#[derive(Debug, Clone, Default)]
pub struct Guest {
    /// What the function returns; also tells functions apart.
    pub value: u64,
    /// What compiling it does.
    pub behaviour: Behaviour,
    /// What compiling an OSR variant of it does.
    pub osr: Behaviour,
    /// The guards its code has, but for those that are suppressed.
    pub guards: Vec<GuardId>,
    /// What its code relies on, where it holds.
    pub assumptions: Vec<Assumption>,
    /// Whether its code looks at its validity cell.
    pub watches: bool,
    /// Where each of its OSR variants can be entered, besides where it was asked for.
    pub entered_at: Vec<u32>,
}

impl Guest {
    /// A function that returns `value` and compiles without trouble.
    pub fn new(value: u64) -> Self {
        Guest { value, ..Guest::default() }
    }

    /// A function whose compiles behave so.
    pub fn behaving(value: u64, behaviour: Behaviour) -> Self {
        Guest { value, behaviour, ..Guest::default() }
    }

    /// A function that speculates at these guards.
    pub fn guarded(value: u64, guards: &[GuardId]) -> Self {
        Guest { value, guards: guards.to_vec(), ..Guest::default() }
    }

    /// The same, and its code looks at its validity cell.
    #[must_use]
    pub fn watching(self) -> Self {
        Guest { watches: true, ..self }
    }

    /// The same, and its code relies on an assumption.
    #[must_use]
    pub fn assuming(mut self, assumption: &Assumption) -> Self {
        self.assumptions.push(assumption.clone());
        self
    }

    /// The same, and each of its OSR variants can be entered at these sites, too.
    #[must_use]
    pub fn entered_at(self, sites: &[u32]) -> Self {
        Guest { entered_at: sites.to_vec(), ..self }
    }

    /// A function that compiles without trouble, but whose OSR variants behave so.
    pub fn with_osr(value: u64, osr: Behaviour) -> Self {
        Guest { value, osr, ..Guest::default() }
    }
}

/// The bodies: `extern "C"` functions that return their own number.
mod bodies {
    macro_rules! bodies {
        ($($name:ident = $value:literal),*) => {
            $(extern "C" fn $name() -> u64 { $value })*
            pub(super) const ALL: &[extern "C" fn() -> u64] = &[$($name),*];
        };
    }
    bodies!(zero = 0, one = 1, two = 2, three = 3, four = 4, five = 5, six = 6, seven = 7);
}

/// The OSR variants: as the bodies, but they return [`VARIANT`] and the number of their site.
mod variants {
    macro_rules! variants {
        ($($name:ident = $site:literal),*) => {
            $(extern "C" fn $name() -> u64 { super::VARIANT + $site })*
            pub(super) const ALL: &[extern "C" fn() -> u64] = &[$($name),*];
        };
    }
    variants!(zero = 0, one = 1, two = 2, three = 3, four = 4, five = 5, six = 6, seven = 7);
}

/// What an OSR variant returns, plus its site modulo [`BODIES`].
pub const VARIANT: u64 = 1000;

/// How many different bodies there are: a guest's value is taken modulo this.
pub const BODIES: u64 = bodies::ALL.len() as u64;

/// Calls a fake unit's entry.
///
/// # Safety
///
/// `entry` came from a [`FakeCompiler`]'s unit.
pub unsafe fn call(entry: *const u8) -> u64 {
    // SAFETY: a fake unit's entry is one of the bodies (caller).
    let body: extern "C" fn() -> u64 = unsafe { std::mem::transmute(entry) };
    body()
}

/// A compiler that does what its guests say. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct FakeCompiler {
    osr: bool,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    leases: Leases,
    compiles: AtomicUsize,
    refusals: AtomicU32,
    released: AtomicUsize,
    made: std::sync::Mutex<Vec<Made>>,
    /// A unit some other request was stamped with, for [`Behaviour::Foreign`].
    kept: std::sync::Mutex<Option<CodeUnit>>,
}

impl FakeCompiler {
    /// A compiler with its own lease count.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and it compiles OSR variants.
    pub fn with_osr() -> Self {
        FakeCompiler { osr: true, ..Self::default() }
    }

    /// The leases of its units.
    pub fn leases(&self) -> &Leases {
        &self.inner.leases
    }

    /// Compiles begun so far.
    pub fn compiles(&self) -> usize {
        self.inner.compiles.load(Ordering::SeqCst)
    }

    /// Lets every compile that [hangs](Behaviour::Hangs) return, now and later.
    pub fn release_hung(&self) {
        self.inner.released.store(1, Ordering::SeqCst);
    }

    /// The units made so far, oldest first, that of course may have been refused.
    pub fn made(&self) -> Vec<Made> {
        self.inner.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn unit(&self, request: &CompileRequest<'_, Guest>) -> CodeUnit {
        let guest = request.guest();
        let made = Made::of(request, guest.watches);
        self.inner.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(made);
        let assumed = guest.assumptions.iter().filter(|assumption| request.assume(assumption));
        let unit = request.unit(entry(request), 64, Box::new(self.inner.leases.grant()));
        let unit = unit.guarded(guest.guards.iter().copied().filter(|&guard| !request.is_suppressed(guard)));
        assumed.fold(unit, CodeUnit::assuming).entered_at(guest.entered_at.iter().copied())
    }
}

fn entry(request: &CompileRequest<'_, Guest>) -> *const u8 {
    let function = match request.kind() {
        UnitKind::Osr { site } => variants::ALL[(u64::from(site) % BODIES) as usize],
        _ => bodies::ALL[(request.guest().value % BODIES) as usize],
    };
    function as *const u8
}

// SAFETY: entries are functions of this program, callable for ever, from any thread.
unsafe impl Compiler<Guest> for FakeCompiler {
    fn name(&self) -> &str {
        "fake"
    }

    fn compiles_osr(&self) -> bool {
        self.osr
    }

    fn compile(&self, request: &CompileRequest<'_, Guest>) -> Result<CodeUnit, Bailout> {
        self.inner.compiles.fetch_add(1, Ordering::SeqCst);
        assert_ne!(request.tier(), Tier::INTERPRETER, "nobody compiles for the interpreter");
        let guest = request.guest();
        match if request.kind() == UnitKind::Body { guest.behaviour } else { guest.osr } {
            Behaviour::Compiles => Ok(self.unit(request)),
            Behaviour::Slowly(delay) => {
                std::thread::sleep(delay);
                Ok(self.unit(request))
            }
            Behaviour::Terminal => Err(Bailout::terminal(BailoutReason::Unsupported { what: "this function".to_owned() })),
            Behaviour::Retryable(times) => {
                if self.inner.refusals.fetch_add(1, Ordering::SeqCst) < times {
                    Err(Bailout::retryable(BailoutReason::OutOfCodeMemory))
                } else {
                    Ok(self.unit(request))
                }
            }
            Behaviour::Panics => panic!("the fake compiler was told to panic"),
            Behaviour::PanicsOddly => std::panic::panic_any(7_u8),
            Behaviour::Null => Ok(request.unit(std::ptr::null(), 0, Box::new(self.inner.leases.grant()))),
            Behaviour::Foreign => {
                let mut kept = self.inner.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let own = self.unit(request);
                match kept.replace(own) {
                    Some(foreign) => Ok(foreign),
                    // Nothing to pass off yet: the next request gets this one's.
                    None => Err(Bailout::retryable(BailoutReason::Other("nothing foreign yet".to_owned()))),
                }
            }
            Behaviour::HangsUntilCancelled => {
                while !request.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Bailout::terminal(BailoutReason::Cancelled))
            }
            Behaviour::Hangs => {
                while self.inner.released.load(Ordering::SeqCst) == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(self.unit(request))
            }
            Behaviour::LeasePanics => Ok(request.unit(entry(request), 64, Box::new(PanicOnDrop(self.inner.leases.grant())))),
            Behaviour::TooLargeFrom(least) => match request.kind() {
                UnitKind::Osr { site } if site >= least => {
                    let (size, limit) = (u64::from(site), u64::from(least));
                    Err(Bailout::terminal(BailoutReason::OsrTooLarge { size, limit, outer: site.checked_sub(1) }))
                }
                _ => Ok(self.unit(request)),
            },
        }
    }
}

/// A lease that panics when it is dropped, after the lease it holds is counted.
struct PanicOnDrop(Lease);

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        let _ = &self.0;
        panic!("this lease was told to panic");
    }
}
