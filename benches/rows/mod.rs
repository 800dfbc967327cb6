//! Rows of a table of hot paths, each counted under callgrind or timed.
//!
//! A row is one out-of-line function and what calls it. A bench target that has rows does the rest by calling [`main`].

use std::{process::Command, time::Instant};

/// One row: its name, the function to count, and what makes the calls.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// What it is called in the table.
    pub(crate) name: &'static str,
    /// The function's symbol.
    pub(crate) symbol: &'static str,
    /// Calls it so often, and once more before.
    pub(crate) calls: fn(u64),
}

/// Calls counted per row: two runs of different length are subtracted, so that setting up cancels out.
const CALLS: u64 = 1000;

/// Does what the command line says, with these rows.
pub(crate) fn main(rows: &[Row]) {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--row", name, calls] => {
            let row = rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row `{name}`"));
            (row.calls)(calls.parse().expect("a number of calls"));
        }
        ["--time"] => time(rows),
        [] => count(rows),
        _ => {
            eprintln!("usage: hotpath [--time | --row NAME CALLS]");
            std::process::exit(2);
        }
    }
}

/// Instructions per call, by callgrind.
fn count(rows: &[Row]) {
    println!("{:<26} instructions per call, ret included", "path");
    for row in rows {
        match instructions(row, 2 * CALLS).zip(instructions(row, CALLS)) {
            Some((more, fewer)) => println!("{:<26} {:.2}", row.name, (more - fewer) as f64 / CALLS as f64),
            None => println!("{:<26} not counted: valgrind is not installed, or did not run", row.name),
        }
    }
}

fn instructions(row: &Row, calls: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={}", row.symbol))
        .arg(std::env::current_exe().ok()?)
        .args(["--row", row.name, &calls.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"))?;
    collected.1.trim().parse().ok()
}

/// Nanoseconds per call, the loop around it included: the best of many repetitions.
fn time(rows: &[Row]) {
    println!("{:<26} best ns per call, loop included", "path");
    for row in rows {
        let (short, long) = (100_000, 2_100_000);
        let best = |calls| (0..20).map(|_| seconds(row, calls)).fold(f64::INFINITY, f64::min);
        let per_call = (best(long) - best(short)) / (long - short) as f64;
        println!("{:<26} {:.2}", row.name, per_call * 1e9);
    }
}

fn seconds(row: &Row, calls: u64) -> f64 {
    let start = Instant::now();
    (row.calls)(calls);
    start.elapsed().as_secs_f64()
}
