//! Whether two runs showed the same.

use crate::generate::Nans;
use crate::observe::{Observation, Outcome, Step, Value};

use tierup_interp::TrapCode;

/// The first difference, in words.
pub(crate) type Difference = String;

/// Compares a run with the reference's, up to a stack overflow of either.
pub(crate) fn compare(want: &Observation, got: &Observation, nans: Nans) -> Result<(), Difference> {
    for (want, got) in want.steps.iter().zip(&got.steps) {
        if overflowed(want) || overflowed(got) {
            return Ok(());
        }
        step(want, got, nans).map_err(|difference| format!("{}: {difference}", want.what))?;
    }
    if want.steps.len() != got.steps.len() {
        return Err(format!("{} steps, not {}", got.steps.len(), want.steps.len()));
    }
    Ok(())
}

fn overflowed(step: &Step) -> bool {
    step.outcome == Outcome::Trapped(TrapCode::StackOverflow)
}

fn step(want: &Step, got: &Step, nans: Nans) -> Result<(), Difference> {
    let same = |want: &[Value], got: &[Value]| want.len() == got.len() && want.iter().zip(got).all(|(a, b)| alike(*a, *b, nans));
    let ended_alike = match (&want.outcome, &got.outcome) {
        (Outcome::Returned(want), Outcome::Returned(got)) => same(want, got),
        (want, got) => want == got,
    };
    if !ended_alike {
        return Err(format!("ended with {:?}, not {:?}", got.outcome, want.outcome));
    }
    let calls = want.host_calls.iter().zip(&got.host_calls);
    let differs = calls.enumerate().find(|(_, (want, got))| want.0 != got.0 || !same(&want.1, &got.1));
    if let Some((at, (want, got))) = differs {
        return Err(format!("host call {at} was {got:?}, not {want:?}"));
    }
    if want.host_calls.len() != got.host_calls.len() {
        return Err(format!("{} host calls, not {}", got.host_calls.len(), want.host_calls.len()));
    }
    if !same(&want.globals, &got.globals) {
        return Err(format!("left the globals {:?}, not {:?}", got.globals, want.globals));
    }
    if want.tables != got.tables {
        return Err(format!("left the tables {:?}, not {:?}", got.tables, want.tables));
    }
    if want.memories != got.memories {
        return Err(format!("left memories (size, hash) {:?}, not {:?}", got.memories, want.memories));
    }
    Ok(())
}

/// Equal bits, or two NaNs of one class where those are compared.
///
/// Which NaN an operation makes of NaNs is open, but not whether it is quiet: all that compute make it so, and all that
/// move a value leave it alone. So quiet (canonical or arithmetic) is one class and signalling the other.
fn alike(want: Value, got: Value, nans: Nans) -> bool {
    if want == got {
        return true;
    }
    match (want, got) {
        _ if nans == Nans::Canonical => false,
        (Value::F32(a), Value::F32(b)) => {
            const QUIET: u32 = 1 << 22;
            f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan() && (a ^ b) & QUIET == 0
        }
        (Value::F64(a), Value::F64(b)) => {
            const QUIET: u64 = 1 << 51;
            f64::from_bits(a).is_nan() && f64::from_bits(b).is_nan() && (a ^ b) & QUIET == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(value: Value) -> Observation {
        let step = Step {
            what: "f".to_owned(),
            outcome: Outcome::Returned(vec![value]),
            host_calls: Vec::new(),
            globals: Vec::new(),
            tables: Vec::new(),
            memories: Vec::new(),
        };
        Observation { steps: vec![step], ..Observation::default() }
    }

    #[test]
    fn nan_classes() {
        let quiet = [0x7fc0_0000, 0xffc0_0000, 0x7fe1_2345].map(|bits| returned(Value::F32(bits)));
        let signalling = returned(Value::F32(0x7fa0_0000));
        let number = returned(Value::F32(0x3f80_0000));
        for nan in &quiet {
            assert!(compare(&quiet[0], nan, Nans::Classes).is_ok());
            assert!(compare(&signalling, nan, Nans::Classes).is_err());
            assert!(compare(&number, nan, Nans::Classes).is_err());
        }
        assert!(compare(&quiet[0], &quiet[1], Nans::Canonical).is_err());
    }

    #[test]
    fn every_part_is_compared() {
        let want = returned(Value::I32(1));
        let changes: [fn(&mut Step); 6] = [
            |step| step.outcome = Outcome::Trapped(TrapCode::Unreachable),
            |step| step.outcome = Outcome::Returned(vec![Value::I32(2)]),
            |step| step.host_calls.push((0, Vec::new())),
            |step| step.globals.push(Value::I64(0)),
            |step| step.tables.push(Vec::new()),
            |step| step.memories.push((0, 0)),
        ];
        for change in changes {
            let mut got = returned(Value::I32(1));
            change(&mut got.steps[0]);
            assert!(compare(&want, &got, Nans::Canonical).is_err(), "{got:?}");
        }
        assert!(compare(&want, &Observation::default(), Nans::Canonical).is_err());
    }

    #[test]
    fn a_stack_overflow_ends_the_comparison() {
        let mut got = returned(Value::I32(1));
        got.steps[0].outcome = Outcome::Trapped(TrapCode::StackOverflow);
        assert!(compare(&returned(Value::I32(1)), &got, Nans::Canonical).is_ok());
    }
}
