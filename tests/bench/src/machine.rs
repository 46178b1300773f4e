//! On what something was measured, and when.
//!
//! Knows nothing of what was measured.

use std::{fs, num::NonZero, process::Command, thread, time::SystemTime};

use anyhow::{Context as _, Result};
use conngate_testbed::lab::envoy;
use serde::Serialize;

/// The line above every table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    envoy: String,
    /// UTC.
    date: String,
    /// Of the last minute, before the benchmark: who else was busy.
    load: f64,
}

impl Machine {
    /// This one, now. Fetches Envoy where it is missing.
    pub(super) fn here() -> Result<Self> {
        let uname = nix::sys::utsname::uname().context("no uname")?;
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let envoy = Command::new(envoy::binary()?).arg("--version").output().context("Envoy does not run")?;
        Ok(Self {
            processor: processor.unwrap_or("unknown processor").to_owned(),
            processors: thread::available_parallelism().map_or(1, NonZero::get),
            kernel: format!("{} {}", uname.release().display(), uname.machine().display()),
            // "envoy  version: COMMIT/VERSION/Clean/RELEASE/BoringSSL"
            envoy: String::from_utf8_lossy(&envoy.stdout).trim().split('/').nth_back(3).unwrap_or("unknown").to_owned(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let Self { processor, processors, kernel, envoy, date, load } = self;
        format!("{processors} x {processor}, Linux {kernel}, Envoy {envoy}, {date}, load before {load}")
    }
}
