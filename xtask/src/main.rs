//! `cargo xtask <verb>`: the one front door, on a laptop and in CI.
//!
//! Knows nothing of what the verbs do: one file each.

mod bench;
mod build_ebpf;
mod cluster;
mod demo;
mod deploy;
mod fuzz;
mod lint;
mod process;
mod setup;
mod test;
mod versions;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// The one front door of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    Bench(bench::Options),
    Setup(setup::Options),
    BuildEbpf(build_ebpf::Options),
    Demo(demo::Options),
    Cluster(cluster::Options),
    Deploy(deploy::Options),
    Fuzz(fuzz::Options),
    Lint(lint::Options),
    Test(test::Options),
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Bench(options) => bench::run(&options),
        Verb::Setup(options) => setup::run(&options),
        Verb::BuildEbpf(options) => build_ebpf::run(&options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Cluster(options) => cluster::run(&options),
        Verb::Deploy(options) => deploy::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Lint(options) => lint::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Vm(options) => vm::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
