//! What the client program prints: one JSON line per connection, or one for many.
//!
//! Knows nothing of how a connection was made. Times are CLOCK_MONOTONIC nanoseconds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The outcome of a connection that was made.
pub const CONNECTED: &str = "connected";
/// The outcome of a connection that the client closed while it was being made.
pub const GAVE_UP: &str = "gave-up";

/// One connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// [`CONNECTED`], [`GAVE_UP`], or the name of the errno, such as `ECONNREFUSED`.
    pub outcome: String,
    /// From the call to its end.
    pub seconds: f64,
    /// When connect() was called.
    pub started_mono_ns: u64,
    /// When the connection was made or refused.
    pub ended_mono_ns: u64,
    /// The first line that the upstream wrote: the address it was reached at.
    pub greeting: Option<String>,
    /// The line that came back for the data sent with the SYN (`--fastopen`, `--fastopen-connect`).
    pub echo: Option<String>,
    /// The kernel's view of the connection the moment it was made; none where the kernel does not say (MPTCP before 5.16).
    pub tcp_info: Option<TcpInfo>,
    /// TCP_SYNCNT of the socket once it is connected: what the application set, or the namespace's default.
    pub syncnt: Option<u32>,
}

/// The part of the kernel's `struct tcp_info` that a hold could spoil.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpInfo {
    /// Congestion window, segments.
    pub snd_cwnd: u32,
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u32,
    /// Retransmission timeout, microseconds.
    pub rto_us: u32,
    /// Segments sent again, the SYN included.
    pub total_retrans: u32,
}

/// Many connections made at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many ended in each outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// How many were greeted by the upstream.
    pub greeted: usize,
    /// When the first connect() was called.
    pub first_started_mono_ns: u64,
    /// When the first connection ended.
    pub first_ended_mono_ns: u64,
    /// When the last connection ended.
    pub last_ended_mono_ns: u64,
}

impl Summary {
    /// The summary of `connections`; all zero for none.
    #[must_use]
    pub fn of(connections: &[Connection]) -> Self {
        let mut outcomes = BTreeMap::new();
        for connection in connections {
            *outcomes.entry(connection.outcome.clone()).or_default() += 1;
        }
        Self {
            outcomes,
            greeted: connections.iter().filter(|c| c.greeting.is_some()).count(),
            first_started_mono_ns: connections.iter().map(|c| c.started_mono_ns).min().unwrap_or(0),
            first_ended_mono_ns: connections.iter().map(|c| c.ended_mono_ns).min().unwrap_or(0),
            last_ended_mono_ns: connections.iter().map(|c| c.ended_mono_ns).max().unwrap_or(0),
        }
    }

    /// How many connections were made.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.outcomes.get(CONNECTED).copied().unwrap_or(0)
    }
}
