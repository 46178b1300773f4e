//! `conngate agent`: gates the pods of this node that ask for it.
//!
//! Knows nothing of how: it turns options into the node agent's configuration.

mod sources;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::Args;

use self::sources::SourceOptions;
use super::{Programs, log::LogFormat};
use crate::{
    exit::Exit,
    kernel::pins,
    node::{self, Config},
    pods::defaults::{DefaultMode, Defaults, NamespaceSelector},
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
    /// The namespaces in which --default-mode holds, as a Kubernetes label selector; all when absent.
    #[arg(long, value_name = "SELECTOR")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// The kubelet's kubepods cgroup or a directory above it; found when absent.
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where programs and maps are pinned.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// Remove programs, maps and gates when the agent ends.
    #[arg(long)]
    pub detach_on_exit: bool,
    /// Remove every trace of conngate from this node, and end.
    #[arg(long)]
    pub uninstall: bool,
    /// Where /healthz and /readyz are served.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9477")]
    pub listen: SocketAddr,
    /// Readiness probes per second, of all pods together.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub probe_budget: NonZeroU32,
    /// How the log looks.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The programs.
    #[command(flatten)]
    pub programs: Programs,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let defaults = Defaults { mode: options.default_mode.into(), namespaces: options.namespace_selector };
        let config = Config {
            sources: options.sources.config(options.node_name, defaults.needs_namespace_labels()).await?,
            defaults,
            cgroup_root: options.cgroup_root,
            bpffs: options.bpffs,
            detach_on_exit: options.detach_on_exit,
            listen: options.listen,
            probe_budget: options.probe_budget,
            bpf_log: options.programs.bpf_log,
            bpf_object: options.programs.bpf_object,
        };
        node::run(config).await
    })
}
