//! What a bug report says of the machine: what its kernel is and was told, and who is attached at our hooks.
//!
//! Knows nothing of the agent. What cannot be read is null.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::Place;
use crate::{
    bpf::{
        pins,
        query::{Hook, effective, names, neighbours},
    },
    proc::{hierarchy::Hierarchy, kubepods::Kubepods},
};

/// Settings that a held connection, its replay or the programs depend on.
const SYSCTLS: [&str; 15] = [
    "kernel.unprivileged_bpf_disabled",
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.optmem_max",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv6.conf.all.disable_ipv6",
    "user.max_net_namespaces",
];

/// The machine.
#[derive(Serialize)]
pub(super) struct Machine {
    kernel: Option<String>,
    system: Option<String>,
    lockdown: Option<String>,
    security: Option<String>,
    cgroups: Vec<String>,
    capabilities: Vec<String>,
    sysctls: BTreeMap<&'static str, Option<String>>,
}

impl Machine {
    /// As it is now.
    pub(super) fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let of_cgroups = |line: &&str| [" - cgroup", " - bpf "].iter().any(|kind| line.contains(kind));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            kernel: read("/proc/version"),
            system: read("/etc/os-release"),
            lockdown: read("/sys/kernel/security/lockdown"),
            security: read("/sys/kernel/security/lsm"),
            cgroups: mounts.lines().filter(of_cgroups).map(str::to_owned).collect(),
            capabilities: status.lines().filter(|line| line.starts_with("Cap")).map(str::to_owned).collect(),
            sysctls: SYSCTLS.map(|name| (name, read(format!("/proc/sys/{}", name.replace('.', "/"))))).into(),
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

/// Who is attached.
#[derive(Serialize)]
pub(super) struct Attachments {
    /// The cgroup that is gated: the kubepods root, or this process's own.
    cgroup: PathBuf,
    hooks: Vec<AtHook>,
}

#[derive(Serialize)]
struct AtHook {
    hook: &'static str,
    /// Those that run for the cgroup, in their order; null: the kernel does not say.
    effective: Option<Vec<Attached>>,
    /// Where they hang.
    attached: Vec<AtCgroup>,
}

#[derive(Serialize)]
struct AtCgroup {
    cgroup: PathBuf,
    sharing: String,
    programs: Vec<Attached>,
}

#[derive(Serialize)]
struct Attached {
    id: u32,
    name: Option<String>,
    /// Whether a conngate has pinned it.
    ours: bool,
}

/// Who is attached at our hooks of the cgroup that is gated, and above it.
pub(super) fn attachments(place: &Place) -> anyhow::Result<Attachments> {
    let hierarchy = Hierarchy::find()?;
    let cgroup = match Kubepods::find(place.cgroup_root.as_deref())? {
        Some(kubepods) => kubepods.path,
        None => hierarchy.own()?,
    };
    let (names, ours) = (names(), pins::programs(&place.bpffs));
    let known = |ids: Vec<u32>| -> Vec<_> {
        let known = |id| Attached { id, name: names.get(&id).cloned(), ours: ours.contains(&id) };
        ids.into_iter().map(known).collect()
    };
    let mut hooks = Vec::new();
    for hook in Hook::ALL {
        let attached = neighbours(&cgroup, &hierarchy.mount, hook)?;
        hooks.push(AtHook {
            hook: hook.name(),
            effective: effective(&cgroup, hook).ok().map(known),
            attached: attached
                .into_iter()
                .map(|at| AtCgroup {
                    cgroup: at.cgroup,
                    sharing: format!("{:?}", at.sharing).to_lowercase(),
                    programs: known(at.programs),
                })
                .collect(),
        });
    }
    Ok(Attachments { cgroup, hooks })
}
