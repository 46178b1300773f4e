//! The options of `conngate run`, parsed into our types.
//!
//! Knows nothing of what they lead to.

use std::{ffi::OsString, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use conngate_common::gate::{CapturePorts, ContainerClass, Mode, NO_UID};

use crate::{
    cli::Common,
    gate::{OnTimeout, Policy, Readiness},
    spec::GateSpec,
    url::{ReadyUrl, ReadyUrlError},
    values::{TooMany, hold_time, slots},
};

/// Options of `conngate run`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Exit status: CMD's own; 128 + n when signal n ended it; 125 when conngate failed before CMD was \
    started; 126 when CMD cannot be executed; 127 when CMD was not found; 2 for a wrong command line."
)]
pub struct Options {
    /// A port that the mesh redirects connections to; repeatable.
    #[arg(long = "capture-port", value_name = "PORT", default_value = "15001", value_parser = clap::value_parser!(u16).range(1..))]
    pub capture_ports: Vec<u16>,
    /// A port that the mesh redirects DNS over UDP to, whose queries are held too; repeatable. If it is also a --capture-port, lookups
    /// that wait longer than their resolver would continue over TCP.
    #[arg(long = "dns-port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub dns_ports: Vec<u16>,
    /// Ready when this URL on loopback answers 2xx; `none`: when something listens on a capture port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:15000/ready")]
    pub ready_url: ReadyWhen,
    /// The longest hold, from the first held connection (1s to 10m).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = hold_time)]
    pub timeout: Duration,
    /// What happens to held connections at the timeout.
    #[arg(long, value_enum, default_value_t = AtTimeout::Release)]
    pub on_timeout: AtTimeout,
    /// What a closed gate does with captured connections.
    #[arg(long, value_enum, default_value_t = RunMode::Hold)]
    pub mode: RunMode,
    /// Never hold this user's connections (a proxy inside CMD); repeatable.
    #[arg(long = "exempt-uid", value_name = "UID", value_parser = clap::value_parser!(u32).range(..i64::from(NO_UID)))]
    pub exempt_uids: Vec<u32>,
    /// What every verb understands.
    #[command(flatten)]
    pub common: Common,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// When the proxy counts as ready.
#[derive(Clone, Debug)]
pub enum ReadyWhen {
    /// This URL answers 2xx.
    Url(ReadyUrl),
    /// Somebody listens on a capture port.
    Listening,
}

impl FromStr for ReadyWhen {
    type Err = ReadyUrlError;

    fn from_str(text: &str) -> Result<Self, ReadyUrlError> {
        if text == "none" { Ok(Self::Listening) } else { text.parse().map(Self::Url) }
    }
}

/// `--on-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AtTimeout {
    /// They proceed, as without a gate.
    Release,
    /// They end with an error.
    Reset,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunMode {
    /// Nothing captured leaves before the proxy is ready.
    Hold,
    /// An attempt passes as soon as something listens.
    Retry,
    /// Nothing is held; what would have been held is counted.
    Observe,
}

impl Options {
    /// The gate that these options ask for.
    ///
    /// # Errors
    /// When there are more ports or uids than a gate can have.
    pub fn spec(&self) -> Result<GateSpec, TooMany> {
        let ready_url = match &self.ready_url {
            ReadyWhen::Url(url) => Some(url.clone()),
            ReadyWhen::Listening => None,
        };
        Ok(GateSpec {
            policy: Policy {
                mode: match self.mode {
                    RunMode::Hold => Mode::Hold,
                    RunMode::Retry => Mode::Retry,
                    RunMode::Observe => Mode::Observe,
                },
                timeout: self.timeout,
                on_timeout: match self.on_timeout {
                    AtTimeout::Release => OnTimeout::Release,
                    AtTimeout::Reset => OnTimeout::Reset,
                },
                readiness: if ready_url.is_some() { Readiness::Probe } else { Readiness::Listener },
                regate: None,
            },
            capture_ports: CapturePorts(slots("--capture-port", &self.capture_ports, 0)?),
            datagram_ports: CapturePorts(slots("--dns-port", &self.dns_ports, 0)?),
            dns_truncate: true,
            exempt_uids: slots("--exempt-uid", &self.exempt_uids, NO_UID)?,
            default_class: ContainerClass::Gated,
            ready_url,
        })
    }
}
