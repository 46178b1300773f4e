//! `cargo xtask fuzz`: libFuzzer on everything that a pod or a server can write.
//!
//! Knows nothing of the targets but their names, which are those of the files in fuzz/fuzz_targets. What crashes a target
//! stays below target/fuzz/artifacts, what covers new code below target/fuzz/corpus.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use conngate_testbed::step::step;

use crate::{
    process::{nightly, run as run_command},
    setup::{Purpose, prepare},
    workspace::{root, target},
};

/// What makes rustc count edges for libFuzzer, as cargo-fuzz does.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cdebug-assertions",
];

/// The longest input, in bytes: beyond every limit that the parsers have of their own.
const LONGEST: &str = "-max_len=16384";

/// Fuzz the parsers of what pods and servers write (a nightly toolchain)
#[derive(Args)]
pub(crate) struct Options {
    /// Targets, files of fuzz/fuzz_targets; all when absent
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    prepare(Purpose::Fuzz)?;
    let all = targets()?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = target("fuzz");
    step("build the fuzz targets", || {
        let mut build = nightly("cargo");
        // With a target, so that build scripts are not instrumented.
        build.args(["build", "--quiet", "--release", "--locked", "--target", &triple, "--target-dir"]).arg(&built);
        build.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"));
        run_command(build.current_dir(root().join("fuzz")))
    })?;
    let chosen = if options.targets.is_empty() { &all } else { &options.targets };
    for name in chosen {
        let program = built.join(&triple).join("release").join(name);
        step(&format!("fuzz {name} for {} s", options.seconds), || fuzz(&program, name, &built, options.seconds))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fuzz(program: &Path, name: &str, built: &Path, seconds: u32) -> Result<()> {
    let (corpus, artifacts) = (built.join("corpus").join(name), built.join("artifacts").join(name));
    for directory in [&corpus, &artifacts] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let mut fuzz = Command::new(program);
    fuzz.args([format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/", artifacts.display())]);
    run_command(fuzz.args([LONGEST, "-print_final_stats=1", "-verbosity=0"]).arg(corpus))
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_that_the_manifest_builds() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let paths = targets().unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), paths.len());
        assert!(paths.iter().all(|name| manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\""))));
    }
}
