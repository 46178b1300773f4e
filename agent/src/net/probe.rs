//! Asks a proxy once whether it is ready, from inside its network namespace.
//!
//! Knows nothing of when to ask again. Whoever answers may be hostile: only a status of success counts (2xx: Dapr says 204),
//! redirects are answers like any other, and the whole exchange is bounded in time (by who asks) and memory ([`MAX_HEAD`],
//! [`MAX_BODY`]).

use std::{convert::Infallible, error::Error, fmt, future::pending, io, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, HOST},
};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};

use crate::{
    errors::error_chain,
    net::netns::{Netns, NetnsError, NetnsWorker},
    url::ReadyUrl,
};

/// Bytes of an answer's status line and headers.
pub const MAX_HEAD: usize = 8 * 1024;

/// Bytes of an answer's body.
pub const MAX_BODY: usize = 4 * 1024;

/// Bytes of [`Answer::NotReady`]'s word.
pub const MAX_WORD: usize = 64;

/// What a probe found.
#[derive(Debug)]
pub enum Answer {
    /// A status of success.
    Ready,
    /// Another status.
    NotReady {
        /// Which.
        status: u16,
        /// The first line of the body (Envoy's `INITIALIZING`): printable ASCII, may be empty.
        word: String,
    },
    /// No answer.
    Failed(ProbeError),
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No socket in the namespace.
    #[error("cannot probe from inside the network namespace")]
    Netns(#[from] NetnsError),
    /// The connection was refused: nobody listens there.
    #[error("nothing listens")]
    Refused,
    /// The connection failed otherwise.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// What came back is not HTTP, is too large, or ended early.
    #[error("not a usable HTTP answer")]
    Http(#[from] hyper::Error),
    /// The body is too large or ended early.
    #[error("not a usable HTTP body")]
    Body(#[source] Box<dyn Error + Send + Sync>),
    /// The deadline has passed.
    #[error("no complete answer within {0:?}")]
    Deadline(Duration),
}

impl Answer {
    /// The word for machines, one of [`crate::metrics::recorded::PROBE_RESULTS`].
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady { .. } => "not-ready",
            Self::Failed(ProbeError::Refused) => "refused",
            Self::Failed(ProbeError::Netns(_) | ProbeError::Connect(_)) => "unreachable",
            Self::Failed(ProbeError::Http(_) | ProbeError::Body(_)) => "invalid",
            Self::Failed(ProbeError::Deadline(_)) => "timeout",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("2xx"),
            Self::NotReady { status, word } => f.write_str(format!("{status} {word}").trim_end()),
            Self::Failed(error) => f.write_str(&error_chain(error)),
        }
    }
}

/// Asks `url` in `netns`, for at most `deadline`.
pub async fn probe(worker: &NetnsWorker, netns: &Netns, url: &ReadyUrl, deadline: Duration) -> Answer {
    ask(connect(worker, netns, url), url, deadline).await
}

async fn ask(
    connecting: impl Future<Output = Result<TcpStream, ProbeError>>,
    url: &ReadyUrl,
    deadline: Duration,
) -> Answer {
    match tokio::time::timeout(deadline, async { exchange(connecting.await?, url).await }).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Failed(error),
        Err(_) => Answer::Failed(ProbeError::Deadline(deadline)),
    }
}

/// The first of the URL's addresses that takes a connection.
async fn connect(worker: &NetnsWorker, netns: &Netns, url: &ReadyUrl) -> Result<TcpStream, ProbeError> {
    let mut failed = ProbeError::Refused;
    for address in url.addresses() {
        let kind = Type::STREAM.nonblocking();
        let made = worker.socket_async(netns, Domain::for_address(address), kind, Some(Protocol::TCP)).await;
        let connected = match made {
            Ok(socket) => TcpSocket::from_std_stream(socket.into()).connect(address).await,
            Err(error) => {
                failed = error.into();
                continue;
            }
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => failed = ProbeError::Refused,
            Err(error) => failed = ProbeError::Connect(error),
        }
    }
    Err(failed)
}

/// Asks `url` over an established connection, without a deadline; what is read is bounded.
///
/// # Errors
/// When what comes back is no HTTP, too large, or ends early.
///
/// # Panics
/// Never: a parsed URL makes a request.
pub async fn exchange<S>(stream: S, url: &ReadyUrl) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(url.path().clone())
        .header(HOST, url.authority())
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("a parsed URL makes a request");
    let (mut sender, connection) = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    // The connection is driven here, not by a task of its own: both end with this future.
    let drive = async {
        let _ = connection.await;
        pending::<Infallible>().await
    };
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(Answer::Ready);
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(ProbeError::Body)?.to_bytes();
        Ok(Answer::NotReady { status: status.as_u16(), word: word(&body) })
    };
    tokio::select! {
        answer = answer => answer,
        never = drive => match never {},
    }
}

/// The first line of `body` for people to read: from a server that may be hostile to their terminal.
fn word(body: &[u8]) -> String {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let line = &line[..line.len().min(MAX_WORD)];
    line.iter().map(|&byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' }).collect()
}

#[cfg(test)]
mod tests;
