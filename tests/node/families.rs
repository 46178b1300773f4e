//! IPv6 for single pods of a cluster whose network has IPv4 alone: an address beside the one that they have, and a way out.
//!
//! Knows nothing of meshes. Kubernetes does not know of that address: no service has it, and no probe goes there.

use anyhow::Result;
use conngate_testbed::{
    cluster::{Cluster, pod::Container},
    lab::tool,
};
use serde_json::json;

/// As [`crate::application::WEB`], by IPv6.
pub(crate) const WEB_V6: &str = "[2001:db8:2::10]:80";

/// Leads IPv6 from pods to the world outside and back. Twice does no harm.
pub(crate) fn route(cluster: &Cluster) -> Result<()> {
    let mut node = cluster.exec_in_node("sh")?;
    node.args([
        "-ec",
        "ip addr replace fd00:244::1/64 dev cni0 nodad; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
    ]);
    tool::feed(node, "")?;
    let mut outside = cluster.command_outside("ip")?;
    outside.args(["route", "replace", "fd00:244::/64", "via", "2001:db8:1::2"]);
    tool::feed(outside, "").map(drop)
}

/// An init container that gives its pod an address of IPv6, with the last number of its other one.
pub(crate) fn address() -> Container {
    let script = "set -e; own=$(ip -4 -o addr show dev eth0); own=${own#* inet *.*.*.}; \
        ip addr add \"fd00:244::${own%%/*}/64\" dev eth0 nodad; ip -6 route add default via fd00:244::1";
    Container::script("ipv6", script).field("securityContext", json!({ "capabilities": { "add": ["NET_ADMIN"] } }))
}
