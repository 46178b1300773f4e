//! One connection from its call to its report.
//!
//! Knows nothing of the way in which it was made.

use std::{
    io::{self, BufRead, BufReader},
    time::{Duration, Instant},
};

use conngate_testbed::{
    clock::mono_ns,
    report::{CONNECTED, Connection, GAVE_UP, TcpInfo},
};
use nix::errno::Errno;
use socket2::Socket;

use crate::{options::Connect, socket};

/// What is sent early, and has to come back.
pub(crate) const EARLY_DATA: &[u8] = b"early\n";

/// How long the upstream may take to greet the connections that were made.
pub(crate) const GREETING: Duration = Duration::from_secs(10);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum End {
    Connected(Socket, Option<TcpInfo>),
    Failed(io::Error),
    GaveUp,
}

/// An attempt that has ended. Times are CLOCK_MONOTONIC nanoseconds.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) end: End,
}

impl Attempt {
    /// An attempt that ends now. `result` is that of the call, or of the socket's error.
    pub(crate) fn ends(started: u64, socket: Socket, result: io::Result<()>) -> Self {
        let ended = mono_ns();
        let end = match result {
            Ok(()) => {
                let info = socket::tcp_info(&socket);
                End::Connected(socket, info)
            }
            Err(error) => End::Failed(error),
        };
        Self { started, ended, end }
    }

    /// Reads the greeting, which has to come before `deadline`; the report, and the socket that is still open.
    #[expect(clippy::cast_precision_loss, reason = "a duration in nanoseconds is below 2^53 for a hundred days")]
    pub(crate) fn finish(self, options: &Connect, deadline: Instant) -> (Connection, Option<Socket>) {
        let mut connection = Connection {
            outcome: String::new(),
            seconds: (self.ended - self.started) as f64 / 1e9,
            started_mono_ns: self.started,
            ended_mono_ns: self.ended,
            greeting: None,
            echo: None,
            tcp_info: None,
            syncnt: None,
        };
        let open = match self.end {
            End::Connected(socket, info) => {
                connection.outcome = CONNECTED.into();
                connection.tcp_info = info;
                connection.syncnt = socket::syncnt(&socket);
                if !options.no_greeting {
                    let mut lines = lines(&socket, deadline);
                    connection.greeting = lines.next();
                    if options.sends_early() {
                        connection.echo = lines.next();
                    }
                }
                Some(socket)
            }
            End::Failed(error) => {
                connection.outcome = name(&error);
                None
            }
            End::GaveUp => {
                connection.outcome = GAVE_UP.into();
                None
            }
        };
        (connection, open)
    }
}

/// The lines that come; ends with the first that does not come in time.
fn lines(socket: &Socket, deadline: Instant) -> impl Iterator<Item = String> + '_ {
    // Not zero, which would be no limit; the kernel rounds up to its timer.
    let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let ready = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(patience)));
    let lines = ready.is_ok().then(|| BufReader::new(socket).lines().map_while(Result::ok));
    lines.into_iter().flatten()
}

/// The errno's name. A blocking connect that runs into SO_SNDTIMEO is EINPROGRESS.
fn name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("{:?}", Errno::from_raw(number)))
}
