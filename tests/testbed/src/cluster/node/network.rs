//! The node's network: one interface, whose other end is a namespace that plays the rest of the world.
//!
//! Knows nothing of pods and services. Addresses are of the documentation ranges (RFC 5737, RFC 3849).

use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::{Namespace, Upstream, tool};

/// The node's address.
pub const NODE_V4: &str = "192.0.2.2";

/// The node's default gateway, and behind it the laboratory's upstream. Ends with this process.
#[derive(Debug)]
pub(super) struct Outside(Upstream);

impl Outside {
    /// Connects the namespace that this thread is in.
    pub(super) fn start() -> Result<Self> {
        let upstream = Upstream::with_web()?;
        let outside = upstream.namespace();
        ip(&format!("link set lo up\nlink add eth0 type veth peer name eth0 netns {}", outside.path().display()))
            .context("cannot connect the node")?;
        // nodad: an address that is still tentative cannot be reached.
        outside.ip("addr add 192.0.2.1/24 dev eth0\n\
                    addr add 2001:db8:1::1/64 dev eth0 nodad\n\
                    link set eth0 up")?;
        ip(&format!(
            "addr add {NODE_V4}/24 dev eth0\n\
             addr add 2001:db8:1::2/64 dev eth0 nodad\n\
             link set eth0 up\n\
             route add default via 192.0.2.1\n\
             route add ::/0 via 2001:db8:1::1"
        ))?;
        Ok(Self(upstream))
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> &Namespace {
        self.0.namespace()
    }
}

fn ip(lines: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]);
    tool::feed(ip, lines).map(drop)
}
