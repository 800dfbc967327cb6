//! What speculation is worth in the long run: programs run again and again by two engines in turns, one of which speculates, when all that
//! is hot is in LLVM's code. `cargo bench --features llvm --bench speculation -- [--pairs N] [NAME…]` for the programs and kernels of the test
//! data with these names (default: all), N timed pairs each (default: 20).
//!
//! A ratio is the time with speculation over that without, of one pair. In the brackets is the interval that the median lies in with 95 %
//! confidence, by order statistics. With `--open` the modules' tables are exported, so that what is in them is not certain.
//! `--long` takes the programs' longer runs, `--perf-map` tells profilers of the code.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tierup_interp::{AsStore, Config, Engine, Error, Linker, Llvm, Module, Speculate, Store, Val};
use tierup_wasi::{Access, WasiCtx, WasiCtxBuilder, add_to_linker};

/// Kernels and what makes each work for about ten milliseconds.
const KERNELS: [(&str, i32); 6] =
    [("fib", 32), ("nbody", 131_904), ("mandel", 81_614), ("sieve", 1_580_474), ("matmul", 288), ("vm", 2_113_516)];

/// Runs after which nothing new has been compiled end the warming up, and so many end it anyway.
const QUIET: usize = 3;
const MOST_WARMING: usize = 25;

/// What is run.
enum Guest {
    Kernel { path: PathBuf, n: i32 },
    Program { dir: PathBuf, suffix: &'static str },
}

impl Guest {
    fn wasm(&self) -> io::Result<Vec<u8>> {
        match self {
            Guest::Kernel { path, .. } => fs::read(path),
            Guest::Program { dir, .. } => fs::read(dir.join("module.wasm")),
        }
    }

    fn ctx(&self) -> WasiCtx {
        let builder = WasiCtxBuilder::new();
        let Guest::Program { dir, suffix } = self else { return builder.build() };
        let args = fs::read_to_string(dir.join(format!("args{suffix}"))).expect("a program has arguments");
        let mut builder = builder.args(args.lines()).expect("good arguments");
        if let Ok(input) = fs::read(dir.join(format!("stdin{suffix}"))) {
            builder = builder.stdin(io::Cursor::new(input));
        }
        if dir.join("fs").exists() {
            builder = builder.preopened_dir(dir.join("fs"), "/", Access::ReadOnly).expect("its files");
        }
        builder.build()
    }
}

/// The module with its first table exported: any module or host might write to it then.
fn opened(wasm: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"the table";
    let mut bytes = wasm[..8].to_vec();
    let mut rest = &wasm[8..];
    while let [id, after @ ..] = rest {
        let (len, body) = number(after);
        let (section, next) = body.split_at(len);
        rest = next;
        let mut section = section.to_vec();
        if *id == EXPORTS {
            let (count, exports) = number(&section);
            section = [&leb(count + 1)[..], &[NAME.len() as u8], NAME, &[TABLE, 0], exports].concat();
        }
        bytes.push(*id);
        bytes.extend(leb(section.len()));
        bytes.extend(section);
    }
    bytes
}

/// The id of a module's section of exports, and what an export of a table is marked with.
const EXPORTS: u8 = 7;
const TABLE: u8 = 1;

/// Reads a LEB128 number, and what follows.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let len = 1 + bytes.iter().position(|byte| byte & 0x80 == 0).expect("a valid module");
    (bytes[..len].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), &bytes[len..])
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An engine with the guest loaded.
struct Side {
    module: Module,
    deopts: u64,
}

impl Side {
    fn new(guest: &Guest, speculate: Speculate, options: &Options) -> Self {
        let config = Config { speculate, llvm: Some(Llvm::default()), perf_map: options.perf_map, ..Config::default() };
        let engine = Engine::new(config).expect("an engine");
        let wasm = guest.wasm().expect("the test data has it");
        let wasm = if options.open { opened(&wasm) } else { wasm };
        Side { module: Module::new(&engine, wasm).expect("a valid module"), deopts: 0 }
    }

