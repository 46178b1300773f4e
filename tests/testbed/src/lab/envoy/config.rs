//! What Envoy is told: its bootstrap, and the listener that the control plane gives it.
//!
//! Knows nothing of processes. The names follow Istio's: virtualOutbound, PassthroughCluster, admin on 15000.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::lab::redirect::CAPTURE_PORT;

/// Envoy's admin interface, loopback only.
pub const ADMIN_PORT: u16 = 15000;

/// The bootstrap: no listener of its own, they come from the control plane at `control_plane`, however late.
pub(super) fn bootstrap(control_plane: SocketAddr) -> Value {
    json!({
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": address("127.0.0.1", ADMIN_PORT)},
        "dynamic_resources": {"lds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0s",
            "api_config_source": {
                "api_type": "REST",
                "transport_api_version": "V3",
                "cluster_names": ["xds"],
                // One question, answered late: never asked again.
                "request_timeout": "86400s",
                "refresh_delay": "86400s",
            },
        }},
        "static_resources": {"clusters": [
            {
                "name": "xds",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [{"endpoint": {
                    "address": address(&control_plane.ip().to_string(), control_plane.port()),
                }}]}]},
            },
            {
                "name": "PassthroughCluster",
                "type": "ORIGINAL_DST",
                "lb_policy": "CLUSTER_PROVIDED",
                "connect_timeout": "10s",
                // Without limits, as Istio's: the default of 1,024 would be a fault of the laboratory.
                "circuit_breakers": {"thresholds": [{
                    "max_connections": u32::MAX,
                    "max_pending_requests": u32::MAX,
                    "max_requests": u32::MAX,
                    "max_retries": u32::MAX,
                }]},
            },
        ]},
    })
}

/// The listener that the mesh redirects to: IPv4 and IPv6, on to the original destination.
#[must_use]
pub fn virtual_outbound() -> Value {
    listener(json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "PassthroughCluster",
            "cluster": "PassthroughCluster",
        },
    }))
}

/// As [`virtual_outbound`], but Envoy echoes instead of going on: one descriptor per connection, and nobody greets.
#[must_use]
pub fn echo_outbound() -> Value {
    listener(json!({
        "name": "envoy.filters.network.echo",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"},
    }))
}

fn listener(filter: Value) -> Value {
    json!({
        "name": "virtualOutbound",
        "address": address("0.0.0.0", CAPTURE_PORT),
        "additional_addresses": [{"address": address("::", CAPTURE_PORT)}],
        "listener_filters": [{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"},
        }],
        "filter_chains": [{"filters": [filter]}],
    })
}

/// A DNS server that knows `name`, which is at the IPv4 address `ip`, and that there is no other.
#[must_use]
pub fn dns(port: u16, name: &str, ip: &str) -> Value {
    json!({
        "name": "dns",
        "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": port}},
        "listener_filters": [{
            "name": "envoy.filters.udp.dns_filter",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.udp.dns_filter.v3.DnsFilterConfig",
                "stat_prefix": "dns",
                "server_config": {"inline_dns_table": {"virtual_domains": [
                    {"name": name, "endpoint": {"address_list": {"address": [ip]}}},
                ]}},
            },
        }],
    })
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}
