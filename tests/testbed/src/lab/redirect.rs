//! The nat rules that istio-init installs for outbound traffic.
//!
//! Knows nothing of the inbound side, which no test here needs: the chains exist, nothing jumps to them. The order of
//! the rules is that of Istio's own generator (tools/istio-iptables/pkg/capture/run.go and its golden files).

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{namespace::Namespace, tool};

/// Where outbound connections go: Envoy's virtualOutbound listener.
pub const CAPTURE_PORT: u16 = 15001;
/// The user and group of the proxy, whose own connections are not captured.
pub const PROXY_ID: u32 = 1337;

/// Debian's names of the two implementations, then the plain one.
const IMPLEMENTATIONS: [&str; 3] = ["-nft", "-legacy", ""];

/// What is captured: everything but these.
#[derive(Clone, Debug, Default)]
pub struct Redirect {
    /// Destination ports that are not captured (annotation excludeOutboundPorts).
    pub excluded_ports: Vec<u16>,
    /// Destinations that are not captured (annotation excludeOutboundIPRanges), IPv4 and IPv6.
    pub excluded_cidrs: Vec<String>,
}

impl Redirect {
    /// Installs the rules for IPv4 and IPv6 with whatever iptables the machine has.
    pub fn install(&self, namespace: &Namespace) -> Result<()> {
        let v4 = self.rules(&V4);
        let v6 = self.rules(&V6);
        let restore = |family: &str, implementation: &str, options: &[&str], rules: &str| {
            let mut restore: Command = namespace.command(format!("{family}{implementation}-restore"));
            // The lock is the machine's: who else changes rules is waited for.
            restore.args(["--noflush", "--wait"]).args(options);
            tool::feed(restore, rules)
        };
        let mut refusals = Vec::new();
        for implementation in IMPLEMENTATIONS {
            let tried = restore("iptables", implementation, &["--test"], &v4)
                .and_then(|_| restore("ip6tables", implementation, &["--test"], &v6));
            match tried {
                Ok(_) => {
                    restore("iptables", implementation, &[], &v4).context("cannot install the IPv4 rules")?;
                    restore("ip6tables", implementation, &[], &v6).context("cannot install the IPv6 rules")?;
                    return Ok(());
                }
                Err(error) => refusals.push(format!("{error:#}")),
            }
        }
        bail!("no iptables on this machine takes the mesh's rules (Debian package iptables):\n{}", refusals.join("\n"))
    }

    fn rules(&self, family: &Family) -> String {
        let Family { loopback, inbound, is_v6 } = family;
        let mut rules = format!(
            "*nat\n-N ISTIO_INBOUND\n-N ISTIO_REDIRECT\n-N ISTIO_IN_REDIRECT\n-N ISTIO_OUTPUT\n\
             -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
             -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {CAPTURE_PORT}\n\
             -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
             -A OUTPUT -j ISTIO_OUTPUT\n"
        );
        if !self.excluded_ports.is_empty() {
            let ports = self.excluded_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
            rules += &format!("-A ISTIO_OUTPUT -p tcp -m multiport --dports {ports} -j RETURN\n");
            rules += &format!("-A ISTIO_OUTPUT -p udp -m multiport --dports {ports} -j RETURN\n");
        }
        rules += &format!("-A ISTIO_OUTPUT -o lo -s {inbound} -j RETURN\n");
        for owner in ["uid-owner", "gid-owner"] {
            rules += &format!(
                "-A ISTIO_OUTPUT -o lo ! -d {loopback} -p tcp ! --dport 15008 -m owner --{owner} {PROXY_ID} -j ISTIO_IN_REDIRECT\n\
                 -A ISTIO_OUTPUT -o lo -m owner ! --{owner} {PROXY_ID} -j RETURN\n\
                 -A ISTIO_OUTPUT -m owner --{owner} {PROXY_ID} -j RETURN\n"
            );
        }
        rules += &format!("-A ISTIO_OUTPUT -d {loopback} -j RETURN\n");
        for cidr in self.excluded_cidrs.iter().filter(|cidr| cidr.contains(':') == *is_v6) {
            rules += &format!("-A ISTIO_OUTPUT -d {cidr} -j RETURN\n");
        }
        rules + "-A ISTIO_OUTPUT -j ISTIO_REDIRECT\nCOMMIT\n"
    }
}

