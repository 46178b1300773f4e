//! What each mesh does to a pod: the proxy's containers and user, where connections are redirected, where to ask for ready.
//!
//! Knows nothing of annotations, which override it. Every number is the mesh's default; a mesh installed with others needs
//! `conngate.io/capture-ports` and `conngate.io/ready-url`.

use std::fmt;

/// A mesh, by its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Istio's sidecar.
    ///
    /// Ports and uid: "Application Requirements", istio.io/latest/docs/ops/deployment/application-requirements. Ready is
    /// asked on 15021 and not on Envoy's admin port: it is 200 only when pilot-agent saw CDS, LDS and live workers *and* its
    /// DNS table is loaded (pilot/cmd/pilot-agent/status/ready/probe.go, pkg/istio-agent/agent.go `Check`), whereas admin
    /// /ready says nothing of DNS, which is captured by the same gate and answers SERVFAIL until then.
    Istio,
    /// Linkerd's proxy, which is not Envoy.
    ///
    /// charts/linkerd-control-plane/values.yaml (`proxy.ports`, `proxy.uid`) and pkg/k8s/labels.go
    /// (`ProxyContainerName`) of github.com/linkerd/linkerd2. It captures no DNS.
    Linkerd,
    /// Consul's dataplane: one container, or one per service of a multi-port pod.
    ///
    /// control-plane/connect-inject/webhook of github.com/hashicorp/consul-k8s: consul_dataplane_sidecar.go (names, DNS on
    /// 8600, admin on 19000 + index), container_init.go (uid), redirect_traffic.go (`DefaultTProxyOutboundPort`).
    Consul,
    /// Kuma's sidecar.
    ///
    /// pkg/config/plugins/runtime/k8s/config.go (`DefaultKubernetesRuntimeConfig`) and pkg/plugins/runtime/k8s/util (name) of
    /// github.com/kumahq/kuma; its rules redirect UDP alone to the DNS port. 9901 is Envoy's admin port on loopback
    /// ("Data plane proxy", kuma.io/docs/latest/production/dp-config/dpp). kuma-dp's own 9902 is ready too early: before 3.0
    /// it answers as soon as kuma-dp runs (UPGRADE.md, "Kubernetes probes on the sidecar always use the readiness port").
    Kuma,
    /// An Envoy by hand, in a container called `envoy`: the usual outbound port, and the admin port of "Envoy admin
    /// interface", envoyproxy.io/docs/envoy/latest/start/quick-start/admin. No uid is customary.
    Envoy,
}

/// A mesh's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The proxy's container; a proxy of several containers appends `-` and more.
    pub container: &'static str,
    /// The uid that the mesh's rules exempt.
    pub uid: Option<u32>,
    /// Where TCP is redirected.
    pub tcp_ports: &'static [u16],
    /// Where UDP is redirected: DNS.
    pub udp_ports: &'static [u16],
    /// Answers 200 when the proxy is usable.
    pub ready_url: &'static str,
}

impl Proxy {
    /// Every mesh.
    pub const ALL: [Self; 5] = [Self::Istio, Self::Linkerd, Self::Consul, Self::Kuma, Self::Envoy];

    /// Its name as the annotation spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
            Self::Consul => "consul",
            Self::Kuma => "kuma",
            Self::Envoy => "envoy",
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
                ready_url: "http://127.0.0.1:15021/healthz/ready",
            },
            Self::Linkerd => Preset {
                container: "linkerd-proxy",
                uid: Some(2102),
                tcp_ports: &[4140],
                udp_ports: &[],
                ready_url: "http://localhost:4191/ready",
            },
            Self::Consul => Preset {
                container: "consul-dataplane",
                uid: Some(5995),
                tcp_ports: &[15001, 8600],
                udp_ports: &[8600],
                ready_url: "http://127.0.0.1:19000/ready",
            },
            Self::Kuma => Preset {
                container: "kuma-sidecar",
                uid: Some(5678),
                tcp_ports: &[15001],
                udp_ports: &[15053],
                ready_url: "http://localhost:9901/ready",
            },
            Self::Envoy => Preset {
                container: "envoy",
                uid: None,
                tcp_ports: &[15001],
                udp_ports: &[],
                ready_url: "http://localhost:9901/ready",
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
    use crate::url::ReadyUrl;

    #[test]
    fn presets_are_values_that_the_annotations_could_have() {
        for proxy in Proxy::ALL {
            let preset = proxy.preset();
            assert!(preset.ready_url.parse::<ReadyUrl>().is_ok(), "{proxy}");
            assert!(!preset.tcp_ports.is_empty(), "{proxy}");
            assert!(proxy.runs_in(preset.container), "{proxy}");
        }
    }

    #[test]
    fn runs_in_names_that_only_begin_alike_are_not_the_proxy() {
        assert!(Proxy::Consul.runs_in("consul-dataplane-web-admin"));
        assert!(!Proxy::Consul.runs_in("consul-dataplanes"));
        assert!(!Proxy::Istio.runs_in("istio-proxy-debug"));
        assert!(!Proxy::Envoy.runs_in("app"));
    }
}
