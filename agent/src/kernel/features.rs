//! What the running kernel can do beyond the floor (5.10): each feature degrades with a named reason.
//!
//! Knows nothing of why a feature is wanted.

use std::{io, path::Path};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{btf, clock};

/// What was found out before the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// sock_ops programs may ask for the netns cookie (5.15): listeners are told apart by namespace.
    pub netns_cookie: bool,
    /// Offset of `icsk_syn_retries`; 0: `TCP_SYNCNT` is left alone, and holds follow the kernel's own back-off.
    pub syn_retries_offset: u32,
    /// Jiffies per second.
    pub hz: u32,
    /// `net.ipv4.tcp_syn_linear_timeouts` (6.5), 0 before.
    pub syn_linear_timeouts: u32,
}

impl Features {
    /// Asks the running kernel.
    ///
    /// # Errors
    /// When the kernel has no readable BTF.
    pub fn probe() -> io::Result<Self> {
        let btf = std::fs::read(btf::VMLINUX)?;
        let linear = Path::new("/proc/sys/net/ipv4/tcp_syn_linear_timeouts");
        Ok(Self {
            netns_cookie: is_helper_supported(ProgramType::SockOps, BpfHelper::BPF_FUNC_get_netns_cookie)
                .unwrap_or(false),
            syn_retries_offset: btf::member_offset(&btf, "inet_connection_sock", "icsk_syn_retries").unwrap_or(0),
            hz: clock::hz(),
            syn_linear_timeouts: std::fs::read_to_string(linear)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
        })
    }
}
