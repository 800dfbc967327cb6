//! Compilers that take as long as they are told, and code that nobody runs.

use std::{
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use tierup_broker::{Bailout, BailoutReason, CodeUnit, CompileRequest, Compiler, Tier, UnitKind};

use crate::Kind;

/// What the broker is told of the size of code that does not exist.
const CODE_BYTES: usize = 64;

/// A compile that was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) function: u32,
    pub(super) tier: Tier,
    pub(super) kind: Kind,
}

/// What a worker's thread tells the replay.
#[derive(Debug)]
pub(super) enum Told {
    Begun(Begun),
    /// The job is installed, or there was none.
    Done,
}

/// Where the worker that is looking for a job says what it began. Only one looks at a time.
#[derive(Debug, Default)]
pub(super) struct Stage {
    current: Mutex<Option<Seat>>,
}

/// The two ends a compile needs: to say that it has begun, and to be told that it is over.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) tell: mpsc::Sender<Told>,
    pub(super) finish: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Stage {
    pub(super) fn enter(&self, seat: Seat) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(seat);
    }

    fn seat(&self) -> Option<Seat> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The compiler of one tier.
#[derive(Debug)]
pub(super) struct ReplayCompiler {
    name: String,
    stage: Arc<Stage>,
}

impl ReplayCompiler {
    pub(super) fn new(name: &str, stage: &Arc<Stage>) -> Self {
        ReplayCompiler { name: name.to_owned(), stage: Arc::clone(stage) }
    }
}

/// Entries of units, one for each tier. The replay calls none of them.
mod entries {
    macro_rules! entries {
        ($($name:ident = $tier:literal),*) => {
            $(extern "C" fn $name() -> usize { $tier })*
            pub(super) const ALL: [extern "C" fn() -> usize; 8] = [$($name),*];
        };
    }
    entries!(interpreter = 0, one = 1, two = 2, three = 3, four = 4, five = 5, six = 6, seven = 7);
}

/// The tier of the code at an entry.
pub(super) fn tier_of(entry: NonNull<u8>) -> usize {
    entries::ALL.iter().position(|&known| std::ptr::eq(known as *const u8, entry.as_ptr())).unwrap_or(0)
}

// SAFETY: the entry is a function of this program, callable for ever, from any thread.
unsafe impl Compiler<u32> for ReplayCompiler {
    fn name(&self) -> &str {
        &self.name
    }

    fn compiles_osr(&self) -> bool {
        true
    }

    fn compile(&self, request: &CompileRequest<'_, u32>) -> Result<CodeUnit, Bailout> {
        let over = || Bailout::terminal(BailoutReason::Cancelled);
        let seat = self.stage.seat().ok_or_else(over)?;
        let kind = match request.kind() {
            UnitKind::Osr { site } => Kind::Loop { site },
            _ => Kind::Calls,
        };
        let begun = Begun { function: *request.guest(), tier: request.tier(), kind };
        seat.tell.send(Told::Begun(begun)).map_err(|_| over())?;
        // The replay that has ended does not tell.
        seat.finish.lock().unwrap_or_else(PoisonError::into_inner).recv().map_err(|_| over())?;
        let entry = entries::ALL[usize::from(request.tier().index())];
        let unit = request.unit(entry as *const u8, CODE_BYTES, Box::new(()));
        // Its guest threads tell of its work, whether by counting or when they are sampled.
        Ok(if request.counts() { unit.counting() } else { unit })
    }
}
