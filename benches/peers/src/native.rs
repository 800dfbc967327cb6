//! The kernels' C sources as native programs, built once per run by the clang on the `PATH`.
//!
//! `clang -O2` without `-march`, as the kernels' README says: a program that is to run on any machine of the family.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kernels::KERNELS;

/// The programs, and the folder they are removed with.
#[derive(Debug)]
pub(crate) struct Native {
    folder: PathBuf,
}

impl Native {
    /// Builds every kernel in `data`.
    ///
    /// # Errors
    ///
    /// Why native code cannot be measured here.
    pub(crate) fn build(data: &Path, path: &[PathBuf]) -> Result<Self, String> {
        let clang = ["clang-19", "clang"].iter().flat_map(|name| path.iter().map(move |folder| folder.join(name)));
        let clang = clang.into_iter().find(|file| file.is_file()).ok_or("there is no `clang` on the PATH")?;
        let folder = std::env::temp_dir().join(format!("tierup-peers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let native = Self { folder };
        let sample = native.folder.join("native.c");
        std::fs::write(&sample, include_str!("native.c")).map_err(|error| format!("{}: {error}", sample.display()))?;
        for kernel in KERNELS {
            let source = data.join("kernels").join(format!("{}.c", kernel.name));
            let mut command = Command::new(&clang);
            command.arg("-O2").arg(&source).arg(&sample).arg("-o").arg(native.program(kernel.name)).arg("-lm");
            let output = command.output().map_err(|error| format!("{}: {error}", clang.display()))?;
            if !output.status.success() {
                let message = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{} does not compile: {}", source.display(), message.trim()));
            }
        }
        Ok(native)
    }

    /// The program of one kernel.
    pub(crate) fn program(&self, kernel: &str) -> PathBuf {
        self.folder.join(kernel)
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // What is left behind is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
