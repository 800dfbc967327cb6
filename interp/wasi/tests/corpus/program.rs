//! A program of the corpus: what it is given, what it must answer.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tierup::Tier;
use tierup_interp::{AsStore, Engine, Error, Linker, Module, Store};
use tierup_wasi::{Access, Buffer, WasiCtx, WasiCtxBuilder, add_to_linker};

use crate::configuration::Configuration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Short,
    Long,
}

impl Length {
    /// What this run of the tests covers.
    pub(crate) fn chosen() -> &'static [Self] {
        if Self::is_full() { &[Self::Short, Self::Long] } else { &[Self::Short] }
    }

    /// Whether the full matrix is asked for.
    pub(crate) fn is_full() -> bool {
        std::env::var("TIERUP_MATRIX").is_ok_and(|matrix| matrix == "full")
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Short => "",
            Self::Long => ".long",
        }
    }
}

/// What a run did besides what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    /// How often native code was left through exits.
    pub(crate) exits: u64,
    /// How often running loops were entered.
    entries: u64,
    /// The units installed in the module's engine so far, by tier.
    units: Vec<u64>,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} exits, {} loops entered, units by tier {:?}", self.exits, self.entries, self.units)
    }
}

/// `TIERUP_LARGEST`: the bytes of the largest functions that LLVM is given. Of others it takes minutes to make code that can be left everywhere;
/// they go no higher than the first tier, and where nothing else is compiled are interpreted.
fn largest() -> Option<u32> {
    let largest = std::env::var("TIERUP_LARGEST").ok()?;
    Some(largest.parse().unwrap_or_else(|error| panic!("TIERUP_LARGEST={largest}: {error}")))
}

pub(crate) struct Program {
    pub(crate) name: String,
    dir: PathBuf,
}

/// How many programs the corpus has: a test that finds fewer did not test what it says.
const PROGRAMS: usize = 7;

/// Every program of the corpus; none, with a word about it, if there is no test data.
pub(crate) fn all() -> Vec<Program> {
    let data = std::env::var("TIERUP_TESTDATA").unwrap_or_default();
    if data.is_empty() {
        println!("skipped: TIERUP_TESTDATA not set");
        return Vec::new();
    }
    let mut programs: Vec<Program> = fs::read_dir(Path::new(&data).join("corpus"))
        .unwrap_or_else(|error| panic!("TIERUP_TESTDATA={data} has no corpus: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("module.wasm").exists())
        .map(|dir| Program { name: dir.file_name().unwrap().to_string_lossy().into_owned(), dir })
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(programs.len(), PROGRAMS);
    if let Ok(only) = std::env::var("TIERUP_PROGRAM") {
        programs.retain(|program| program.name == only);
    }
    programs
}

impl Program {
    /// Loads the module into an engine of its own.
    pub(crate) fn load(&self, configuration: Configuration) -> Result<Module, String> {
        let engine = Engine::new(configuration.config()).map_err(|error| error.to_string())?;
        let module = Module::new(&engine, self.wasm()?).map_err(|error| error.to_string())?;
        if let Some(largest) = largest() {
            self.leave_to_the_first_tier(&module, largest);
        }
        Ok(module)
    }

    /// Functions of more than `largest` bytes go no higher than the first tier. Says which.
    fn leave_to_the_first_tier(&self, module: &Module, largest: u32) {
        let mut left = Vec::new();
        module.engine().broker().walk(|function| {
            let index = function.guest.index();
            if let Some(size) = module.body_size(index).filter(|&size| size > largest) {
                assert!(module.engine().broker().limit_tier(function.bead, Tier::new(1)));
                left.push(format!("{} ({size})", function.guest.name().unwrap_or_else(|| format!("function {index}"))));
            }
        });
        println!(
            "{}: {} functions of more than {largest} bytes go no higher than the first tier: {}",
            self.name,
            left.len(),
            left.join(", ")
        );
    }

    /// The module's binary.
    pub(crate) fn wasm(&self) -> Result<Vec<u8>, String> {
        fs::read(self.dir.join("module.wasm")).map_err(|error| error.to_string())
    }

    /// Runs it once and compares.
    pub(crate) fn run(&self, configuration: Configuration, length: Length) -> Result<Ran, String> {
        self.run_loaded(&self.load(configuration)?, length)
    }

    /// [`run`](Self::run), of a module loaded before.
    pub(crate) fn run_loaded(&self, module: &Module, length: Length) -> Result<Ran, String> {
        let (out, err) = (Buffer::new(), Buffer::new());
        let ctx = self.ctx(length, &out, &err)?;
        let exit = start(module, ctx);
        let said = || String::from_utf8_lossy(&err.contents()).into_owned();
        let (exit, ran) = exit.map_err(|error| format!("{error}; stderr: {}", said()))?;
        let expected_exit = self.text("expected_exit", length)?;
        if expected_exit.trim() != exit.to_string() {
            return Err(format!("exit code {exit}, expected {expected_exit}; stderr: {}", said()));
        }
        let expected = self.read("expected_stdout", length).map_err(|error| error.to_string())?;
        let got = out.contents();
        if got == expected {
            return Ok(ran);
        }
        let at = got.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        Err(format!(
            "{} bytes of output, {} expected, different from byte {at} on: {:?} instead of {:?}",
            got.len(),
            expected.len(),
            String::from_utf8_lossy(&got[at..got.len().min(at + 60)]),
            String::from_utf8_lossy(&expected[at..expected.len().min(at + 60)]),
        ))
    }

    fn ctx(&self, length: Length, out: &Buffer, err: &Buffer) -> Result<WasiCtx, String> {
        let refused = |error: tierup_wasi::ConfigError| error.to_string();
        let args = self.text("args", length)?;
        let mut builder = WasiCtxBuilder::new().stdout(out.clone()).stderr(err.clone());
        builder = builder.args(args.lines()).map_err(refused)?;
        if let Ok(input) = self.read("stdin", length) {
            builder = builder.stdin(io::Cursor::new(input));
        }
        if self.dir.join("fs").exists() {
            builder = builder.preopened_dir(self.dir.join("fs"), "/", Access::ReadOnly).map_err(refused)?;
        }
        Ok(builder.build())
    }

    fn read(&self, file: &str, length: Length) -> io::Result<Vec<u8>> {
        fs::read(self.dir.join(format!("{file}{}", length.suffix())))
    }

    fn text(&self, file: &str, length: Length) -> Result<String, String> {
        let bytes = self.read(file, length).map_err(|error| format!("{file}: {error}"))?;
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }
}

/// Runs `_start` to its exit code.
fn start(module: &Module, ctx: WasiCtx) -> Result<(i32, Ran), Error> {
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx);
    let mut store = Store::new(module.engine(), ctx)?;
    let ended = linker
        .instantiate(&mut store, module)
        .and_then(|instance| instance.func(&store, "_start"))
        .and_then(|start| start.call(&mut store, &[]));
    let units = module.engine().broker().stats().tiers.iter().map(|tier| tier.installed).collect();
    let ran = Ran { exits: store.deopts(), entries: store.osr_entries(), units };
    match ended {
        Ok(_) => Ok((0, ran)),
        Err(Error::Exit(code)) => Ok((code, ran)),
        Err(error) => Err(error),
    }
}
