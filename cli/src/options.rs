//! What the command line can say.

use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "llvm")]
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tierup::{HotnessPolicy, TYPICAL_CALL_WORK, Threshold, Tiered};
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{Deopt, Osr, TierMode};

/// Runs WebAssembly programs: interpreted at first, compiled while they run.
#[derive(Debug, Parser)]
#[command(name = "tierup", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program.
    ///
    /// Nothing of the host is visible to it but its arguments and the standard streams, unless granted with --dir and --env.
    ///
    /// The exit code is the program's own; 134 if it trapped; 1 if it could not be loaded or the host failed; 2 for wrong
    /// usage.
    Run(RunOptions),
    /// Compile every function for every tier without running anything, and say what would not compile and why.
    ///
    /// The exit code is 0 if everything compiles, otherwise 1.
    Check(CheckOptions),
    /// Look at a program that runs with --serve, and act on it.
    ///
    /// A function is named by its name, by its index (a number), or by the id under which it is listed (#ID or #ID.GENERATION).
    ///
    /// The exit code is 0, or 1 if nobody serves at the socket or the request is refused.
    Ctl(CtlOptions),
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Which tiers to use.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tier: TierChoice,

    /// When functions are promoted (--tier auto): development, default, production (from eager to patient), calls=FIRST,SECOND
    /// for the first and every further compiled tier, or threshold=CALLS for all alike.
    #[cfg_attr(feature = "llvm", doc = "With LLVM also production-llvm, which has it compile only what stays very hot.")]
    #[arg(long, value_name = "POLICY", value_parser = parse_policy, default_value = "default")]
    pub(crate) policy: PolicyChoice,

    /// When running loops go on in native code: auto (when they are hot) or off; for tests also always (at every loop header, as
    /// soon as it is reached) and random:SEED (after as many arrivals at headers as the seed says), which compile at once, and
    /// begin every call in code that can be left again: with --tier baseline and opt in the interpreter.
    #[arg(long, value_name = "WHEN", value_parser = parse_osr, default_value = "auto")]
    pub(crate) osr: Osr,

    /// Whether compiled code leaves for the interpreter where it need not: off, or, for tests, every:N (at every N-th place where the
    /// interpreter can go on) and random:SEED (after as many as the seed says).
    #[arg(long, value_name = "WHEN", value_parser = parse_deopt, default_value = "off")]
    pub(crate) deopt: Deopt,

    /// Whether LLVM's code takes for granted that indirect calls call what they have called, and is left for the interpreter where that
    /// turns out wrong: auto (where it helps) or off; for tests also always (on whatever has been called, were it once).
    #[cfg(feature = "llvm")]
    #[arg(long, value_name = "WHEN", value_parser = parse_speculate, default_value = "auto")]
    pub(crate) speculate: Speculate,

    /// How many threads compile (--tier auto), 1 to 32; unless given, as many as suit the machine, at least 2. The
    /// program itself runs on one thread.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) threads: Option<u16>,

    #[cfg(feature = "llvm")]
    #[command(flatten)]
    pub(crate) llvm: LlvmOptions,

    /// Let the program see a directory of the host, for reading and writing.
    #[arg(long = "dir", value_name = "HOST::GUEST", value_parser = parse_dir)]
    pub(crate) dirs: Vec<DirGrant>,

    /// Set a variable of the program's environment.
    #[arg(long = "env", value_name = "K=V", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,

    /// Call this exported function, with ARGS as its arguments, and print its results, one per line.
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,

    /// Afterwards, tell on standard error what tiered, when, why, and what it cost.
    #[arg(long)]
    pub(crate) stats: bool,

    /// While the program runs, let `tierup ctl SOCKET` look at it and act on it, over a local socket that is made here and is yours
    /// only.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) serve: Option<PathBuf>,

    /// Log to standard error, e.g. `tierup=debug` for every transition.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,

    /// The program, a WebAssembly module, and its arguments: whatever follows the module, options included, is the
    /// program's.
    #[arg(value_names = ["MODULE", "ARGS"], num_args = 1.., required = true, trailing_var_arg = true)]
    program: Vec<String>,
}

impl RunOptions {
    /// Where the module is.
    pub(crate) fn module(&self) -> &Path {
        self.program.first().map_or(Path::new(""), Path::new)
    }

