//! The attacks of a pod upon whatever it shares with others, and how its pod must be for each.
//!
//! Knows nothing of whom they hit. All are an ordinary user's, without any right that a pod does not have.

use serde::Serialize;

/// One attack; `hostile.py` is what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// 1,000 SYNs to be replayed into a loopback that lets out a kilobyte a second.
    Tbf,
    /// … that keeps every packet for minutes.
    Netem,
    /// 2,000 SYNs to be replayed through 20,000 rules of nf_tables.
    Nft,
    /// … of ip_tables.
    Iptables,
    /// 1,000 processes and 1,000 connections of a container whose main thread has ended.
    MainThread,
    /// 1,000 processes and 4,000 connections of a container that is not held.
    Exempt,
    /// 8,000 connections of a container that cannot be told apart: it has two termination logs.
    Untold,
    /// 400 network namespaces with a held connection each.
    Namespaces,
    /// listen() and close() without end, with `regate`.
    Flood,
}

impl Attack {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Tbf,
        Self::Netem,
        Self::Nft,
        Self::Iptables,
        Self::MainThread,
        Self::Exempt,
        Self::Untold,
        Self::Namespaces,
        Self::Flood,
    ];

    /// For people, and for `hostile.py`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tbf => "tbf",
            Self::Netem => "netem",
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::MainThread => "main-thread",
            Self::Exempt => "exempt",
            Self::Untold => "untold",
            Self::Namespaces => "namespaces",
            Self::Flood => "flood",
        }
    }

    /// The pod's annotations.
    pub(super) fn annotations(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Tbf | Self::Netem | Self::Nft | Self::Iptables => &[("timeout", "5s")],
            Self::Flood => &[
                ("regate", "10m"),
                ("ready-url", "http://127.0.0.1:15020/"),
                ("capture-ports", "15001,15053,4140,8600"),
            ],
            Self::MainThread | Self::Exempt | Self::Untold | Self::Namespaces => &[],
        }
    }

    /// The containers whose termination logs the hostile one has.
    pub(super) fn containers(self) -> &'static [&'static str] {
        match self {
            Self::Exempt => &["istio-proxy"],
            Self::Untold => &["app", "istio-proxy"],
            Self::Tbf
            | Self::Netem
            | Self::Nft
            | Self::Iptables
            | Self::MainThread
            | Self::Namespaces
            | Self::Flood => &["app"],
        }
    }
}
