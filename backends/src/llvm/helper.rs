//! LLVM in processes of its own: one helper per compile under way, kept for the next.

use std::{
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use cranelift_codegen::ir::Function;
use tierup_broker::{Bailout, BailoutReason};

use super::{
    Object, ObjectSource,
    connection::{Connection, Patience},
    protocol::{Answer, MAX_BODY},
};

/// The name of the helper's executable.
pub const HELPER_NAME: &str = "tierup-llvm";

/// The environment variable that names the helper's executable, when the builder does not.
pub const HELPER_VARIABLE: &str = "TIERUP_LLVM_HELPER";

/// How long an answer may take unless configured otherwise: below the broker's default deadline, so that a helper that hangs
/// is told from a function that takes too long.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// Bytes of CLIF for which an answer may take the limit once more: with some 100 bytes of CLIF per byte of guest body, less than
/// the broker's deadline grows by.
const MORE_TIME_BYTES: usize = 2 << 20;

/// The helper's executable and the helpers that run.
///
/// A compile takes a helper for itself, an idle one or a new one: a crash or a kill hits the one compile, and LLVM's
/// process-wide state is never shared. So there are as many as compiles were ever made at once; what they share (LLVM's code)
/// the system shares.
#[derive(Debug)]
pub struct Helper {
    /// Looked for when it is needed: to ask the system where this program is takes as long as a short one runs.
    program: OnceLock<PathBuf>,
    arguments: Vec<OsString>,
    answer_limit: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Helper {
    pub(super) fn new(program: Option<PathBuf>, arguments: Vec<OsString>, answer_limit: Duration) -> Self {
        let program = program.map_or_else(OnceLock::new, OnceLock::from);
        Helper { program, arguments, answer_limit, idle: Mutex::default() }
    }

    /// The executable that is run. Unless it was named it is looked for when this is called, or LLVM is needed, for the first time.
    pub fn program(&self) -> &Path {
        self.program.get_or_init(find)
    }

    /// What the helper says it is, for example `LLVM 19.1.7`. Starts one, which is kept for the first compile.
    ///
    /// # Errors
    ///
    /// [`HelperError`](super::HelperError), above all that there is none.
    pub fn version(&self) -> Result<String, super::HelperError> {
        let mut connection = self.start()?;
        let version = connection.greet(&Patience { cancelled: &|| false, limit: self.answer_limit })?;
        self.lock().push(connection);
        Ok(version)
    }

    /// Process ids of the helpers that wait for work.
    pub fn idle(&self) -> Vec<u32> {
        self.lock().iter().map(Connection::pid).collect()
    }

    /// The most memory any helper that waits for work has had resident, in bytes. `None` where there is none, or the system does
    /// not say. (What was killed is not counted.)
    pub fn peak_memory(&self) -> Option<u64> {
        self.lock().iter().filter_map(|connection| peak_memory(connection.pid())).max()
    }

    fn start(&self) -> Result<Connection, super::HelperError> {
        Connection::start(Command::new(self.program()).arg("--serve").args(&self.arguments))
    }

    fn ask(&self, clif: &str, cancelled: &dyn Fn() -> bool) -> Result<Answer, super::HelperError> {
        let mut connection = self.idle_connection().map_or_else(|| self.start(), Ok)?;
        // Large functions take longer; up to here it is about linear.
        let more = u32::try_from(clif.len() / MORE_TIME_BYTES).unwrap_or(u32::MAX).saturating_add(1);
        let limit = self.answer_limit.saturating_mul(more);
        let answer = connection.compile(clif, &Patience { cancelled, limit })?;
        self.lock().push(connection);
        Ok(answer)
    }

    /// One that waits for work. Those that ended meanwhile are forgotten.
    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.lock();
        while let Some(mut connection) = idle.pop() {
            if connection.is_running() {
                return Some(connection);
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// SAFETY: the helper is `tierup-llvm`, which keeps the ABI for what it compiles; who names another executable vouches for it
// (`LlvmBackendBuilder::helper`).
unsafe impl ObjectSource for Helper {
    fn object(&self, unit: &[&Function], cancelled: &dyn Fn() -> bool) -> Result<Object, Bailout> {
        let mut clif = String::new();
        for function in unit {
            let _ = writeln!(clif, "{}", function.display());
        }
        if clif.len() > MAX_BODY {
            let (size, limit) = (clif.len() as u64, MAX_BODY as u64);
            return Err(Bailout::terminal(BailoutReason::TooLarge { size, limit }));
        }
        match self.ask(&clif, cancelled)? {
            Answer::Object { entry, locations, bytes, .. } => Ok(Object { entry, locations, bytes }),
            Answer::Unsupported(what) => Err(Bailout::terminal(BailoutReason::Unsupported { what })),
            Answer::FrameTooLarge { bytes, limit } => Err(Bailout::terminal(BailoutReason::FrameTooLarge { bytes, limit })),
            Answer::Failed(why) => Err(Bailout::terminal(BailoutReason::Other(why))),
        }
    }

    /// Starts a helper unless one is idle. Starting takes about a millisecond, being ready is not waited for; failing is told
    /// when the helper is needed.
    fn prewarm(&self) {
        if self.lock().is_empty() {
            match self.start() {
                Ok(connection) => self.lock().push(connection),
                Err(error) => tracing::debug!(target: "tierup", %error, "no helper yet"),
            }
        }
    }
}

/// The high water mark of a process's resident memory, `VmHWM` of proc(5).
fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the helper is when nobody says: the environment's word, beside this executable or one folder up (as in a build tree),
/// or on the path.
fn find() -> PathBuf {
    if let Some(named) = env::var_os(HELPER_VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    let here = env::current_exe().unwrap_or_default();
    let beside = here.ancestors().skip(1).take(2).map(|folder| folder.join(HELPER_NAME));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| HELPER_NAME.into())
}
