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
pub(crate) fn sqlite_select1(corpus: &Path) -> Program {
    Program {
        module: corpus.join("sqlite").join("module.wasm"),
        args: vec!["sqlite".into()],
        stdin: Stdin::Text("SELECT 1;\n"),
        root: None,
        expected_stdout: b"1\n".to_vec(),
        expected_exit: 0,
    }
}