    /// The program's arguments, its name left out.
    pub(crate) fn args(&self) -> &[String] {
        self.program.get(1..).unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub(crate) struct CtlOptions {
    /// Where the program serves.
    pub(crate) socket: PathBuf,

    /// Print what the service says, one JSON value per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) what: CtlCommand,
}

/// What can be asked of a program that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Show what happens, as it happens, until the program ends.
    Events {
        /// Only to these functions.
        names: Vec<String>,
    },
    /// Say where a function is, and what is missing for its next promotion.
    Why {
        /// Which function.
        name: String,
    },
    /// Say what the broker has done so far.
    Stats,
    /// List functions.
    Beads {
        /// Only those whose name contains this.
        #[arg(long, value_name = "TEXT", default_value = "")]
        containing: String,
    },
    /// Wait until a function runs code of a tier, or of a higher one.
    Tier {
        /// Which function.
        name: String,
        /// 1 for the first compiled tier.
        tier: u8,
        /// For how long at most; unless given, until the program ends.
        #[arg(long, value_name = "SECONDS")]
        within: Option<u32>,
    },
    /// Stop new entries into a function's code. It may be compiled again.
    Invalidate {
        /// Which function.
        name: String,
    },
    /// Have a function start over: its code, its failures and what was learnt of it are forgotten.
    Reload {
        /// Which function.
        name: String,
    },
    /// Return a function to the interpreter, and keep it there until it is reloaded.
    Disable {
        /// Which function.
        name: String,
    },
    /// Compile nothing any more, and serve no longer. The program goes on with the code it has.
    Shutdown,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    #[cfg(feature = "llvm")]
    #[command(flatten)]
    pub(crate) llvm: LlvmOptions,

    /// The WebAssembly module.
    pub(crate) module: PathBuf,
}

/// The optimizing tier.
#[cfg(feature = "llvm")]
#[derive(Debug, Args)]
pub(crate) struct LlvmOptions {
    /// The executable in which LLVM runs; unless given, the one that the variable TIERUP_LLVM_HELPER names, or `tierup-llvm`
    /// beside this command or on the path.
    #[arg(long = "llvm-helper", value_name = "PATH")]
    helper: Option<PathBuf>,

    /// How many seconds LLVM may take for one function, and as many again per 2 MiB of CLIF; unless given, 8, or 60 in a check.
    #[arg(long = "llvm-limit", value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    limit: Option<u16>,
}

#[cfg(feature = "llvm")]
impl LlvmOptions {
    pub(crate) fn tier(&self) -> tierup_interp::Llvm {
        tierup_interp::Llvm { helper: self.helper.clone(), answer_limit: self.limit(), ..Default::default() }
    }

