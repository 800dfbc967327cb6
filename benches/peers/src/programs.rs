//! The corpus programs: module, arguments, stdin, and the output they must give.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// One run of one program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) module: PathBuf,
    /// The first is argv\[0\].
    pub(crate) args: Vec<String>,
    pub(crate) stdin: Stdin,
    /// Preopened as `/`.
    pub(crate) root: Option<PathBuf>,
    pub(crate) expected_stdout: Vec<u8>,
    pub(crate) expected_exit: i32,
}

/// What the program reads.
#[derive(Debug)]
pub(crate) enum Stdin {
    Empty,
    File(PathBuf),
    Text(&'static str),
}

/// The two lengths of each corpus program.
pub(crate) const LENGTHS: [&str; 2] = ["short", "long"];

/// The folders of the corpus, sorted by name.
pub(crate) fn names(corpus: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(corpus).map_err(Error::file(corpus))? {
        let entry = entry.map_err(Error::file(corpus))?;
        if entry.path().join("module.wasm").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Reads the files that describe one run.
pub(crate) fn load(corpus: &Path, name: &str, length: &str) -> Result<Program, Error> {
    let folder = corpus.join(name);
    let suffix = if length == "long" { ".long" } else { "" };
    let file = |stem: &str| folder.join(format!("{stem}{suffix}"));
    let read = |path: PathBuf| std::fs::read(&path).map_err(Error::file(path));

    let args = String::from_utf8_lossy(&read(file("args"))?).into_owned();
    let exit = String::from_utf8_lossy(&read(file("expected_exit"))?).into_owned();
    let expected_exit =
        exit.trim().parse().map_err(|_| Error::Unknown { what: "exit code", name: exit.clone(), known: "a number".into() })?;
    let stdin = Some(file("stdin")).filter(|path| path.is_file());
    let root = Some(folder.join("fs")).filter(|path| path.is_dir());
    Ok(Program {
        module: folder.join("module.wasm"),
        args: args.lines().map(str::to_owned).collect(),
        stdin: stdin.map_or(Stdin::Empty, Stdin::File),
        root,
        expected_stdout: read(file("expected_stdout"))?,
        expected_exit,
    })
}

/// The smallest useful run of sqlite: start, one statement, exit.
///
/// The program ends with a line `changes=N version=V`; V is taken from the output of the corpus's own run.
pub(crate) fn sqlite_select1(corpus: &Path) -> Result<Program, Error> {
    let full = load(corpus, "sqlite", "short")?;
    let output = String::from_utf8_lossy(&full.expected_stdout).into_owned();
    let version = output.trim_end().rsplit("version=").next().unwrap_or_default();
    Ok(Program {
        stdin: Stdin::Text("SELECT 1;\n"),
        expected_stdout: format!("1\nchanges=0 version={version}\n").into_bytes(),
        ..full
    })
}
