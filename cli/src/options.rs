//! What the command line can say.

pub(crate) mod lab;

pub(crate) use lab::LabCommand;

use std::path::{Path, PathBuf};
#[cfg(feature = "llvm")]
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tierup::{PolicyChoice, PolicyConfig, Rules, SpiderMonkey, TYPICAL_CALL_WORK, Threshold, Tiered};
#[cfg(feature = "llvm")]
use tierup_interp::Speculate;
use tierup_interp::{Baseline, Deopt, Osr, Templates, TierMode};

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
    Run(Box<RunOptions>),
    /// Compile every function for every tier without running anything, and say what would not compile and why.
    ///
    /// The code takes nothing for granted that a run would have shown, and so is never left; what runs speculate on, `run --why` tells.
    ///
    /// The exit code is 0 if everything compiles, otherwise 1.
    Check(CheckOptions),
    /// Look at a program that runs with --serve, and act on it.
    ///
    /// A function is named by its name, by its index (a number), or by the id under which it is listed (#ID or #ID.GENERATION).
    ///
    /// The exit code is 0, or 1 if nobody serves at the socket or the request is refused.
    Ctl(CtlOptions),
    /// Record what policies see of a program, and say what each would have made of it.
    #[command(subcommand)]
    Lab(LabCommand),
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Which tiers to use.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) tier: TierChoice,

    /// What compiles the first tier.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) baseline: BaselineChoice,

    /// When functions are promoted (--tier auto): development, default, production or production-llvm (from eager to patient),
    /// calls=FIRST,SECOND for the first and every further compiled tier, threshold=CALLS for all alike, or as another engine or theory has
    /// it: hotspot, truffle, v8, jsc, spidermonkey or spidermonkey=LEVEL (1 to 9), cost-benefit, ski-rental, hazard-rate; or a TOML file that
    /// says which of them, with which numbers.
    #[arg(long, value_name = "POLICY|FILE", value_parser = parse_policy, default_value = "default")]
    pub(crate) policy: PolicyConfig,

    /// A TOML file of rules for functions by name, as --save-rules writes them: the highest tier they may go to, and what their thresholds
    /// are multiplied by.
    #[arg(long, value_name = "FILE", value_parser = parse_rules)]
    pub(crate) rules: Option<Rules>,

    /// Afterwards, write rules to this file for the functions that compiling failed for, so that it is not tried again.
    #[arg(long, value_name = "FILE")]
    pub(crate) save_rules: Option<PathBuf>,

    /// When running loops go on in native code: auto (when they are hot) or off; for tests also always (at every loop header, as
    /// soon as it is reached) and random:SEED (after as many arrivals at headers as the seed says), which compile at once, and
    /// begin every call in code that can be left again: with --tier baseline and opt in the interpreter.
    #[arg(long, value_name = "WHEN", value_parser = parse_osr, default_value = "auto")]
    pub(crate) osr: Osr,

    /// Whether what is warm is interpreted by templates, straight machine code in place of the interpreter's handlers: auto, off, or, for
    /// tests, always (everything at once).
    #[arg(long, value_name = "WHEN", value_parser = parse_templates, default_value = "auto")]
    pub(crate) templates: Templates,

    /// Whether compiled code leaves for the interpreter where it need not: off, or, for tests, every:N (at every N-th place where the
    /// interpreter can go on) and random:SEED (after as many as the seed says).
    #[arg(long, value_name = "WHEN", value_parser = parse_deopt, default_value = "off")]
    pub(crate) deopt: Deopt,

    /// Whether LLVM's code takes for granted that indirect calls call what they have called, and is left for the interpreter where that
    /// turns out wrong: auto (where it helps), off, or arms (and that parts of large functions do not run that never have, which are not
    /// compiled then); for tests also always (on whatever has been called or run, were it once).
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

    /// Afterwards, tell on standard error what tiered, when, why, and what it cost.
    #[arg(long)]
    pub(crate) stats: bool,

    /// While the program runs, let `tierup ctl SOCKET` look at it and act on it, over a local socket that is made here and is yours
    /// only.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) serve: Option<PathBuf>,

    /// Afterwards, tell on standard error why this function, or `all` that did anything, runs in the tier it runs in.
    #[arg(long, value_name = "NAME")]
    pub(crate) why: Option<String>,

    /// Log to standard error, e.g. `tierup=debug` for every transition.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,

    #[command(flatten)]
    pub(crate) program: ProgramOptions,
}

/// What to run, and what it may see of the host.
#[derive(Debug, Args)]
pub(crate) struct ProgramOptions {
    /// Let the program see a directory of the host, for reading and writing.
    #[arg(long = "dir", value_name = "HOST::GUEST", value_parser = parse_dir)]
    pub(crate) dirs: Vec<DirGrant>,

    /// Set a variable of the program's environment.
    #[arg(long = "env", value_name = "K=V", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,

    /// Call this exported function, with ARGS as its arguments, and print its results, one per line.
    #[arg(long, value_name = "NAME")]
    pub(crate) invoke: Option<String>,

    /// The program, a WebAssembly module, and its arguments: whatever follows the module, options included, is the
    /// program's.
    #[arg(value_names = ["MODULE", "ARGS"], num_args = 1.., required = true, trailing_var_arg = true)]
    program: Vec<String>,
}