    /// Seconds that one run of a new instance takes.
    fn run(&mut self, guest: &Guest) -> f64 {
        let mut store = Store::new(self.module.engine(), guest.ctx()).expect("a store");
        let mut linker = Linker::new();
        add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx);
        let instance = linker.instantiate(&mut store, &self.module).expect("all that it needs");
        let (name, arguments) = match guest {
            Guest::Kernel { n, .. } => ("run", vec![Val::I32(*n)]),
            Guest::Program { .. } => ("_start", Vec::new()),
        };
        let function = instance.func(&store, name).expect("it has one");
        let started = Instant::now();
        match function.call(&mut store, &arguments) {
            Ok(_) | Err(Error::Exit(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let seconds = started.elapsed().as_secs_f64();
        self.deopts += store.deopts();
        seconds
    }

    /// Units installed and given up.
    fn units(&self) -> (u64, u64) {
        let tiers = self.module.engine().broker().stats().tiers;
        (tiers.iter().map(|tier| tier.installed).sum(), tiers.iter().map(|tier| tier.deopts).sum())
    }

    /// Runs it until it is settled; the number of runs.
    fn warm(&mut self, guest: &Guest) -> usize {
        let (mut quiet, mut before) = (0, (0, 0));
        for runs in 1..=MOST_WARMING {
            self.run(guest);
            self.module.engine().broker().drain();
            let now = self.units();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
            if quiet == QUIET {
                return runs;
            }
        }
        MOST_WARMING
    }
}

/// The middle of the values, and the interval of the values' order that the median of what they are drawn from lies in with 95 %
/// confidence: it is missed with probability 2 P(Binomial(n, 1/2) < k), k being the ranks left out at each end.
fn median(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    let mut term = 0.5f64.powi(n as i32);
    let (mut below, mut k) = (term, 0);
    while below <= 0.025 {
        k += 1;
        term *= (n - k + 1) as f64 / k as f64;
        below += term;
    }
    let middle = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
    if k == 0 { (middle, f64::NAN, f64::NAN) } else { (middle, sorted[k - 1], sorted[n - k]) }
}

struct Options {
    pairs: usize,
    long: bool,
    open: bool,
    perf_map: bool,
    names: Vec<String>,
}

fn compare(name: &str, guest: &Guest, options: &Options) {
    let mut with = Side::new(guest, Speculate::Auto, options);
    let mut without = Side::new(guest, Speculate::Off, options);
    let warm = (with.warm(guest), without.warm(guest));
    let (mut ratios, mut seconds) = (Vec::new(), (Vec::new(), Vec::new()));
    for pair in 0..options.pairs {
        // Either comes first as often as the other.
        let (a, b) = if pair % 2 == 0 {
            let a = with.run(guest);
            (a, without.run(guest))
        } else {
            let b = without.run(guest);
            (with.run(guest), b)
        };
        ratios.push(a / b);
        seconds.0.push(a);
        seconds.1.push(b);
    }
    let (ratio, low, high) = median(&ratios);
    println!(
        "{name:<12} {:9.3} ms with, {:9.3} ms without, ratio {ratio:.3} [{low:.3}, {high:.3}]; warmed up {} + {} times; {:?} units with, {:?} without, {} exits",
        median(&seconds.0).0 * 1e3,
        median(&seconds.1).0 * 1e3,
        warm.0,
        warm.1,
        with.units(),
        without.units(),
        with.deopts,
    );
}

fn main() {
    if let Err(error) = Llvm::default().version() {
        println!("skipped: {error}");
        return;
    }
    let Some(data) = std::env::var_os("TIERUP_TESTDATA") else {
        println!("skipped: TIERUP_TESTDATA not set");
        return;
    };
    let mut options = Options { pairs: 20, long: false, open: false, perf_map: false, names: Vec::new() };
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--pairs" => options.pairs = arguments.next().and_then(|n| n.parse().ok()).expect("--pairs takes a number"),
            "--long" => options.long = true,
            "--open" => options.open = true,
            "--perf-map" => options.perf_map = true,
            _ => options.names.push(argument),
        }
    }
    let data = Path::new(&data);
    let kernels =
        KERNELS.map(|(name, n)| (name.to_owned(), Guest::Kernel { path: data.join(format!("kernels/{name}.wasm")), n }));
    let mut guests = Vec::from(kernels);
    let corpus =
        fs::read_dir(data.join("corpus")).expect("the test data has a corpus").map(|entry| entry.expect("readable").path());
    let mut dirs: Vec<PathBuf> = corpus.filter(|dir| dir.join("module.wasm").exists()).collect();
    dirs.sort();
    guests.extend(dirs.into_iter().filter_map(|dir| {
        Some((
            dir.file_name()?.to_string_lossy().into_owned(),
            Guest::Program { dir, suffix: if options.long { ".long" } else { "" } },
        ))
    }));
    for (name, guest) in &guests {
        if options.names.is_empty() || options.names.contains(name) {
            compare(name, guest, &options);
        }
    }
}
