//! What the command line can say of the policy lab.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tierup::{PolicyChoice, PolicyConfig, Threshold};

use super::{ProgramOptions, parse_policy};

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Record a program: what it does, call by call, and what each tier costs and is worth for each of its functions.
    ///
    /// The program is run several times: once interpreted and counted, then in each tier, a few times if it is short, while it is looked at every
    /// fifth of a millisecond. What it prints is dropped. It must do the same each time.
    Record(Box<RecordOptions>),
    /// Say what policies make of recorded programs, on a virtual clock: a table for each, in Markdown.
    Replay(ReplayOptions),
    /// As replay, as a page for a browser.
    Report(ReportOptions),
    /// Run a recorded program live under each policy, and say whether the replay ranks them alike.
    ///
    /// Each is run by `tierup run --policy`, in turns, in a process of its own; the times are those of whole processes.
    Live(Box<LiveOptions>),
}

#[derive(Debug, Args)]
pub(crate) struct RecordOptions {
    /// Where to write the trace.
    #[arg(short, long, value_name = "TRACE")]
    pub(crate) output: PathBuf,

    /// What the program reads as its standard input; unless given, nothing.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,

    #[cfg(feature = "llvm")]
    #[command(flatten)]
    pub(crate) llvm: super::LlvmOptions,

    #[command(flatten)]
    pub(crate) program: ProgramOptions,
}

/// Which policies, on which machine.
#[derive(Debug, Args)]
pub(crate) struct LabOptions {
    /// Which policies, separated by commas or given several times: what `tierup run --policy` takes, never (nothing is ever compiled), or
    /// all that have a name.
    #[arg(long = "policy", value_name = "POLICIES", default_value = "all")]
    policies: Vec<String>,

    /// Policies along a dial as well: spidermonkey (its levels 1 to 9) or threshold (the default's, times 2^-6 to 2^6).
    #[arg(long, value_name = "DIAL", value_parser = ["spidermonkey", "threshold"])]
    dial: Vec<String>,

    /// How many threads compile.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(crate) workers: u16,

    /// How many processors there are for the program and the workers; unless given, enough. Where more run, all are slower in proportion.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) processors: Option<u16>,

    /// How many times as long everything takes besides, while the program runs and a compiler works: more than 1 where processors share a core.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = parse_at_least_one)]
    pub(crate) sharing: f64,

    /// What compiles take, as a multiple of what was recorded.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = parse_positive)]
    pub(crate) compile_cost_scale: f64,

    /// For the search of the best plan.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// At how many plans that search looks.
    #[arg(long, value_name = "PLANS", default_value_t = 5_000)]
    pub(crate) looks: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    pub(crate) lab: LabOptions,

    /// What `tierup lab record` has written.
    #[arg(required = true, value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// Where to write the page.
    #[arg(short, long, value_name = "PAGE")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) replay: ReplayOptions,
}

#[derive(Debug, Args)]
pub(crate) struct LiveOptions {
    #[command(flatten)]
    pub(crate) lab: LabOptions,

    /// How often each policy is run.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) repeats: u16,

    /// What the program reads as its standard input; unless given, nothing.
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,

    /// The recording of the program.
    #[arg(long, value_name = "TRACE")]
    pub(crate) trace: PathBuf,

    #[command(flatten)]
    pub(crate) program: ProgramOptions,
}

/// A policy by the name that it was asked for.
pub(crate) type Named = (String, PolicyConfig);

impl LabOptions {
    /// The policies, in the order in which they were named.
    ///
    /// # Errors
    ///
    /// Which of them is none, and what there is.
    pub(crate) fn policies(&self) -> Result<Vec<Named>, String> {
        let mut named = Vec::new();
        for name in self.policies.iter().flat_map(|list| names(list)) {
            match &name[..] {
                "all" => named.extend(PolicyConfig::NAMES.iter().map(|&name| name.to_owned())),
                _ => named.push(name),
            }
        }
        if self.policies == ["all"] {
            named.push("never".to_owned());
        }
        for dial in &self.dial {
            match &dial[..] {
                "spidermonkey" => named.extend((1..=9).map(|level| format!("spidermonkey={level}"))),
                _ => named.extend((-6..=6_i32).map(|power| {
                    let scaled = |calls: f64| (calls * f64::from(power).exp2()).round();
                    format!("calls={},{}", scaled(100.0), scaled(10_000.0))
                })),
            }
        }
        named.into_iter().map(|name| policy(&name).map(|config| (name, config))).collect()
    }
}

fn policy(name: &str) -> Result<PolicyConfig, String> {
    match name {
        "never" => Ok(PolicyConfig::new(PolicyChoice::Threshold(Threshold { calls: u32::MAX }))),
        _ => parse_policy(name).map_err(|error| format!("policy {name:?}: {error}")),
    }
}

/// The names of a list. A number that follows `calls=FIRST` is part of it.
fn names(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in list.split(',') {
        match names.last_mut() {
            Some(last) if last.starts_with("calls=") && !last.contains(',') => *last += &format!(",{part}"),
            _ => names.push(part.to_owned()),
        }
    }
    names
}

fn parse_positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (f64::MIN_POSITIVE..=1e6).contains(number)).ok_or_else(|| "a number above 0".to_owned())
}

fn parse_at_least_one(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (1.0..=1e6).contains(number)).ok_or_else(|| "a number from 1 on".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_policies() {
        assert_eq!(names("v8,calls=3,40,jsc"), ["v8", "calls=3,40", "jsc"]);
        assert_eq!(names("calls=1,2,calls=3,4"), ["calls=1,2", "calls=3,4"]);
        let policies = |list: &str, dial: &[&str]| {
            let options = LabOptions {
                policies: vec![list.to_owned()],
                dial: dial.iter().map(|&dial| dial.to_owned()).collect(),
                workers: 2,
                processors: None,
                sharing: 1.0,
                compile_cost_scale: 1.0,
                seed: 1,
                looks: 1,
            };
            options.policies().map(|all| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        assert_eq!(policies("all", &[]).unwrap().len(), PolicyConfig::NAMES.len() + 1);
        assert_eq!(
            policies("never", &["spidermonkey"]).unwrap()[1..],
            ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|level| format!("spidermonkey={level}"))
        );
        let thresholds = policies("default", &["threshold"]).unwrap();
        assert_eq!(
            (&thresholds[1][..], &thresholds[7][..], &thresholds[13][..]),
            ("calls=2,156", "calls=100,10000", "calls=6400,640000")
        );
        let error = policies("v8,quick", &[]).unwrap_err();
        assert!(error.starts_with("policy \"quick\": one of development,"), "{error}");
    }
}
