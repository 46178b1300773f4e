//! `bench release`: how long after Envoy's readiness a connection completes that was asked for before.
//!
//! Knows nothing of how a contender waits (`contender`), or of how readiness is seen (`observer`). The contenders take
//! turns, each with an Envoy of its own, so that whatever else the machine does meets all of them.

mod contender;
mod many;
mod observer;
mod single;
mod stage;
mod tables;

use anyhow::{Context as _, Result};
use clap::Args;
use conngate_testbed::lab;
use serde::Serialize;

use crate::{machine::Machine, report};

/// From Envoy's readiness to the held connect()'s return, beside other remedies and an oracle; then many at once
#[derive(Args)]
pub(super) struct Options {
    /// Runs of conngate and of the oracle
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Runs of the contenders that take seconds each
    #[arg(long, default_value_t = 20)]
    slow_runs: usize,
    /// Connections held at once
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Repetitions of that
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    single: Vec<single::Run>,
    many: Vec<many::Repetition>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let machine = Machine::here()?;
    println!("{}", machine.line());
    let mut measured = None;
    lab::run(|| {
        measured = Some((single::measure(options.runs, options.slow_runs)?, many::measure(options)?));
        Ok(())
    })?;
    let (single, many) = measured.context("the laboratory was not opened")?;
    println!("\n{}\n\n{}", tables::single(&single), tables::many(&many, options.many));
    report::write("release", &Figures { machine, single, many })
}
