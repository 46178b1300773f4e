//! `conngate boot`: holds what starts on this node before the agent does.
//!
//! Knows nothing of how: it turns options into what the daemon's room does, and tells systemd.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use sd_notify::NotifyState;

use super::Programs;
use crate::{
    daemon::boot::{Boot, Booted, boot},
    exit::Exit,
    values::hold_time,
};

/// Options of `conngate boot`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "It ends once the kubelet has made its cgroups and the programs are pinned there; at once where an agent has been \
    since the machine's start. Under systemd (Type=notify) the kubelet may start as soon as the programs are loaded.\n\
    Exit status: 0 then; 125 when the kernel refuses or nothing can be pinned; 2 for a wrong command line."
)]
pub struct Options {
    /// The longest that connections of pods that no agent has told of are held, from then on (1s to 10m).
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = hold_time)]
    pub grace: Duration,
    /// The kubelet's kubepods cgroup or a directory above it; found when absent.
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where programs and maps are pinned: as the agent is told.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf")]
    pub bpffs: PathBuf,
    /// The programs.
    #[command(flatten)]
    pub programs: Programs,
}

/// Holds until there is an agent.
///
/// # Errors
/// See [`boot`].
pub fn hold(options: Options) -> anyhow::Result<Exit> {
    let Options { grace, cgroup_root, bpffs, programs } = options;
    let what = Boot { grace, cgroup_root, bpffs, log_level: programs.bpf_log, object: programs.bpf_object };
    let loaded = || {
        tracing::info!("programs are loaded: waiting for the kubelet");
        // Nobody listens where systemd has not started it.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    };
    match boot(&what, loaded)? {
        Booted::Holds(cgroup) => {
            tracing::info!(cgroup = %cgroup.display(), ?grace, "what starts is held until there is an agent")
        }
        Booted::Unneeded => tracing::info!("an agent is here, or has been since the machine's start"),
    }
    Ok(Exit::Success)
}
