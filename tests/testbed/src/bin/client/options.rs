//! The command line.
//!
//! Knows nothing of sockets.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Connects in the ways that applications do; prints JSON")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Connect, read the greeting, report
    Connect(Connect),
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// ADDRESS:PORT to connect to; several share the connections of --count in turn
    #[arg(required = true)]
    pub(crate) destinations: Vec<SocketAddr>,
    /// Connect without blocking and wait with epoll
    #[arg(long)]
    pub(crate) nonblocking: bool,
    /// SO_SNDTIMEO, which bounds a blocking connect, in milliseconds
    #[arg(long, value_name = "MS", value_parser = millis, conflicts_with_all = ["nonblocking", "count", "give_up", "io_uring"])]
    pub(crate) send_timeout: Option<Duration>,
    /// Reach an IPv4 destination through an AF_INET6 socket
    #[arg(long)]
    pub(crate) v6_socket: bool,
    /// Connect by sendto(MSG_FASTOPEN) with data
    #[arg(long, conflicts_with_all = ["nonblocking", "count", "give_up", "io_uring", "fastopen_connect"])]
    pub(crate) fastopen: bool,
    /// Set TCP_FASTOPEN_CONNECT, connect, write data
    #[arg(long, conflicts_with_all = ["nonblocking", "count", "give_up", "io_uring"])]
    pub(crate) fastopen_connect: bool,
    /// Use an IPPROTO_MPTCP socket
    #[arg(long)]
    pub(crate) mptcp: bool,
    /// Connect by IORING_OP_CONNECT
    #[arg(long, conflicts_with_all = ["nonblocking", "count", "give_up"])]
    pub(crate) io_uring: bool,
    /// TCP_SYNCNT
    #[arg(long, value_name = "N")]
    pub(crate) syncnt: Option<u8>,
    /// TCP_USER_TIMEOUT in milliseconds
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) user_timeout: Option<Duration>,
    /// So many connections at once, non-blocking; prints one summary line
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) count: usize,
    /// With --count: each begins so many milliseconds after the one before
    #[arg(long, value_name = "MS", value_parser = millis, default_value = "0")]
    pub(crate) apart: Duration,
    /// With --count: also one line per connection, before the summary
    #[arg(long)]
    pub(crate) each: bool,
    /// With --count: over so many threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub(crate) threads: usize,
    /// Close the sockets that are still connecting after so many milliseconds
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) give_up: Option<Duration>,
    /// Do not wait for the upstream's greeting: the proxy has no upstream
    #[arg(long)]
    pub(crate) no_greeting: bool,
    /// Connect only when a line comes on stdin
    #[arg(long)]
    pub(crate) on_word: bool,
    /// Keep the connections open until stdin ends
    #[arg(long)]
    pub(crate) stay: bool,
}

impl Connect {
    /// Whether one connection is asked for, and so its own line.
    pub(crate) fn is_one(&self) -> bool {
        self.count == 1
    }

    pub(crate) fn is_nonblocking(&self) -> bool {
        self.nonblocking || !self.is_one() || self.give_up.is_some()
    }

    /// Whether data goes with the SYN, or as soon as possible after it.
    pub(crate) fn sends_early(&self) -> bool {
        self.fastopen || self.fastopen_connect
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "not a number of milliseconds".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "not a number above 0".to_owned())
}
