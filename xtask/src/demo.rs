//! `cargo xtask demo`: the demo, built with conngate.
//!
//! Knows nothing of it: a package of its own (tests/demo) has it, because this program must build without the agent.

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::{Result, bail};
use clap::Args;
use conngate_testbed::step::step;

use crate::{
    process::{end_as, is_root, run as run_command},
    setup::{Purpose, prepare},
    workspace::{cargo, target},
};

/// Show the race and its end: without conngate, with a wait loop, with conngate; against a real Envoy, as root
///
/// `--delay DURATION`: how long the control plane lets Envoy wait for its listeners (3s when absent). `--update-docs`: also write
/// the picture to docs/timeline.svg.
#[derive(Args)]
pub(crate) struct Options {
    /// Its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
    arguments: Vec<OsString>,
}

/// The verb.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !is_root() {
        bail!("the demo makes network namespaces and cgroups and loads eBPF programs: run it as root");
    }
    prepare(Purpose::Demo)?;
    step("building conngate and the laboratory", || {
        let packages = ["--package", "conngate", "--package", "conngate-testbed", "--package", "conngate-demo"];
        run_command(cargo().args(["build", "--quiet"]).args(packages))
    })?;
    end_as(Command::new(target("debug").join("conngate-demo")).args(&options.arguments))
}
