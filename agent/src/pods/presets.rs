//! What each mesh does to a pod: the proxy's containers and user, where connections are redirected, where to ask for ready.
//!
//! Knows nothing of pods: what one says of its own sidecar (`sidecar`) comes before the numbers here, which are each mesh's
//! defaults, and annotations of ours come before both. docs/meshes.md says which versions they were read in.

use std::fmt;

/// A proxy, by its mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Istio's sidecar, as 1.27 to 1.32-dev inject it.
    ///
    /// Ports, uid and probe: manifests/charts/istio-control/istio-discovery/files/injection-template.yaml. Ready is asked on
    /// 15021 and not on Envoy's admin port: it is 200 only when pilot-agent saw CDS, LDS and live workers *and* its DNS table
    /// is loaded (pilot/cmd/pilot-agent/status/ready/probe.go, pkg/istio-agent/agent.go `Check`), whereas admin /ready says
    /// nothing of DNS, which is captured by the same gate and answers SERVFAIL until then. That listener is on the wildcard of
    /// the pod's first family alone (tools/packaging/common/envoy_bootstrap.json): hence `localhost`, which is both loopbacks.
    Istio,
    /// Linkerd's proxy, which is not Envoy, as releases up to edge-26.8.3 inject it.
    ///
    /// charts/linkerd-control-plane/values.yaml (`proxy.ports`, `proxy.uid`), charts/partials/templates/_proxy.tpl (probe) and
    /// pkg/k8s/labels.go (`ProxyContainerName`) of github.com/linkerd/linkerd2. It captures no DNS.
    Linkerd,
    /// Consul's dataplane, as consul-k8s 1.8.16 to 2.0.3 inject it: one container, or one per service of a multi-port pod.
    ///
    /// control-plane/connect-inject/webhook of github.com/hashicorp/consul-k8s: consul_dataplane_sidecar.go (names, DNS on
    /// 8600, admin on 19000 + index), container_init.go (uid), redirect_traffic.go (`DefaultTProxyOutboundPort`). Its own
    /// probe is no help: a TCP socket, or port 21000 on the pod's address alone (`DP_ENVOY_READY_BIND_ADDRESS`). In IPv6
    /// clusters admin and DNS are on `::1` (constants.go `Getv4orv6Str`, 1.9).
    Consul,
    /// Kuma's and Kong Mesh's sidecar, as 2.11 to 3.0 inject it.
    ///
    /// pkg/config/plugins/runtime/k8s/config.go (`DefaultKubernetesRuntimeConfig`), pkg/plugins/runtime/k8s/util (name) and
    /// containers/factory.go (probes) of github.com/kumahq/kuma; its rules redirect UDP alone to the DNS port. Its own probes
    /// say where to ask: up to 2.13 Envoy's admin port, 9901; since 2.14 kuma-dp's 9902, which then waits for Envoy and for
    /// the DNS proxy, while the admin port is a unix socket (UPGRADE.md, "2.14.x"). Before 2.14 9902 would say ready as soon
    /// as kuma-dp runs: it is the default here only for a pod of which nothing else is known.
    Kuma,
    /// Dapr's sidecar (1.17), which redirects nothing: applications connect to it on loopback.
    ///
    /// pkg/injector/patcher/sidecar.go (ports) and sidecar_container.go (name, arguments) of github.com/dapr/dapr. Ready is
    /// `/v1.0/healthz/outbound`, which answers 204 (docs.dapr.io/reference/api/health_api). Its own probe, `/v1.0/healthz`,
    /// also waits for the application's port: whoever waits for that in connect() waits for itself.
    Dapr,
    /// An Envoy by hand, in a container called `envoy`; only where the pod says so, for such a container may be anything.
    ///
    /// The usual outbound port, and the admin port of "Envoy admin interface",
    /// envoyproxy.io/docs/envoy/latest/start/quick-start/admin. No uid is customary.
    Envoy,
}

