//! Takes one sample: starts the engine's fresh process and reads its answer, or times the whole process.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use tierup_interp::Llvm;

use crate::child::Answer;
use crate::curve;
use crate::engines::{Cost, EngineId, Home};
use crate::error::{Error, SampleError};
use crate::native::Native;
use crate::programs::{Program, Stdin};

/// What one sample does.
#[derive(Debug)]
pub(crate) enum Work {
    Cold { module: PathBuf, n: i32 },
    Steady { module: PathBuf, n: i32, seconds: f64 },
    Warmup { module: PathBuf, n: i32, seconds: f64 },
    Process(Program),
}

/// The commands that samples are taken with.
#[derive(Debug)]
pub(crate) struct Commands {
    own: PathBuf,
    tierup: PathBuf,
    node: Option<PathBuf>,
    native: Result<Native, String>,
}

/// A sample: seconds, what the guest answered (0 for programs, whose output is compared at once), and what the code cost.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Of a warm-up: per call, all that came before the first included.
    pub(crate) seconds: f64,
    pub(crate) answer: i64,
    pub(crate) cost: Option<Cost>,
    /// In bytes.
    pub(crate) peak_rss: Option<u64>,
    /// Of a warm-up: calls per second in each of [`curve::windows`].
    pub(crate) curve: Vec<f64>,
}

impl Commands {
    /// Finds this binary, the `tierup` command (given, or beside this binary) and `node`, and compiles the kernels of `data`.
    pub(crate) fn find(tierup: Option<&Path>, data: &Path) -> Result<Self, Error> {
        let own = std::env::current_exe().map_err(Error::file("peers"))?;
        let tierup = tierup.map_or_else(|| own.with_file_name("tierup"), Path::to_owned);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let node = path.iter().map(|folder| folder.join("node")).find(|candidate| candidate.is_file());
        Ok(Self { own, tierup, node, native: Native::build(data, &path) })
    }

    /// Whether the engine can be measured here, in whole processes or by itself.
    pub(crate) fn check(&self, engine: EngineId, whole: bool) -> Result<(), Error> {
        match engine.home() {
            // Without the helper it would be another tier under this name.
            Home::Here if engine == EngineId::TierupOpt => match Llvm::default().version() {
                Ok(_) => Ok(()),
                Err(error) => Err(Error::Unavailable { engine, why: error.to_string() }),
            },
            Home::Here if whole && engine.is_ours() && !self.tierup.is_file() => {
                Err(Error::Unavailable { engine, why: format!("there is no command {}", self.tierup.display()) })
            }
            Home::Node(_) if self.node.is_none() => {
                Err(Error::Unavailable { engine, why: "there is no `node` on the PATH".into() })
            }
            Home::Native if whole => Err(Error::Unavailable { engine, why: "it has the kernels only".into() }),
            Home::Native => match &self.native {
                Ok(_) => Ok(()),
                Err(why) => Err(Error::Unavailable { engine, why: why.clone() }),
            },
            _ => Ok(()),
        }
    }

    /// Takes one sample.
    pub(crate) fn sample(&self, engine: EngineId, work: &Work) -> Result<Sample, SampleError> {
        match work {
            Work::Cold { module, n } => Ok(self.ask(engine, module, "cold", *n, 0.0)?.1),
            Work::Steady { module, n, seconds } => Ok(self.ask(engine, module, "steady", *n, *seconds)?.1),
            Work::Warmup { module, n, seconds } => {
                let (answer, sample) = self.ask(engine, module, "warmup", *n, *seconds)?;
                Ok(Sample { curve: curve::rates(&answer.ends, &curve::windows(*seconds)), ..sample })
            }
            Work::Process(program) => self.process(engine, program),
        }
    }

