//! What the laboratory needs of the machine, and what of it is missing.
//!
//! Knows nothing of what a single test needs beyond that.

use std::{fs, path::Path};

use super::tool;

/// Bits of CapEff (include/uapi/linux/capability.h) and what they are needed for.
const CAPABILITIES: [(u32, &str); 4] = [
    (6, "CAP_SETGID (to run the proxy as gid 1337)"),
    (7, "CAP_SETUID (to run the proxy as uid 1337)"),
    (12, "CAP_NET_ADMIN (to connect network namespaces and to redirect)"),
    (21, "CAP_SYS_ADMIN (to make network namespaces, cgroups and to load programs)"),
];

/// Programs, each with the Debian package that brings it.
const TOOLS: [(&str, &str); 2] = [("ip", "iproute2"), ("iptables-restore", "iptables")];

/// What is missing, for people; empty when everything is there.
#[must_use]
pub fn missing() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = effective_capabilities(&status);
    let capabilities = CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0);
    let tools = TOOLS.iter().filter(|(tool, _)| !tool::exists(Path::new(tool)));
    capabilities
        .map(|(_, need)| (*need).to_owned())
        .chain(tools.map(|(tool, package)| format!("{tool} (Debian package {package})")))
        .collect()
}

fn effective_capabilities(status: &str) -> u64 {
    let field = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    field.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_status_of_a_user_is_none() {
        assert_eq!(effective_capabilities("CapPrm:\t00000000ffffffff\nCapEff:\t0000000000000000\n"), 0);
        assert_eq!(effective_capabilities("CapEff:\t0000000001203000\n"), 0x120_3000);
    }
}
