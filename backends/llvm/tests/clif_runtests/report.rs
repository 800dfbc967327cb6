//! What a child found out, as lines its parent reads.

/// Counts are of run commands that were right.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Run commands of the file.
    pub(crate) commands: usize,
    pub(crate) cranelift: usize,
    /// Called by Cranelift's code, in the quick compiler's; what that one declines is Cranelift's.
    pub(crate) quick: usize,
    /// Commands that call what the quick compiler declines.
    pub(crate) not_quick: usize,
    pub(crate) llvm: usize,
    pub(crate) llvm_cheap: usize,
    /// Called by Cranelift's code, calling it in turn.
    pub(crate) into_llvm: usize,
    /// Called by LLVM's code, calling it in turn.
    pub(crate) into_cranelift: usize,
    /// Commands that cannot cross tiers: `tail` functions.
    pub(crate) tail: usize,
    /// Commands that cannot cross tiers: refused at the boundary.
    pub(crate) not_across: usize,
    /// Functions the translator refuses, whoever calls them.
    pub(crate) refusals: Vec<String>,
    /// Functions it refuses to share with another tier.
    pub(crate) boundary: Vec<String>,
    pub(crate) failures: Vec<String>,
}

const MARK: &str = "clif-report ";

impl Report {
    fn counts(&mut self) -> [(&'static str, &mut usize); 10] {
        [
            ("commands", &mut self.commands),
            ("cranelift", &mut self.cranelift),
            ("quick", &mut self.quick),
            ("not-quick", &mut self.not_quick),
            ("llvm", &mut self.llvm),
            ("llvm-cheap", &mut self.llvm_cheap),
            ("into-llvm", &mut self.into_llvm),
            ("into-cranelift", &mut self.into_cranelift),
            ("tail", &mut self.tail),
            ("not-across", &mut self.not_across),
        ]
    }

    /// Prints the report. The last line says that it is complete.
    pub(crate) fn print(mut self) {
        // The test harness may have begun a line.
        println!();
        for (key, count) in self.counts() {
            println!("{MARK}{key} {count}");
        }
        for (key, texts) in [("refusal", &self.refusals), ("boundary", &self.boundary), ("failure", &self.failures)] {
            for text in texts {
                println!("{MARK}{key} {}", text.replace('\n', " "));
            }
        }
        println!("{MARK}end");
    }

    /// Reads what a child printed; `None` if it did not come to its end.
    pub(crate) fn read(output: &str) -> Option<Self> {
        let mut report = Report::default();
        for line in output.lines().filter_map(|line| line.strip_prefix(MARK)) {
            match line.split_once(' ') {
                None if line == "end" => return Some(report),
                Some(("refusal", text)) => report.refusals.push(text.to_owned()),
                Some(("boundary", text)) => report.boundary.push(text.to_owned()),
                Some(("failure", text)) => report.failures.push(text.to_owned()),
                Some((key, number)) => {
                    let mut counts = report.counts();
                    let (_, count) = counts.iter_mut().find(|(name, _)| *name == key)?;
                    **count = number.parse().ok()?;
                }
                None => return None,
            }
        }
        None
    }

    pub(crate) fn add(&mut self, mut other: Report) {
        for ((_, total), (_, count)) in self.counts().into_iter().zip(other.counts()) {
            *total += *count;
        }
    }
}
