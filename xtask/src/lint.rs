//! `cargo xtask lint`: format, clippy, and the rules of this repository as code.
//!
//! Runs everything and reports all of it; the quick rules come first.

mod book;
mod code;
mod dependencies;
mod krew;
mod layers;
mod licences;
mod links;
mod named;
mod shape;
mod text;
mod tokens;
mod tree;
mod workflows;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use conngate_testbed::step::step;

use crate::{
    process::{nightly, run as run_command},
    setup::rust_src,
    workspace::{cargo, metadata, root},
};
use tree::{File, Finding};

/// Check format, clippy, and the rules of this repository
#[derive(Args)]
pub(crate) struct Options {
    /// Only the repository's own rules: no format, no clippy
    #[arg(long)]
    tidy: bool,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut clean = report(step("tidy rules", tidy)?);
    if !options.tidy {
        for (what, mut command) in commands() {
            clean &= step(what, || Ok(run_command(&mut command).inspect_err(|error| eprintln!("{error:#}")).is_ok()))?;
        }
    }
    println!("lint: {}", if clean { "clean" } else { "failed" });
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong with a document, by all files.
type Rule = fn(&File, &[File]) -> Vec<Finding>;

fn tidy() -> Result<Vec<Finding>> {
    let files = tree::files(root())?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(text::findings(file));
        findings.extend(workflows::findings(file));
        findings.extend(links::findings(file, |path| root().join(path).exists()));
        if file.is_rust() {
            findings.extend(shape::findings(file));
            findings.extend(code::findings(file));
            findings.extend(layers::findings(file));
        }
    }
    findings.extend(named::findings(&files));
    let documents: [(_, Rule); 2] = [(book::DOCUMENT, book::findings), (krew::DOCUMENT, krew::findings)];
    for (path, rule) in documents {
        match files.iter().find(|file| file.path == path) {
            Some(document) => findings.extend(rule(document, &files)),
            None => findings.push(Finding::new(path, 1, "is not there".to_owned())),
        }
    }
    for directory in ["", "ebpf/", "fuzz/"] {
        let (workspace, lock) = (root().join(directory), &format!("{directory}Cargo.lock"));
        let packages = metadata(&workspace, true)?.packages;
        findings.extend(licences::findings(lock, &packages));
        findings.extend(dependencies::findings(root(), &packages, &files));
    }
    findings.sort();
    findings.dedup();
    Ok(findings)
}

fn report(findings: Vec<Finding>) -> bool {
    for finding in &findings {
        println!("{finding}");
    }
    findings.is_empty()
}

fn commands() -> Vec<(&'static str, Command)> {
    let mut format = cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut format_ebpf = cargo();
    format_ebpf.args(["fmt", "--check", "--manifest-path", "ebpf/Cargo.toml"]);
    let mut format_fuzz = cargo();
    format_fuzz.args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]);
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    let mut commands = vec![
        ("format", format),
        ("format of ebpf/", format_ebpf),
        ("format of fuzz/", format_fuzz),
        ("clippy", clippy),
    ];
    match rust_src() {
        Ok(_) => commands.push(("clippy of ebpf/", clippy_ebpf())),
        Err(why) => eprintln!("clippy of ebpf/ is left out: {why:#}"),
    }
    commands
}

fn clippy_ebpf() -> Command {
    let mut clippy = nightly("cargo");
    clippy.args(["clippy", "--quiet", "--release", "-Z", "build-std=core", "--target", "bpfel-unknown-none"]);
    clippy.arg("--target-dir").arg(root().join("target/bpf-clippy")).args(["--", "--deny", "warnings"]);
    clippy.current_dir(root().join("ebpf")).env("CARGO_ENCODED_RUSTFLAGS", r#"--cfg=bpf_target_arch="x86_64""#);
    clippy
}
