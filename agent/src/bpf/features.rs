//! What the running kernel gives beyond the floor (5.10): asked before anything is loaded, and what is different without it.
//!
//! Knows nothing of programs.

use std::path::Path;

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use nix::{
    libc::RLIM_INFINITY,
    sys::{
        resource::{Resource, getrlimit},
        utsname::uname,
    },
};

use super::{btf, btf::Btf};
use crate::{clock, net::sock_diag};

/// Something that is not to be had here, and what is different without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What, in a word or two.
    pub what: &'static str,
    /// Why not.
    pub why: String,
    /// What that means.
    pub means: &'static str,
}

/// Where the SYN budget of a socket, and of its namespace, are in the kernel's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynBudget {
    /// Offset of `icsk_syn_retries` in `struct inet_connection_sock`.
    pub retries: u32,
    /// Offset of the namespace in `struct sock`; 0: unknown.
    pub netns: u32,
    /// Offset and size of `net.ipv4.tcp_syn_retries` in `struct net`; 0: unknown.
    pub sysctl: [u32; 2],
}

/// What was found out before the programs are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// sock_ops programs may ask for the netns cookie (5.15): listeners are told apart by namespace.
    pub netns_cookie: bool,
    /// setsockopt programs may ask for the caller's cgroups (6.1): what is never held keeps `IP_RECVERR`.
    pub setsockopt_ancestors: bool,
    /// Or why `TCP_SYNCNT` is left alone.
    pub syn_budget: Result<SynBudget, String>,
    /// Connections can be ended from outside (CONFIG_INET_DIAG_DESTROY).
    pub destroy: bool,
    /// Jiffies per second.
    pub hz: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (6.5), 0 before.
    pub syn_linear_timeouts: u32,
}

impl Features {
    /// Asks the running kernel.
    #[must_use]
    pub fn probe() -> Self {
        let linear = Path::new("/proc/sys/net/ipv4/tcp_syn_linear_timeouts");
        Self {
            netns_cookie: helps(ProgramType::SockOps, BpfHelper::BPF_FUNC_get_netns_cookie),
            setsockopt_ancestors: helps(ProgramType::CgroupSockopt, BpfHelper::BPF_FUNC_get_current_ancestor_cgroup_id),
            syn_budget: syn_budget(),
            destroy: sock_diag::can_destroy(),
            hz: clock::hz(),
            syn_linear_timeouts: std::fs::read_to_string(linear)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
        }
    }

    /// What is not to be had, each once.
    #[must_use]
    pub fn lacks(&self) -> Vec<Lack> {
        let listeners = (!self.netns_cookie).then(|| Lack {
            what: "listeners",
            why: "no netns cookie in sock_ops (kernel before 5.15)".to_owned(),
            means: "a listener wakes every gate, which costs a probe each",
        });
        let budget = self.syn_budget.as_ref().err().map(|why| Lack {
            what: "syn budget",
            why: why.clone(),
            means: "TCP_SYNCNT is left alone: held connections keep the kernel's own patience and back-off, up to 2 minutes \
                    between attempts without an agent",
        });
        let reset = (!self.destroy).then(|| Lack {
            what: "reset",
            why: "no SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)".to_owned(),
            means: "--on-timeout reset releases instead",
        });
        [listeners, budget, reset].into_iter().flatten().collect()
    }
}

/// Whether programs of this type may call `helper`; in doubt not.
fn helps(program: ProgramType, helper: BpfHelper) -> bool {
    is_helper_supported(program, helper).unwrap_or(false)
}

fn syn_budget() -> Result<SynBudget, String> {
    let bytes = std::fs::read(btf::VMLINUX).map_err(|error| format!("no BTF at {}: {error}", btf::VMLINUX))?;
    let btf = Btf::parse(&bytes).ok_or_else(|| format!("{} is not BTF", btf::VMLINUX))?;
    let offset = |name, member| btf.member(name, member).map(|member| member.offset);
    let retries = offset("inet_connection_sock", "icsk_syn_retries")
        .ok_or("the kernel's BTF has no inet_connection_sock.icsk_syn_retries")?;
    if !helps(ProgramType::SockOps, BpfHelper::BPF_FUNC_probe_read_kernel) {
        return Err("no bpf_probe_read_kernel (kernel lockdown in mode confidentiality)".to_owned());
    }
    // `struct sock` begins with its `struct sock_common`.
    let netns = offset("sock_common", "skc_net").unwrap_or(0);
    let sysctl = || {
        let sysctl =
            btf.member("netns_ipv4", "sysctl_tcp_syn_retries").filter(|member| [1, 4].contains(&member.size))?;
        Some([offset("net", "ipv4")?.checked_add(sysctl.offset)?, sysctl.size])
    };
    Ok(SynBudget { retries, netns, sysctl: sysctl().unwrap_or_default() })
}

/// The running kernel's version: major and minor number; 0 where it does not say.
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The limit on locked memory in bytes, where this kernel counts maps and programs against it (before 5.11) and there is one.
#[must_use]
pub fn locked_memory_limit() -> Option<u64> {
    if kernel_version() >= (5, 11) {
        return None;
    }
    getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}
