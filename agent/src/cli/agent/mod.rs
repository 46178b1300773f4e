//! `conngate agent`: gates the pods of this node that ask for it.
//!
//! Knows nothing of how: it turns options into the node agent's configuration.

mod sources;

use std::{
    net::{AddrParseError, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use conngate_common::gate::Mode;

use self::sources::SourceOptions;
use super::{Programs, log::LogFormat};
use crate::{
    bpf::pins,
    daemon,
    daemon::Config,
    exit::Exit,
    pods::defaults::{DefaultMode, Defaults, NamespaceSelector, Selection},
    serve::{metrics::PodSeries, socket},
    shortage,
};

/// Options of `conngate agent`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Signals: SIGTERM and SIGINT end the agent; programs, maps and gates stay for the next one.\n\
    Exit status: 0 after a signal or --uninstall; 125 when the agent cannot run at all; 2 for a wrong command line.")]
pub struct Options {
    /// This node's name in the Kubernetes API.
    #[arg(long, value_name = "NAME", env = "NODE_NAME", hide_env_values = true)]
    pub node_name: Option<String>,
    /// Where pods come from.
    #[command(flatten)]
    pub sources: SourceOptions,
    /// The mode of pods without conngate.io/mode.
    #[arg(long, value_enum, default_value_t = DefaultMode::Off)]
    pub default_mode: DefaultMode,
    /// Apply --default-mode only in namespaces that match this Kubernetes label selector; default: all.
    #[arg(long, value_name = "SELECTOR")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// Use the conngate.io annotations of a namespace as its pods' defaults.
    #[arg(long)]
    pub namespace_annotations: bool,
    /// Defaults for selected pods: a JSON object with mode and, optionally, namespaceSelector, podSelector, timeout, onTimeout, proxy and
    /// name; repeatable. The first that matches a pod applies; all of them come before --default-mode.
    #[arg(long = "default", value_name = "JSON")]
    pub defaults: Vec<Selection>,
    /// The kubelet's kubepods cgroup or a directory above it; default: detected.
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// The bpf file system in which programs and maps are pinned.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// Once ready, take the taint with this key off this node, and look for it each minute; it is never added.
    #[arg(long, value_name = "KEY", requires = "node_name")]
    pub startup_taint: Option<String>,
    /// Remove programs, maps and gates when the agent ends.
    #[arg(long)]
    pub detach_on_exit: bool,
    /// Remove every trace of conngate from this node, then exit; refused while an agent runs.
    #[arg(long)]
    pub uninstall: bool,
    /// The address of /healthz, /readyz and /metrics; [::] is every address, of IPv4 alone on a node without IPv6.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9477", value_parser = listen)]
    pub listen: SocketAddr,
    /// The socket for conngate status, explain and the other commands; only the agent's own user may use it.
    #[arg(long, value_name = "PATH", env = "CONNGATE_SOCKET", hide_env_values = true, default_value = socket::DEFAULT)]
    pub socket: PathBuf,
    /// Whether /metrics has separate series for each pod with a gate.
    #[arg(long, value_enum, default_value_t = PodMetrics::On)]
    pub pod_metrics: PodMetrics,
    /// The number of pods with separate series, at most.
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub pod_metrics_limit: usize,
    /// Size of the ring buffer from the kernel (a power of two); 4 MiB hold some 15,000 records.
    #[arg(long, value_name = "BYTES", value_parser = ring_buffer)]
    pub ring_buffer: Option<u32>,
    /// Readiness probes per second, for all pods together.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub probe_budget: NonZeroU32,
    /// Log format.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The programs.
    #[command(flatten)]
    pub programs: Programs,
}

/// A switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PodMetrics {
    /// Yes.
    On,
    /// No.
    Off,
}

/// An address in brackets may be of either family: who writes `[$(HOST_IP)]:9477` does not know which.
fn listen(text: &str) -> Result<SocketAddr, AddrParseError> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once("]:"));
    let v4 = bracketed.and_then(|(ip, port)| format!("{}:{port}", ip.parse::<Ipv4Addr>().ok()?).parse().ok());
    v4.map_or_else(|| text.parse(), Ok)
}

/// What the kernel takes as the size of a ring buffer (`ringbuf_map_alloc` in kernel/bpf/ringbuf.c).
fn ring_buffer(text: &str) -> Result<u32, String> {
    let allowed = "allowed: a power of two from 65536 to 1073741824";
    let bytes: u32 = text.parse().map_err(|error| format!("{error}; {allowed}"))?;
    if bytes.is_power_of_two() && (1 << 16..=1 << 30).contains(&bytes) { Ok(bytes) } else { Err(allowed.to_owned()) }
}

/// Runs the agent, or removes its traces.
#[must_use]
pub fn agent(options: Options) -> Exit {
    let done = if options.uninstall { uninstall(&options) } else { run(options) };
    match done {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("conngate: {error:#}");
            Exit::Failed
        }
    }
}

fn uninstall(options: &Options) -> anyhow::Result<()> {
    let there = pins::remove_all(&options.bpffs)?;
    println!("{}", if there { "removed: programs, maps and gates" } else { "nothing to remove" });
    Ok(())
}

fn run(options: Options) -> anyhow::Result<()> {
    shortage::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let last = Option::<Mode>::from(options.default_mode);
        let last = last.map(|mode| Selection::of_mode(mode, options.namespace_selector));
        let defaults = Defaults {
            namespace_annotations: options.namespace_annotations,
            selections: options.defaults.into_iter().chain(last).collect(),
        };
        let config = Config {
            sources: options
                .sources
                .config(options.node_name, defaults.needs_namespaces(), options.startup_taint.is_some())
                .await?,
            defaults,
            cgroup_root: options.cgroup_root,
            bpffs: options.bpffs,
            detach_on_exit: options.detach_on_exit,
            listen: options.listen,
            socket: options.socket,
            series: match options.pod_metrics {
                PodMetrics::On => PodSeries::Limit(options.pod_metrics_limit),
                PodMetrics::Off => PodSeries::Off,
            },
            startup_taint: options.startup_taint,
            ring_buffer: options.ring_buffer,
            probe_budget: options.probe_budget,
            bpf_log: options.programs.bpf_log,
            bpf_object: options.programs.bpf_object,
        };
        daemon::run(config).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_brackets_may_hold_either_family() {
        for (text, address) in [
            ("192.0.2.1:9477", "192.0.2.1:9477"),
            ("[192.0.2.1]:9477", "192.0.2.1:9477"),
            ("[2001:db8::1]:9477", "[2001:db8::1]:9477"),
            ("[::]:9477", "[::]:9477"),
        ] {
            assert_eq!(listen(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["[]:9477", "[192.0.2.1]", "[192.0.2.1]:", "2001:db8::1:9477", "localhost:9477", ""] {
            assert!(listen(text).is_err(), "{text}");
        }
    }
}