/// Where the application's queries go.
pub const DNS_PORT: u16 = 15053;

/// The nameservers whose queries are captured, IPv4 and IPv6: nothing is there.
pub const NAMESERVERS: [&str; 2] = ["10.96.0.10", "2001:db8:53::10"];

/// Installs what Istio does for DNS (`HandleDNSUDP` in tools/istio-iptables/pkg/capture/run.go): the application's queries and the
/// proxy's own are tracked apart.
pub(super) fn install_dns(namespace: &Namespace) -> Result<()> {
    for (tables, nameserver) in ["iptables", "ip6tables"].into_iter().zip(NAMESERVERS) {
        let rules = format!(
            "*nat\n\
             -I OUTPUT -p tcp --dport 53 -d {nameserver} -m owner ! --uid-owner {PROXY_ID} -j REDIRECT --to-ports {DNS_PORT}\n\
             -A OUTPUT -p udp --dport 53 -m owner --uid-owner {PROXY_ID} -j RETURN\n\
             -A OUTPUT -p udp --dport 53 -m owner --gid-owner {PROXY_ID} -j RETURN\n\
             -A OUTPUT -p udp --dport 53 -d {nameserver} -j REDIRECT --to-ports {DNS_PORT}\n\
             COMMIT\n\
             *raw\n\
             -A OUTPUT -p udp --dport 53 -m owner --uid-owner {PROXY_ID} -j CT --zone 1\n\
             -A OUTPUT -p udp --sport {DNS_PORT} -m owner --uid-owner {PROXY_ID} -j CT --zone 2\n\
             -A OUTPUT -p udp --dport 53 -m owner --gid-owner {PROXY_ID} -j CT --zone 1\n\
             -A OUTPUT -p udp --sport {DNS_PORT} -m owner --gid-owner {PROXY_ID} -j CT --zone 2\n\
             -A OUTPUT -p udp --dport 53 -d {nameserver} -j CT --zone 2\n\
             -A PREROUTING -p udp --sport 53 -s {nameserver} -j CT --zone 1\n\
             COMMIT\n"
        );
        namespace.restore(tables, &rules)?;
    }
    Ok(())
}

/// What differs between the two address families.
struct Family {
    loopback: &'static str,
    /// The source address of connections that Envoy makes to the application.
    inbound: &'static str,
    is_v6: bool,
}

const V4: Family = Family { loopback: "127.0.0.1/32", inbound: "127.0.0.6/32", is_v6: false };
const V6: Family = Family { loopback: "::1/128", inbound: "::6/128", is_v6: true };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_exclusions_come_before_the_redirect_each_in_its_family() {
        let redirect = Redirect {
            excluded_ports: vec![22, 443],
            excluded_cidrs: vec!["203.0.113.0/24".into(), "2001:db8:3::/48".into()],
        };
        let v4 = redirect.rules(&V4);
        let v6 = redirect.rules(&V6);
        let at = |rules: &str, rule: &str| rules.lines().position(|line| line == rule).expect(rule);
        let everything = "-A ISTIO_OUTPUT -j ISTIO_REDIRECT";
        assert!(
            at(&v4, "-A ISTIO_OUTPUT -p tcp -m multiport --dports 22,443 -j RETURN")
                < at(&v4, "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN")
        );
        assert!(at(&v4, "-A ISTIO_OUTPUT -d 203.0.113.0/24 -j RETURN") < at(&v4, everything));
        assert!(at(&v6, "-A ISTIO_OUTPUT -d 2001:db8:3::/48 -j RETURN") < at(&v6, everything));
        assert!(!v4.contains("2001:db8") && !v6.contains("203.0.113"));
    }
}
