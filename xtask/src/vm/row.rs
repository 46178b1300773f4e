//! One line of the result: a kernel, and what came of it.

use std::time::Duration;

use comfy_table::{Table, presets::NOTHING};

use super::{accelerator::Accelerator, account::Sum, arch::Arch};

/// The line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// As `uname -r` says it; as it should where there was no guest.
    pub(crate) release: String,
    /// The version of its packages.
    pub(crate) version: String,
    pub(crate) arch: Arch,
    pub(crate) accelerator: Accelerator,
    pub(crate) sum: Sum,
    pub(crate) took: Duration,
}

impl Row {
    /// Whether all is well.
    pub(crate) fn is_good(&self) -> bool {
        self.sum.is_good()
    }

    /// How many tests have not passed; at least one where something else is wrong.
    pub(crate) fn failed(&self) -> usize {
        self.sum.failed.len().max(usize::from(!self.is_good()))
    }

    /// What is wrong, one line each.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        self.sum.failed.iter().chain(&self.sum.complaints).map(|fault| format!("{}: FAILED: {fault}", self.name))
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let Sum { passed, left_out, .. } = self.sum;
        let (name, result) = (&self.name, if self.is_good() { "passed" } else { "FAILED" });
        let minutes = minutes(self.took);
        format!("{name}: {result}: {passed} passed, {} failed, {left_out} left out, {minutes} min", self.failed())
    }
}

/// All of them.
pub(crate) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["kernel", "release", "arch", "by", "passed", "failed", "left out", "min"]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            row.release.clone(),
            row.arch.to_string(),
            row.accelerator.to_string(),
            row.sum.passed.to_string(),
            row.failed().to_string(),
            row.sum.left_out.to_string(),
            minutes(row.took),
        ]);
    }
    table
}

fn minutes(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64() / 60.0)
}
