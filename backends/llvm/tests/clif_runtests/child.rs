//! What one child process does: one file, in every arrangement of tiers.

use cranelift_codegen::{ir::Function, isa::OwnedTargetIsa, verify_function};
use tierup_llvm::{Linked, Pipeline, Refusal};

use crate::{
    file::File,
    report::Report,
    tiers::{Baseline, Optimized, Quick, Symbols, Thunks, call, isa, name, rename_callees, trampoline, uses_tail},
};

/// Name of the trampoline, which no file uses.
const ENTRY: &str = "trampoline";

/// Runs the commands of a file.
pub(crate) fn run(text: &str) -> Result<Report, String> {
    let file = File::parse(text)?;
    let isa = isa(file.wide_results);
    for func in &file.functions {
        verify_function(func, &*isa).map_err(|errors| format!("%{}: {errors}", name(func)))?;
    }
    let mut report = Report { commands: file.commands.len(), ..Report::default() };
    in_cranelift(&file, &isa, &mut report)?;
    in_quick(&file, &isa, &mut report)?;
    for pipeline in [Pipeline::O2, Pipeline::Cheap] {
        in_llvm(&file, pipeline, &mut report);
    }
    across(&file, &isa, &mut report)?;
    Ok(report)
}

/// Everything in Cranelift: shows that the harness reads the files right.
fn in_cranelift(file: &File, isa: &OwnedTargetIsa, report: &mut Report) -> Result<(), String> {
    let mut functions = file.functions.clone();
    for func in &file.functions {
        functions.push(trampoline(&entry(func), &name(func), &func.signature));
    }
    let code = Baseline::new(isa, &functions, &Symbols::new())?;
    for at in 0..file.functions.len() {
        report.cranelift += commands(file, at, code.address(&entry(&file.functions[at])), "Cranelift", &mut report.failures);
    }
    Ok(())
}

/// Everything the quick compiler takes in its code, the rest in Cranelift's.
fn in_quick(file: &File, isa: &OwnedTargetIsa, report: &mut Report) -> Result<(), String> {
    let code = Quick::new(isa, &file.functions)?;
    for (at, func) in file.functions.iter().enumerate() {
        match code.compiled(at) {
            true => report.quick += commands(file, at, code.entry(&name(func)), "quick", &mut report.failures),
            false => report.not_quick += file.commands.iter().filter(|(callee, _)| *callee == at).count(),
        }
    }
    Ok(())
}

/// Everything in LLVM: a function, what it calls and its trampoline are one unit.
fn in_llvm(file: &File, pipeline: Pipeline, report: &mut Report) {
    let mut optimized = Optimized::new(pipeline, &Symbols::new());
    for at in called(file) {
        let func = &file.functions[at];
        let entry = trampoline(ENTRY, &name(func), &func.signature);
        let callees: Vec<&Function> = file.reachable(at).into_iter().map(|at| &file.functions[at]).collect();
        let what = format!("LLVM {pipeline:?}");
        match optimized.link(&entry, &callees) {
            Ok(code) => {
                let right = commands(file, at, code.entry() as usize, &what, &mut report.failures);
                *if pipeline == Pipeline::O2 { &mut report.llvm } else { &mut report.llvm_cheap } += right;
            }
            // Not a refusal of the translator's: something that LLVM had to catch.
            Err(refusal @ Refusal::Llvm(_)) => report.failures.push(format!("{what}: %{}: {refusal}", name(func))),
            Err(refusal) if pipeline == Pipeline::O2 => report.refusals.push(format!("%{}: {refusal}", name(func))),
            Err(_) => {}
        }
    }
}

/// Every call crosses: each function is compiled by both, and what one calls is the other's.
fn across(file: &File, isa: &OwnedTargetIsa, report: &mut Report) -> Result<(), String> {
    let names = || file.functions.iter().map(name);
    let mut thunks = Thunks::new(names().flat_map(|name| [theirs(&name, "cranelift"), theirs(&name, "llvm")]));
    // LLVM first: what it refuses at a boundary takes no part, nor does what calls it.
    let mut optimized = Optimized::new(Pipeline::O2, thunks.symbols());
    let mut linked: Vec<Option<Linked>> = Vec::new();
    for func in &file.functions {
        if uses_tail(func) {
            linked.push(None);
            continue;
        }
        let own = rename_callees(func, |callee| theirs(callee, "cranelift"));
        let code = optimized.link(&own, &[]);
        if let Err(refusal) = &code {
            report.boundary.push(format!("%{}: {refusal}", name(func)));
        }
        linked.push(code.ok());
    }
    let takes_part = |at: usize| file.reachable(at).into_iter().all(|at| linked[at].is_some());
    let partners: Vec<usize> = (0..file.functions.len()).filter(|&at| takes_part(at)).collect();

    let mut functions = Vec::new();
    for &at in &partners {
        let func = &file.functions[at];
        functions.push(rename_callees(func, |callee| theirs(callee, "llvm")));
        functions.push(trampoline(&entry(func), &theirs(&name(func), "llvm"), &func.signature));
    }
    let baseline = Baseline::new(isa, &functions, thunks.symbols())?;
    let mut entries = Vec::new();
    for &at in &partners {
        let func = &file.functions[at];
        thunks.bind(&theirs(&name(func), "cranelift"), baseline.address(&name(func)));
        thunks.bind(&theirs(&name(func), "llvm"), linked[at].as_ref().expect("a partner").entry() as usize);
        let own = trampoline(&entry(func), &theirs(&name(func), "cranelift"), &func.signature);
        entries.push(optimized.link(&own, &[]).map_err(|refusal| refusal.to_string())?);
    }
    for (&at, from_llvm) in partners.iter().zip(&entries) {
        let from_cranelift = baseline.address(&entry(&file.functions[at]));
        report.into_llvm += commands(file, at, from_cranelift, "Cranelift → LLVM", &mut report.failures);
        let entry = from_llvm.entry() as usize;
        report.into_cranelift += commands(file, at, entry, "LLVM → Cranelift", &mut report.failures);
    }
    for (at, _) in file.commands.iter().filter(|(at, _)| !partners.contains(at)) {
        let is_tail = file.reachable(*at).into_iter().any(|at| uses_tail(&file.functions[at]));
        *if is_tail { &mut report.tail } else { &mut report.not_across } += 1;
    }
    Ok(())
}

/// Indices of the functions that commands call.
fn called(file: &File) -> Vec<usize> {
    let mut called: Vec<usize> = file.commands.iter().map(|&(at, _)| at).collect();
    called.dedup();
    called.sort_unstable();
    called.dedup();
    called
}

/// Runs the commands that call function `at` through a trampoline; returns how many were right.
fn commands(file: &File, at: usize, entry: usize, what: &str, failures: &mut Vec<String>) -> usize {
    let signature = &file.functions[at].signature;
    let mut right = 0;
    for (_, command) in file.commands.iter().filter(|(callee, _)| *callee == at) {
        // SAFETY: the trampoline of this function, which the caller keeps.
        match command.run(|_, args| Ok(unsafe { call(entry, signature, args) })) {
            Ok(()) => right += 1,
            Err(message) => failures.push(format!("{what}: {message}")),
        }
    }
    right
}

fn entry(func: &Function) -> String {
    format!("{}.{ENTRY}", name(func))
}

fn theirs(name: &str, tier: &str) -> String {
    format!("{name}.{tier}")
}
