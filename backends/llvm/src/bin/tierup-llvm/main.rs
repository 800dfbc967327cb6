//! LLVM in a process of its own. As a filter, CLIF text in and an object out; with `--serve`, the helper of an `LlvmBackend`.

mod fault;
mod serve;

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    thread,
};

use clap::{Parser, ValueEnum};
use fault::{Fault, FaultKind};
use tierup_backends::llvm::protocol::Answer;
use tierup_llvm::{Cpu, ObjectCompiler, Options, Pipeline, Unit, text};

/// Compiles CLIF through LLVM: `tierup-llvm < unit.clif > unit.o`.
///
/// The first function of the text is the unit's entry, the others are its callees.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Answer requests on standard input until it ends; what an LlvmBackend starts
    #[arg(long)]
    serve: bool,
    /// Run at this much lower a priority, 0 to 19, as `nice -n` does
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=19))]
    nice: u8,
    /// Have loops poll; the first parameter of every function is its vmctx
    #[arg(long)]
    polls: bool,
    /// Which of LLVM's passes run
    #[arg(long, value_enum, ignore_case = true, default_value = "o2")]
    pipeline: Passes,
    /// What to write: an object, optimized LLVM IR, or LLVM IR as translated
    #[arg(long, value_enum, default_value = "object", conflicts_with = "serve")]
    emit: Emit,
    /// Processor to compile for, as in `llc -mcpu`; this one unless given
    #[arg(long)]
    cpu: Option<String>,
    /// Features of that processor, as in `llc -mattr`
    #[arg(long, requires = "cpu", default_value = "")]
    features: String,
    /// Misbehave at the next request, to test whoever asks
    #[arg(long, value_enum, requires = "serve")]
    fault: Option<FaultKind>,
    /// Misbehave only if this file does not exist, and make it
    #[arg(long, requires = "fault")]
    fault_once: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Passes {
    /// A handful of passes
    Cheap,
    /// LLVM's O2
    O2,
    /// LLVM's O3
    O3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// An ELF relocatable object
    Object,
    /// LLVM IR after the passes
    Ir,
    /// LLVM IR before the passes
    UnoptimizedIr,
}

/// LLVM recurses over what it compiles.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.nice > 0 {
        // SAFETY: changes this process's priority and nothing else. Refused, it runs as it is.
        let _ = unsafe { libc::nice(arguments.nice.into()) };
    }
    // The first thread listens, this one compiles; as a filter there is nothing to listen to.
    let requests = arguments.serve.then(serve::listen);
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || run(arguments, requests));
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(message))) => {
            eprintln!("tierup-llvm: {message}");
            ExitCode::FAILURE
        }
        // The panic has printed its message.
        Ok(Err(_)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tierup-llvm: no thread: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, requests: Option<serve::Requests>) -> Result<(), String> {
    let pipeline = match arguments.pipeline {
        Passes::Cheap => Pipeline::Cheap,
        Passes::O2 => Pipeline::O2,
        Passes::O3 => Pipeline::O3,
    };
    let cpu = arguments.cpu.map_or(Cpu::Host, |name| Cpu::Named { name, features: arguments.features });
    let mut compiler = ObjectCompiler::new(Options { pipeline, cpu, polls: arguments.polls, ..Options::default() })
        .map_err(|error| error.to_string())?;
    match requests {
        Some(requests) => {
            let fault = arguments.fault.map(|kind| Fault { kind, once: arguments.fault_once });
            serve::serve(&mut compiler, &requests, fault.as_ref()).map_err(|error| error.to_string())
        }
        None => filter(&mut compiler, arguments.emit),
    }
}

fn filter(compiler: &mut ObjectCompiler, emit: Emit) -> Result<(), String> {
    let mut clif = String::new();
    io::stdin().read_to_string(&mut clif).map_err(|error| error.to_string())?;
    let output = match emit {
        Emit::Object => match text::compile(compiler, &clif) {
            Answer::Object { bytes, .. } => bytes,
            Answer::FrameTooLarge { bytes, limit } => return Err(format!("native frame of {bytes} bytes, {limit} allowed")),
            Answer::Unsupported(message) | Answer::Failed(message) => return Err(message),
        },
        Emit::Ir | Emit::UnoptimizedIr => {
            let functions = text::parse(&clif).map_err(|error| error.to_string())?;
            let (entry, callees) = functions.split_first().expect("a parsed unit has a function");
            let callees: Vec<_> = callees.iter().collect();
            let unit = Unit { entry, callees: &callees };
            let ir = if emit == Emit::Ir { compiler.ir_text(&unit) } else { compiler.unoptimized_ir_text(&unit) };
            ir.map_err(|refusal| refusal.to_string())?.into_bytes()
        }
    };
    io::stdout().write_all(&output).map_err(|error| error.to_string())
}
