//! Why a pod has no gate: it asks for none, or it asks for one that it cannot have.
//!
//! Knows nothing of how that is found out. One closed set of words: `explain`, the metric's label and the Event's reason.

use std::fmt;

/// Why a pod asks for no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAsked {
    /// Its annotation says off.
    Off,
    /// It says nothing, and its namespace says off.
    NamespaceOff,
    /// It says nothing, and the default that it is in says off.
    SelectionOff,
    /// Nobody says anything.
    Default,
    /// It says nothing, and the node's defaults are for other pods.
    NamespaceNotSelected,
    /// It does not say all, and what its namespace says is not known yet.
    NamespaceUnknown,
}

/// Why a pod that asks for a gate has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoGate {
    /// None of its containers is a known proxy.
    NoProxy,
    /// Two of them are, of two meshes.
    SeveralProxies,
    /// It is in Istio's ambient mode: the node's ztunnel takes its connections, and holds them itself.
    Ambient,
    /// Its runtime has a kernel or a network stack of its own.
    SandboxedRuntime,
    /// It uses the node's network namespace.
    HostNetwork,
    /// Its annotations have values that are not allowed.
    InvalidAnnotation,
}

/// Who asks for the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AskedBy {
    /// The pod itself.
    Annotation,
    /// A default: its namespace's, or the node's.
    Default,
}

impl NotAsked {
    /// The word for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::NamespaceOff => "namespace-off",
            Self::SelectionOff => "selection-off",
            Self::Default => "default-off",
            Self::NamespaceNotSelected => "namespace-not-selected",
            Self::NamespaceUnknown => "namespace-unknown",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Off => "conngate.io/mode is off",
            Self::NamespaceOff => "conngate.io/mode of its namespace is off",
            Self::SelectionOff => {
                "neither it nor its namespace has the annotation conngate.io/mode, and the node's default for it is off"
            }
            Self::Default => {
                "neither it nor its namespace has the annotation conngate.io/mode, and the node has no default"
            }
            Self::NamespaceNotSelected => {
                "neither it nor its namespace has the annotation conngate.io/mode, and the node's defaults are for other pods"
            }
            Self::NamespaceUnknown => "its namespace is not known yet",
        }
    }
}

impl NoGate {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoProxy,
        Self::SeveralProxies,
        Self::Ambient,
        Self::SandboxedRuntime,
        Self::HostNetwork,
        Self::InvalidAnnotation,
    ];

    /// The word for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoProxy => "no-proxy",
            Self::SeveralProxies => "several-proxies",
            Self::Ambient => "ambient",
            Self::SandboxedRuntime => "sandboxed-runtime",
            Self::HostNetwork => "host-network",
            Self::InvalidAnnotation => "invalid-annotation",
        }
    }

    /// The same word as the reason of an Event.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::NoProxy => "NoProxy",
            Self::SeveralProxies => "SeveralProxies",
            Self::Ambient => "Ambient",
            Self::SandboxedRuntime => "SandboxedRuntime",
            Self::HostNetwork => "HostNetwork",
            Self::InvalidAnnotation => "InvalidAnnotation",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::NoProxy => {
                "none of its containers is a known proxy (istio-proxy, linkerd-proxy, consul-dataplane, kuma-sidecar, daprd); \
                 for another one set conngate.io/proxy"
            }
            Self::SeveralProxies => "it has proxies of several meshes; choose one with conngate.io/proxy",
            Self::Ambient => {
                "it is in Istio's ambient mode: the node's ztunnel, which listens before the pod starts, handles its connections"
            }
            Self::SandboxedRuntime => {
                "its runtime class is a sandbox (gVisor, Kata) with a network stack of its own: its connections do not reach \
                 this node's kernel as such"
            }
            Self::HostNetwork => "it uses the node's network namespace, where no mesh captures",
            Self::InvalidAnnotation => "its annotations have values that are not allowed",
        }
    }
}

impl AskedBy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Annotation, Self::Default];

    /// The word for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for NoGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
