//! The other end: a server in a namespace of its own that tells each connection the address it was reached at.
//!
//! Knows nothing of who connects. One line, the local address, proves that a proxy in between knew the original
//! destination; then everything is echoed. Where HTTP is asked for, the line is the body of the answer to any request.
//! Holds as many connections as the process has file descriptors.

use std::{
    convert::Infallible,
    net::{Ipv6Addr, SocketAddr},
};

use anyhow::{Context, Result};
use hyper::{Response, header::CONNECTION, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use super::{namespace::Namespace, server::Server};

/// Connections that wait to be accepted, per port.
const BACKLOG: i32 = 65_535;

/// File descriptors for 10,000 held connections with both of their ends, and as much again.
const FILES: u64 = 65_536;

/// The addresses at which the server is reached, any of [`PORTS`].
pub const ADDRESSES: [&str; 4] = ["198.51.100.10", "203.0.113.10", "2001:db8:2::10", "2001:db8:3::10"];

/// The ports of [`PORTS`] that speak HTTP in [`Upstream::with_web`].
pub const WEB_PORTS: [u16; 2] = [80, 12345];

/// The ports at which the server listens.
pub const PORTS: [u16; 4] = [80, 5432, 9000, 12345];

/// The server and its namespace; ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    namespace: Namespace,
    _server: Server,
}

impl Upstream {
    /// Makes the namespace and starts the server, which greets and echoes at every port.
    pub fn start() -> Result<Self> {
        Self::start_with(false)
    }

    /// As [`Upstream::start`], but [`WEB_PORTS`] answer a request by HTTP, with 200, and close.
    pub fn with_web() -> Result<Self> {
        Self::start_with(true)
    }

    fn start_with(web: bool) -> Result<Self> {
        raise_file_limit()?;
        let namespace = Namespace::new()?;
        for address in ADDRESSES {
            // nodad: an address that is still tentative cannot be reached.
            let (length, flags) = if address.contains(':') { (128, "nodad") } else { (32, "") };
            namespace.ip(&format!("addr add {address}/{length} dev lo {flags}"))?;
        }
        namespace.set_sysctl("core/somaxconn", &BACKLOG.to_string())?;
        let listeners = namespace.enter(|| PORTS.map(listen)).into_iter().collect::<Result<Vec<_>>>()?;
        let server = Server::start("upstream", async move || {
            for (port, listener) in PORTS.into_iter().zip(listeners) {
                tokio::spawn(accept(TcpListener::from_std(listener)?, web && WEB_PORTS.contains(&port)));
            }
            Ok(())
        })?;
        Ok(Self { namespace, _server: server })
    }

    /// Where the server runs.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// A dual-stack listener in the current namespace.
fn listen(port: u16) -> Result<std::net::TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.listen(BACKLOG)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    listen().with_context(|| format!("cannot listen on port {port}"))
}

async fn accept(listener: TcpListener, web: bool) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) if web => drop(tokio::spawn(answer(connection))),
            Ok((connection, _)) => drop(tokio::spawn(greet(connection))),
            // Out of file descriptors, or a connection that is gone again: the next one may be better.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn answer(connection: TcpStream) -> Result<()> {
    let greeting = greeting(&connection)?;
    let respond = service_fn(|_| {
        let answer = Response::builder().header(CONNECTION, "close").body(greeting.clone());
        async { Ok::<_, Infallible>(answer.expect("one constant header is valid")) }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(connection), respond).await?)
}

/// The address that the connection was made to, and the end of the line.
fn greeting(connection: &TcpStream) -> std::io::Result<String> {
    let mut local = connection.local_addr()?;
    local.set_ip(local.ip().to_canonical());
    Ok(format!("{local}\n"))
}

async fn greet(mut connection: TcpStream) -> std::io::Result<()> {
    let greeting = greeting(&connection)?;
    connection.write_all(greeting.as_bytes()).await?;
    let (mut from, mut to) = connection.split();
    copy(&mut from, &mut to).await?;
    Ok(())
}

/// Lets this process, and what it starts, have [`FILES`] open files; without CAP_SYS_RESOURCE as many as the hard limit
/// allows.
pub fn raise_file_limit() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= FILES || setrlimit(Resource::RLIMIT_NOFILE, FILES, hard.max(FILES)).is_ok() {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard).context("cannot raise the limit of open files")
}
