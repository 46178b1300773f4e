//! What a process takes of the machine, phase by phase.
//!
//! Knows nothing of what it does. Processor time counts in the kernel's clock ticks, 10 ms.

use std::fs;

use anyhow::{Context as _, Result};
use conngate_testbed::clock::mono_ns;
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::Serialize;

/// One phase.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    pub(super) phase: &'static str,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    /// The highest resident set since the process's start (VmHWM).
    pub(super) peak_mib: f64,
}

/// Measures a process; everything up to its making is the first phase.
pub(super) struct Meter {
    pid: Pid,
    at: u64,
    ticks: u64,
    costs: Vec<Cost>,
}

impl Meter {
    pub(super) fn new(pid: Pid, phase: &'static str) -> Result<Self> {
        let mut meter = Self { pid, at: mono_ns(), ticks: 0, costs: Vec::new() };
        meter.lap(phase)?;
        Ok(meter)
    }

    /// Ends a phase.
    #[expect(clippy::cast_precision_loss, reason = "ticks and nanoseconds of minutes are far below 2^53")]
    pub(super) fn lap(&mut self, phase: &'static str) -> Result<()> {
        let (at, ticks) = (mono_ns(), self.ticks()?);
        let hz = sysconf(SysconfVar::CLK_TCK)?.context("the kernel has clock ticks")? as f64;
        self.costs.push(Cost {
            phase,
            seconds: (at - self.at) as f64 / 1e9,
            cpu_seconds: (ticks - self.ticks) as f64 / hz,
            peak_mib: self.peak_kib()? as f64 / 1024.0,
        });
        (self.at, self.ticks) = (at, ticks);
        Ok(())
    }

    pub(super) fn costs(self) -> Vec<Cost> {
        self.costs
    }

    /// utime and stime of proc_pid_stat(5).
    fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|field| Ok(field.parse::<u64>()?)).sum()
    }

    fn peak_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").parse()?)
    }
}
