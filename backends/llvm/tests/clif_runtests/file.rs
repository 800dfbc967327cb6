//! One conformance file: its functions and what calling them must give.

use cranelift_codegen::{data_value::DataValue, ir::Function, isa::CallConv};
use cranelift_reader::{Comparison, ParseOptions, RunCommand, parse_run_command, parse_test};

use crate::tiers::{callees, name};

pub(crate) struct File {
    pub(crate) functions: Vec<Function>,
    /// The commands, with the index of the function they call: the one they follow.
    pub(crate) commands: Vec<(usize, RunCommand)>,
    /// Whether results may go through memory.
    pub(crate) wide_results: bool,
}

impl File {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let options = ParseOptions { default_calling_convention: CallConv::SystemV, ..ParseOptions::default() };
        let test = parse_test(text, options).map_err(|error| error.to_string())?;
        let mut commands = Vec::new();
        for (at, (func, details)) in test.functions.iter().enumerate() {
            for comment in &details.comments {
                let command = parse_run_command(comment.text, &func.signature).map_err(|error| error.to_string())?;
                commands.extend(command.map(|command| (at, typed(command, func))));
            }
        }
        let functions = test.functions.into_iter().map(|(func, _)| func).collect();
        Ok(File { functions, commands, wide_results: text.contains("set enable_multi_ret_implicit_sret") })
    }

    /// What `function` may call, itself included.
    pub(crate) fn reachable(&self, function: usize) -> Vec<usize> {
        let mut found = vec![function];
        let mut next = 0;
        while next < found.len() {
            for callee in callees(&self.functions[found[next]]) {
                let at = self.functions.iter().position(|func| name(func) == callee);
                found.extend(at.filter(|at| !found.contains(at)));
            }
            next += 1;
        }
        found
    }
}

/// A bare `; run` means that the result is not zero; the parser makes the zero an `i8`, which differs from any other type.
fn typed(mut command: RunCommand, func: &Function) -> RunCommand {
    if let RunCommand::Run(_, Comparison::NotEquals, expected) = &mut command
        && let ([zero @ DataValue::I8(0)], [result]) = (&mut expected[..], &func.signature.returns[..])
    {
        *zero = DataValue::from_integer(0, result.value_type).unwrap();
    }
    command
}