    /// How long LLVM may take for one function, if it was said.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum TierChoice {
    /// Interpret everything.
    Interp,
    /// Compile every function before its first call.
    Baseline,
    /// Compile every function with LLVM before its first call.
    #[cfg(feature = "llvm")]
    Opt,
    /// Interpret first, compile what turns out hot.
    #[default]
    Auto,
}

impl From<TierChoice> for TierMode {
    fn from(choice: TierChoice) -> Self {
        match choice {
            TierChoice::Interp => Self::Interp,
            TierChoice::Baseline => Self::Baseline,
            #[cfg(feature = "llvm")]
            TierChoice::Opt => Self::Opt,
            TierChoice::Auto => Self::Auto,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyChoice {
    Development,
    Default,
    Production,
    #[cfg(feature = "llvm")]
    ProductionLlvm,
    /// Typical calls before the first compiled tier, and before every further one.
    Calls(u32, u32),
    Threshold(u32),
}

impl PolicyChoice {
    pub(crate) fn policy(self) -> Arc<dyn HotnessPolicy> {
        match self {
            Self::Development => Arc::new(Tiered::development()),
            Self::Default => Arc::new(Tiered::default()),
            Self::Production => Arc::new(Tiered::production()),
            #[cfg(feature = "llvm")]
            Self::ProductionLlvm => Arc::new(Tiered::production_llvm()),
            Self::Calls(first, second) => Arc::new(Tiered::new(first, second).call_worth(TYPICAL_CALL_WORK)),
            Self::Threshold(calls) => Arc::new(Threshold { calls }),
        }
    }
}

fn parse_policy(text: &str) -> Result<PolicyChoice, String> {
    Ok(match text {
        "development" => PolicyChoice::Development,
        "default" => PolicyChoice::Default,
        "production" => PolicyChoice::Production,
        #[cfg(feature = "llvm")]
        "production-llvm" => PolicyChoice::ProductionLlvm,
        _ => match text.split_once('=') {
            Some(("threshold", calls)) => {
                PolicyChoice::Threshold(calls.parse().map_err(|_| "the threshold is a number of calls")?)
            }
            Some(("calls", calls)) => parse_calls(calls).ok_or("two numbers of calls, FIRST,SECOND")?,
            _ => return Err("one of development, default, production, calls=FIRST,SECOND, threshold=CALLS".to_owned()),
        },
    })
}

fn parse_calls(text: &str) -> Option<PolicyChoice> {
    let (first, second) = text.split_once(',')?;
    Some(PolicyChoice::Calls(first.parse().ok()?, second.parse().ok()?))
}

fn parse_osr(text: &str) -> Result<Osr, String> {
    Ok(match text {
        "auto" => Osr::Auto,
        "off" => Osr::Off,
        "always" => Osr::Always,
        _ => match text.strip_prefix("random:").map(str::parse) {
            Some(seed) => Osr::Random(seed.map_err(|_| "the seed is a number")?),
            None => return Err("one of auto, off, always, random:SEED".to_owned()),
        },
    })
}

#[cfg(feature = "llvm")]
fn parse_speculate(text: &str) -> Result<Speculate, String> {
    match text {
        "auto" => Ok(Speculate::Auto),
        "off" => Ok(Speculate::Off),
        "always" => Ok(Speculate::Always),
        _ => Err("one of auto, off, always".to_owned()),
    }
}

fn parse_deopt(text: &str) -> Result<Deopt, String> {
    match text.split_once(':') {
        None if text == "off" => Ok(Deopt::Off),
        Some(("every", n)) => Ok(Deopt::Every(n.parse().map_err(|_| "N is a number, from 1 on")?)),
        Some(("random", seed)) => Ok(Deopt::Random(seed.parse().map_err(|_| "the seed is a number")?)),
        _ => Err("one of off, every:N, random:SEED".to_owned()),
    }
}

/// A directory of the host and the guest's name for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirGrant {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
}

fn parse_dir(text: &str) -> Result<DirGrant, String> {
    match text.split_once("::") {
        Some((host, guest)) if !host.is_empty() && !guest.is_empty() => {
            Ok(DirGrant { host: host.into(), guest: guest.to_owned() })
        }
        _ => Err("HOST::GUEST, for example .::/".to_owned()),
    }
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn values() {
        assert_eq!(parse_policy("threshold=7"), Ok(PolicyChoice::Threshold(7)));
        assert_eq!(parse_policy("production"), Ok(PolicyChoice::Production));
        assert_eq!(parse_policy("calls=3,40"), Ok(PolicyChoice::Calls(3, 40)));
        assert!(parse_policy("calls=3").is_err() && parse_policy("calls=a,1").is_err());
        assert!(parse_policy("threshold=-1").is_err());
        assert!(parse_policy("quick").is_err());
        assert_eq!(parse_osr("random:18446744073709551615"), Ok(Osr::Random(u64::MAX)));
        assert_eq!((parse_osr("off"), parse_osr("always")), (Ok(Osr::Off), Ok(Osr::Always)));
        assert!(parse_osr("random").is_err() && parse_osr("random:x").is_err() && parse_osr("on").is_err());
        assert_eq!((parse_deopt("off"), parse_deopt("random:9")), (Ok(Deopt::Off), Ok(Deopt::Random(9))));
        assert_eq!(parse_deopt("every:7"), Ok(Deopt::Every(NonZeroU32::new(7).unwrap())));
        assert!(["", "on", "off:1", "every", "every:0", "every:-1", "random:x"].iter().all(|text| parse_deopt(text).is_err()));
        assert_eq!(parse_dir("a::/b"), Ok(DirGrant { host: "a".into(), guest: "/b".to_owned() }));
        assert!(parse_dir("a").is_err() && parse_dir("::b").is_err());
        assert_eq!(parse_variable("K=a=b"), Ok(("K".to_owned(), "a=b".to_owned())));
        assert!(parse_variable("K").is_err() && parse_variable("=v").is_err());
    }

    #[test]
    fn arguments_after_the_module_are_the_programs() {
        let options = Options::try_parse_from(["tierup", "run", "--stats", "m.wasm", "--dir", "-x", "--", "y"]).unwrap();
        let Command::Run(run) = options.command else { panic!("a run") };
        assert!(run.stats && run.dirs.is_empty());
        assert_eq!(run.module(), Path::new("m.wasm"));
        assert_eq!(run.args(), ["--dir", "-x", "--", "y"]);
        // An option before the module that does not exist is a mistake, not a module.
        assert!(Options::try_parse_from(["tierup", "run", "--stat", "m.wasm"]).is_err());
        assert!(Options::try_parse_from(["tierup", "run", "--stats"]).is_err());
    }
}
