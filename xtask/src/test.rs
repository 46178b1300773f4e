//! `cargo xtask test [host|kernel|node]`: the tiers of tests, and what came of them.
//!
//! Knows nothing of single tests. A tier that cannot run here says why, and under CI that is a failure.

mod tally;

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    num::NonZero,
    process::{Command, ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use conngate_testbed::{cluster::build, step::step};

use crate::{
    deploy::{self, tools::Tools},
    process::{find, is_root, output, run as run_command},
    setup::{Purpose, prepare},
    workspace::cargo,
};
use tally::{Failures, Outcome, Tally};

/// Run the tests: on the host, and (as root) against the kernel and on a node
#[derive(Args)]
pub(crate) struct Options {
    /// One tier; all when absent
    #[arg(value_enum)]
    tier: Option<Tier>,
}

/// By what the tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Unit and property tests: nothing but Rust
    Host,
    /// Real programs, sockets, redirects and Envoy: root
    Kernel,
    /// conngate on a Kubernetes node with Istio, and what is in deploy/: root and Go
    Node,
}

/// The packages of the host tier.
const HOST: [&str; 8] = [
    "conngate",
    "conngate-bench",
    "conngate-common",
    "conngate-core",
    "conngate-demo",
    "conngate-view",
    "kubectl-conngate",
    "xtask",
];
/// The runs of the kernel tier: what is built, and what their test runners are told. The agent's own tests that need root
/// are marked `#[ignore]`.
pub(crate) const KERNEL: [Run; 3] = [
    Run { cargo: &["--package", "conngate"], runner: &["--ignored"] },
    Run { cargo: &["--package", "conngate-testbed", "--lib", "--bins"], runner: &[] },
    Run { cargo: &["--package", "conngate-tests", "--test", "kernel"], runner: &[] },
];
/// What the tests start, built before them.
const STARTED: [&str; 6] = ["build", "--package", "conngate", "--package", "conngate-testbed", "--bins"];
/// What changes a whole machine: only in guests, one test after the other.
pub(crate) const MACHINE: Run =
    Run { cargo: &["--package", "conngate-tests", "--test", "machine"], runner: &["--test-threads", "1"] };
/// The run of the node tier.
const NODE: [Run; 1] = [Run { cargo: &["--package", "conngate-tests", "--test", "node"], runner: &[] }];

/// One `cargo test`.
pub(crate) struct Run {
    /// What `cargo test` is told of packages and targets.
    pub(crate) cargo: &'static [&'static str],
    /// What the tests' runners are told.
    pub(crate) runner: &'static [&'static str],
}

impl Run {
    /// The command, whose runner is told `arguments` too.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut test = cargo();
        test.args(["test", "--no-fail-fast"]).args(self.cargo).arg("--").args(self.runner).args(arguments);
        test
    }
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let tiers = options.tier.map_or(Tier::value_variants().to_vec(), |tier| vec![tier]);
    let mut total = Tally::default();
    let mut failures = Failures::default();
    let mut lines = Vec::new();
    let mut failed = false;
    for tier in tiers {
        let (outcome, tally) = run_tier(tier, &mut failures).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Tally::default().outcome(false)
        });
        failed |= outcome.is_failure(ci());
        lines.push(format!("{}: {outcome}", tier.name()));
        total += tally;
    }
    print!("{failures}");
    for line in lines {
        println!("{line}");
    }
    println!("{total}");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Kernel => "kernel",
            Self::Node => "node",
        }
    }
}

fn run_tier(tier: Tier, failures: &mut Failures) -> Result<(Outcome, Tally)> {
    match tier {
        Tier::Host => {
            let packages = HOST.map(|package| format!("--package={package}"));
            let (outcome, tally) =
                step("host tests", || stream(cargo().args(["test", "--no-fail-fast"]).args(packages), failures))?;
            // What is ignored here is the kernel tier's, and counted there.
            Ok((outcome, Tally { skipped: 0, ..tally }))
        }
        Tier::Kernel if !is_root() => skip(&KERNEL, "needs root"),
        Tier::Kernel => {
            prepare(Purpose::Test)?;
            step("build what the tests start", || run_command(cargo().args(STARTED)))?;
            let threads = kernel_threads().to_string();
            step("kernel tests", || run_all(&KERNEL, &["--test-threads", &threads], failures))
        }
        Tier::Node if !is_root() => skip(&NODE, "needs root"),
        Tier::Node if find("go").is_none() => skip(&NODE, "needs Go: https://go.dev/dl/"),
        Tier::Node => {
            prepare(Purpose::Node)?;
            step("build what the tests start", || {
                run_command(cargo().args(STARTED).arg("--package=kubectl-conngate"))
            })?;
            let tools = Tools { helm: build::helm()?, kubectl: build::kubectl()? };
            let deploy = step("deploy/", || deploy::check(&tools))?;
            let (outcome, tally) = step("node tests", || run_all(&NODE, &[], failures))?;
            let deployed = Tally { passed: usize::from(deploy), failed: usize::from(!deploy), skipped: 0 };
            Ok((if deploy { outcome } else { Outcome::Failed }, deployed + tally))
        }
    }
}

/// Runs all of `runs`, also when one fails.
fn run_all(runs: &[Run], arguments: &[&str], failures: &mut Failures) -> Result<(Outcome, Tally)> {
    let mut total = Tally::default();
    let mut passed = true;
    for run in runs {
        let (outcome, tally) = stream(&mut run.command(arguments), failures)?;
        passed &= outcome == Outcome::Passed;
        total += tally;
    }
    Ok((if passed { Outcome::Passed } else { Outcome::Failed }, total))
}

/// Kernel tests mostly wait, but each has an Envoy, and thousands of connections in one starve the timers of another.
fn kernel_threads() -> usize {
    thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 4)
}

/// Counts what is not run, from the test runners' own lists.
fn skip(runs: &[Run], why: &str) -> Result<(Outcome, Tally)> {
    let mut skipped = 0;
    for run in runs {
        let lists = output(&mut run.command(&["--list"]))?;
        skipped += lists.lines().filter_map(tally::listed).sum::<usize>();
    }
    Ok((Outcome::Skipped(why.to_owned()), Tally { skipped, ..Tally::default() }))
}

/// Runs `test`, passes its output on, adds up its result lines and keeps why tests failed.
fn stream(test: &mut Command, failures: &mut Failures) -> Result<(Outcome, Tally)> {
    let mut child = test.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut tally = Tally::default();
    let mut stdout = std::io::stdout().lock();
    for line in BufReader::new(child.stdout.take().context("stdout is a pipe")?).split(b'\n') {
        let line = line?;
        stdout.write_all(&line)?;
        stdout.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        tally += tally::result(&line).unwrap_or_default();
        failures.read(&line);
    }
    let status = child.wait()?;
    Ok(tally.outcome(status.success()))
}

/// Whether this is a CI run, by the variable that every CI system sets.
pub(crate) fn ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}