impl ProgramOptions {
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

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum BaselineChoice {
    /// A compiler with which that takes a third to a fourth of the time; Cranelift compiles what it does not know.
    #[default]
    Quick,
    /// Cranelift.
    Cranelift,
}

impl From<BaselineChoice> for Baseline {
    fn from(choice: BaselineChoice) -> Self {
        match choice {
            BaselineChoice::Quick => Self::Quick,
            BaselineChoice::Cranelift => Self::Cranelift,
        }
    }
}

/// A policy by name or from a file, checked.
fn parse_policy(text: &str) -> Result<PolicyConfig, String> {
    let config = match PolicyConfig::named(text) {
        Some(config) => config,
        None if is_file(text) => {
            toml::from_str(&read(text)?).map_err(|error: toml::de::Error| format!("{text}: {}", error.to_string().trim_end()))?
        }
        None => PolicyConfig::new(parse_numbers(text)?),
    };
    match config.clone().build() {
        Ok(_) => Ok(config),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_numbers(text: &str) -> Result<PolicyChoice, String> {
    match text.split_once('=') {
        Some(("threshold", calls)) => {
            let calls = calls.parse().map_err(|_| "the threshold is a number of calls")?;
            Ok(PolicyChoice::Threshold(Threshold { calls }))
        }
        Some(("calls", calls)) => {
            let calls = calls.split_once(',').and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
            let (first, second) = calls.ok_or("two numbers of calls, FIRST,SECOND")?;
            Ok(PolicyChoice::Tiered(Tiered::new(first, second).call_worth(TYPICAL_CALL_WORK)))
        }
        Some(("spidermonkey", level)) => {
            let level = level.parse().map_err(|_| "the level is a number from 1 to 9")?;
            Ok(PolicyChoice::SpiderMonkey(SpiderMonkey { level, ..SpiderMonkey::default() }))
        }
        _ => Err(format!(
            "one of {}, calls=FIRST,SECOND, threshold=CALLS, spidermonkey=LEVEL, or a file that ends in .toml",
            PolicyConfig::NAMES.join(", ")
        )),
    }
}

/// No name of a policy has either.
fn is_file(text: &str) -> bool {
    text.ends_with(".toml") || text.contains(std::path::MAIN_SEPARATOR)
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// What a file of rules holds: the same as a policy's file, and nothing else.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesFile {
    #[serde(default)]
    pub(crate) rules: Rules,
}

fn parse_rules(path: &str) -> Result<Rules, String> {
    let file: RulesFile = toml::from_str(&read(path)?).map_err(|error| format!("{path}: {}", error.to_string().trim_end()))?;
    match (PolicyConfig { rules: file.rules.clone(), ..PolicyConfig::default() }).build() {
        Ok(_) => Ok(file.rules),
        Err(error) => Err(error.to_string()),
    }
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

fn parse_templates(text: &str) -> Result<Templates, String> {
    match text {
        "auto" => Ok(Templates::Auto),
        "off" => Ok(Templates::Off),
        "always" => Ok(Templates::Always),
        _ => Err("one of auto, off, always".to_owned()),
    }
}

#[cfg(feature = "llvm")]
fn parse_speculate(text: &str) -> Result<Speculate, String> {
    match text {
        "auto" => Ok(Speculate::Auto),
        "off" => Ok(Speculate::Off),
        "arms" => Ok(Speculate::Arms),
        "always" => Ok(Speculate::Always),
        _ => Err("one of auto, off, arms, always".to_owned()),
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
        let parsed = |text| parse_policy(text).map(|config| config.policy);
        assert_eq!(parsed("threshold=7"), Ok(PolicyChoice::Threshold(Threshold { calls: 7 })));
        assert_eq!(parsed("production"), Ok(PolicyChoice::Tiered(Tiered::production())));
        assert_eq!(parsed("calls=3,40"), Ok(PolicyChoice::Tiered(Tiered::new(3, 40).call_worth(TYPICAL_CALL_WORK))));
        assert_eq!(
            parsed("spidermonkey=8"),
            Ok(PolicyChoice::SpiderMonkey(SpiderMonkey { level: 8, ..SpiderMonkey::default() }))
        );
        assert!(PolicyConfig::NAMES.iter().all(|name| parse_policy(name).is_ok()));
        assert_eq!(parse_policy("spidermonkey=10"), Err("policy.spidermonkey.level is 10, must be between 1 and 9".to_owned()));
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

    #[cfg(feature = "llvm")]
    #[test]
    fn ways_to_speculate() {
        let parsed = ["auto", "off", "arms", "always"].map(parse_speculate);
        assert_eq!(parsed, [Speculate::Auto, Speculate::Off, Speculate::Arms, Speculate::Always].map(Ok));
        assert!(parse_speculate("sometimes").is_err_and(|why| why.contains("arms")));
    }

    #[test]
    fn arguments_after_the_module_are_the_programs() {
        let options = Options::try_parse_from(["tierup", "run", "--stats", "m.wasm", "--dir", "-x", "--", "y"]).unwrap();
        let Command::Run(run) = options.command else { panic!("a run") };
        assert!(run.stats && run.program.dirs.is_empty());
        assert_eq!(run.program.module(), Path::new("m.wasm"));
        assert_eq!(run.program.args(), ["--dir", "-x", "--", "y"]);
        // An option before the module that does not exist is a mistake, not a module.
        assert!(Options::try_parse_from(["tierup", "run", "--stat", "m.wasm"]).is_err());
        assert!(Options::try_parse_from(["tierup", "run", "--stats"]).is_err());
    }
}
