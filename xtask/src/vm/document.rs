//! The table of kernels in docs/kernel-support.md: each with its last run.
//!
//! Decides purely but for [`write`]. Rows of kernels that were not run now stay as they are.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use super::{pins::LeftOut, row::Row};
use crate::workspace::root;

/// Where it is, relative to the checkout.
const DOCUMENT: &str = "docs/kernel-support.md";

/// What is between these is written here.
const BEGIN: &str = "<!-- vm:begin -->";
const END: &str = "<!-- vm:end -->";

const HEAD: &str = "| kernel | arch | release | package | by | tests | passed | failed | left out | last run |\n\
    |---|---|---|---|---|---|---|---|---|---|\n";

/// A row by its first two cells.
type Rows = BTreeMap<(String, String), String>;

/// Writes `rows` of a run of `tests` ("all", "core") into the document.
pub(crate) fn write(rows: &[Row], tests: &str, kernels: &[&str], left_out: &[LeftOut]) -> Result<()> {
    let path = root().join(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {DOCUMENT}"))?;
    let today = date(SystemTime::now());
    let changed =
        with(&text, &rows.iter().map(|row| cells(row, tests, &today)).collect::<Vec<_>>(), kernels, left_out)?;
    fs::write(&path, changed).with_context(|| format!("cannot write {DOCUMENT}"))
}

/// `text` with `new` rows.
fn with(text: &str, new: &[String], kernels: &[&str], left_out: &[LeftOut]) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{DOCUMENT} has no {BEGIN}"))?;
    let (old, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has no {END}"))?;
    let old = old.split("\n\n").next().unwrap_or_default();
    let mut rows = Rows::new();
    for line in old.lines().chain(new.iter().map(String::as_str)) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, kernel, arch, ..] = cells[..] {
            rows.insert((kernel.to_owned(), arch.to_owned()), line.to_owned());
        }
    }
    // Also drops the head of the table, and kernels that are no longer named.
    let ordered = kernels.iter().flat_map(|kernel| rows.iter().filter(move |((name, _), _)| name == kernel));
    let rows: String = ordered.map(|(_, line)| format!("{line}\n")).collect();
    Ok(format!("{before}{BEGIN}\n{HEAD}{rows}\n{}{END}{after}", exceptions(left_out)))
}

fn cells(row: &Row, tests: &str, today: &str) -> String {
    let Row { name, release, version, arch, accelerator, sum, .. } = row;
    let (passed, failed, left_out) = (sum.passed, row.failed(), sum.left_out);
    format!(
        "| {name} | {arch} | {release} | {version} | {accelerator} | {tests} | {passed} | {failed} | {left_out} | {today} |"
    )
}

fn exceptions(left_out: &[LeftOut]) -> String {
    let mut text = "| left out | on | because |\n|---|---|---|\n".to_owned();
    for LeftOut { test, why, kernels, emulated } in left_out {
        let kernels = kernels.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let kernels = if kernels.is_empty() { "every kernel" } else { &kernels };
        let emulated = if *emulated { ", emulated" } else { "" };
        text += &format!("| `{test}` | {kernels}{emulated} | {why} |\n");
    }
    text
}

/// Year, month and day, UTC.
fn date(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut text = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string();
    text.truncate("2026-01-01".len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: [&str; 3] = ["5.10", "6.1", "newest"];

    #[test]
    fn with_rows_are_replaced_kept_and_ordered() {
        let text = format!(
            "before\n{BEGIN}\n{HEAD}| 4.19 | x86_64 | gone |\n| newest | x86_64 | old |\n| 6.1 | x86_64 | kept |\n\n\
             | left out |\n{END}\nafter\n"
        );
        let new = ["| 5.10 | x86_64 | new |", "| newest | x86_64 | new |", "| newest | aarch64 | new |"];
        let left_out = LeftOut {
            test: "kernel/a::b".into(),
            why: "slow".into(),
            kernels: ["6.1".to_owned()].into(),
            emulated: true,
        };
        let changed = with(&text, &new.map(str::to_owned), &KERNELS, &[left_out]).unwrap();
        assert_eq!(
            changed,
            format!(
                "before\n{BEGIN}\n{HEAD}| 5.10 | x86_64 | new |\n| 6.1 | x86_64 | kept |\n| newest | aarch64 | new |\n\
                 | newest | x86_64 | new |\n\n| left out | on | because |\n|---|---|---|\n\
                 | `kernel/a::b` | 6.1, emulated | slow |\n{END}\nafter\n"
            )
        );
        assert_eq!(with(&changed, &[], &KERNELS, &[]).unwrap().matches("x86_64").count(), 3, "and again");
    }

    #[test]
    fn with_document_without_marks_is_an_error() {
        assert!(with("no marks", &[], &KERNELS, &[]).is_err());
    }

    #[test]
    fn date_is_a_day() {
        assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_857_600)), "2026-11-28");
    }
}