/// A mesh's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The proxy's container; a proxy of several containers appends `-` and more.
    pub container: &'static str,
    /// The uid that the mesh's rules exempt.
    pub uid: Option<u32>,
    /// Where TCP is redirected; of a proxy that redirects nothing, where it is called on loopback. The first of them is where
    /// most connections go.
    pub tcp_ports: &'static [u16],
    /// Where UDP is redirected: DNS.
    pub udp_ports: &'static [u16],
    /// The port and the path, on loopback, that answer 2xx when the proxy is usable.
    pub ready: (u16, &'static str),
    /// Whether the probe of the proxy's own container says the same, so that it comes before `ready`.
    pub probe_says_ready: bool,
}

impl Proxy {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Istio, Self::Linkerd, Self::Consul, Self::Kuma, Self::Dapr, Self::Envoy];

    /// Its name as the annotation spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
            Self::Consul => "consul",
            Self::Kuma => "kuma",
            Self::Dapr => "dapr",
            Self::Envoy => "envoy",
        }
    }

    /// Whether it gets connections that were meant for somebody else, by rules in the pod's network namespace.
    #[must_use]
    pub const fn redirects(self) -> bool {
        match self {
            Self::Istio | Self::Linkerd | Self::Consul | Self::Kuma | Self::Envoy => true,
            Self::Dapr => false,
        }
    }

    /// Whether a container of its name is enough to know it.
    #[must_use]
    pub const fn is_known_by_name(self) -> bool {
        match self {
            Self::Istio | Self::Linkerd | Self::Consul | Self::Kuma | Self::Dapr => true,
            Self::Envoy => false,
        }
    }

    /// Its defaults.
    #[must_use]
    pub const fn preset(self) -> Preset {
        match self {
            Self::Istio => Preset {
                container: "istio-proxy",
                uid: Some(1337),
                tcp_ports: &[15001, 15053],
                udp_ports: &[15053],
                ready: (15021, "/healthz/ready"),
                probe_says_ready: true,
            },
            Self::Linkerd => Preset {
                container: "linkerd-proxy",
                uid: Some(2102),
                tcp_ports: &[4140],
                udp_ports: &[],
                ready: (4191, "/ready"),
                probe_says_ready: true,
            },
            Self::Consul => Preset {
                container: "consul-dataplane",
                uid: Some(5995),
                tcp_ports: &[15001, 8600],
                udp_ports: &[8600],
                ready: (19000, "/ready"),
                probe_says_ready: false,
            },
            Self::Kuma => Preset {
                container: "kuma-sidecar",
                uid: Some(5678),
                tcp_ports: &[15001],
                udp_ports: &[15053],
                ready: (9902, "/ready"),
                probe_says_ready: true,
            },
            Self::Dapr => Preset {
                container: "daprd",
                uid: None,
                tcp_ports: &[3500, 50001],
                udp_ports: &[],
                ready: (3500, "/v1.0/healthz/outbound"),
                probe_says_ready: false,
            },
            Self::Envoy => Preset {
                container: "envoy",
                uid: None,
                tcp_ports: &[15001],
                udp_ports: &[],
                ready: (9901, "/ready"),
                probe_says_ready: true,
            },
        }
    }

    /// Whether a container of this name is the proxy's.
    #[must_use]
    pub fn runs_in(self, container: &str) -> bool {
        let rest = container.strip_prefix(self.preset().container);
        rest.is_some_and(|rest| rest.is_empty() || (self == Self::Consul && rest.starts_with('-')))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_in_names_that_only_begin_alike_are_not_the_proxy() {
        assert!(Proxy::Consul.runs_in("consul-dataplane-web-admin"));
        assert!(!Proxy::Consul.runs_in("consul-dataplanes"));
        assert!(!Proxy::Istio.runs_in("istio-proxy-debug"));
        assert!(!Proxy::Envoy.runs_in("app"));
        assert!(!Proxy::Dapr.runs_in("daprd-2"));
    }
}