    fn ask(&self, engine: EngineId, module: &Path, kind: &str, n: i32, seconds: f64) -> Result<(Answer, Sample), SampleError> {
        let mut command = match engine.home() {
            Home::Here => {
                let mut command = Command::new(&self.own);
                command.arg("child").arg(engine.name()).arg(module).arg(kind);
                command
            }
            Home::Node(flag) => {
                let mut command = self.node(flag, include_str!("kernel.js"));
                command.arg(kind).arg(module);
                command
            }
            Home::Native => {
                let kernel = module.file_stem().unwrap_or_default().to_string_lossy();
                let native = self.native.as_ref().map_err(|why| SampleError::Unavailable(why.clone()))?;
                let mut command = Command::new(native.program(&kernel));
                command.arg(kind);
                command
            }
        };
        command.arg(n.to_string());
        if kind != "cold" {
            command.arg(seconds.to_string());
        }
        let output = finish(command, &Stdin::Empty)?;
        if !output.status.success() {
            return Err(failed(&output));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let answer: Answer = serde_json::from_str(&text).map_err(|_| SampleError::Garbled(text.into_owned()))?;
        let Answer { ns, cost, peak_rss, .. } = answer;
        let sample = Sample { seconds: ns as f64 / 1e9, answer: answer.answer, cost, peak_rss, curve: Vec::new() };
        Ok((answer, sample))
    }

    /// The clock runs from before the process exists until it is reaped and its output read.
    fn process(&self, engine: EngineId, program: &Program) -> Result<Sample, SampleError> {
        let command = match (engine.home(), engine.tier()) {
            (Home::Here, Some(tier)) => self.tierup(tier, program),
            (Home::Here, None) => {
                let mut command = Command::new(&self.own);
                command.arg("child").arg(engine.name()).arg(&program.module).arg("program");
                if let Some(root) = &program.root {
                    command.arg("--root").arg(root);
                }
                command.arg("--").args(&program.args);
                command
            }
            (Home::Native, _) => return Err(SampleError::Unavailable("it has the kernels only".to_owned())),
            (Home::Node(flag), _) => {
                let mut command = self.node(flag, include_str!("program.js"));
                command.arg(&program.module);
                command.arg(program.root.as_deref().unwrap_or(Path::new("")));
                command.args(&program.args);
                command
            }
        };
        let start = Instant::now();
        let output = finish(command, &program.stdin)?;
        let seconds = start.elapsed().as_secs_f64();
        check(&output, program)?;
        Ok(Sample { seconds, answer: 0, cost: None, peak_rss: None, curve: Vec::new() })
    }

    /// The command makes argv\[0\] of the module's name itself.
    fn tierup(&self, tier: &str, program: &Program) -> Command {
        let mut command = Command::new(&self.tierup);
        command.args(["run", "--tier", tier]);
        if let Some(root) = &program.root {
            let mut dir = root.clone().into_os_string();
            dir.push("::/");
            command.arg("--dir").arg(dir);
        }
        command.arg(&program.module).args(program.args.iter().skip(1));
        command
    }

    fn node(&self, flag: Option<&str>, script: &str) -> Command {
        let mut command = Command::new(self.node.as_deref().unwrap_or(Path::new("node")));
        command.arg("--no-warnings").args(flag).arg("-e").arg(script).arg("--");
        command
    }
}

/// Runs a command to its end.
fn finish(mut command: Command, stdin: &Stdin) -> Result<Output, SampleError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let spawn = |source| SampleError::Spawn { program, source };
    let mut run = || -> std::io::Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match stdin {
            Stdin::Empty => Stdio::null(),
            Stdin::File(path) => Stdio::from(File::open(path)?),
            Stdin::Text(_) => Stdio::piped(),
        });
        let mut child = command.spawn()?;
        if let (Some(mut pipe), Stdin::Text(text)) = (child.stdin.take(), stdin) {
            // A guest that ended without reading is judged by its output.
            let _ = pipe.write_all(text.as_bytes());
        }
        child.wait_with_output()
    };
    run().map_err(spawn)
}

fn check(output: &Output, program: &Program) -> Result<(), SampleError> {
    let code = output.status.code();
    if code != Some(program.expected_exit) {
        if code.is_none() || !output.stderr.is_empty() {
            return Err(failed(output));
        }
        return Err(SampleError::WrongExit { got: code, want: program.expected_exit });
    }
    let (got, want) = (&output.stdout, &program.expected_stdout);
    if got != want {
        let same = got.iter().zip(want).take_while(|(a, b)| a == b).count();
        return Err(SampleError::WrongOutput { at: same, expected: want.len() });
    }
    Ok(())
}

fn failed(output: &Output) -> SampleError {
    let stderr = String::from_utf8_lossy(&output.stderr);
    SampleError::Failed { status: output.status.to_string(), stderr: stderr.trim().chars().take(400).collect() }
}
