//! The other end: a server in a namespace of its own that tells each connection the address it was reached at.
//!
//! Knows nothing of who connects. One line, the local address, proves that a proxy in between knew the original
//! destination; then everything is echoed. Holds as many connections as the process has file descriptors.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
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

/// The ports at which the server listens.
pub const PORTS: [u16; 3] = [80, 5432, 9000];

/// The server and its namespace; ends when dropped.
#[derive(Debug)]
pub struct Upstream {
    namespace: Namespace,
    _server: Server,
}

impl Upstream {
    /// Makes the namespace and starts the server.
    pub fn start() -> Result<Self> {
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
            for listener in listeners {
                tokio::spawn(accept(TcpListener::from_std(listener)?));
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

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => drop(tokio::spawn(serve(connection))),
            // Out of file descriptors, or a connection that is gone again: the next one may be better.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve(mut connection: TcpStream) -> std::io::Result<()> {
    let mut local = connection.local_addr()?;
    local.set_ip(local.ip().to_canonical());
    connection.write_all(format!("{local}\n").as_bytes()).await?;
    let (mut from, mut to) = connection.split();
    copy(&mut from, &mut to).await?;
    Ok(())
}

/// Lets this process, and what it starts, have [`FILES`] open files; without CAP_SYS_RESOURCE as many as the hard limit
/// allows.
fn raise_file_limit() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= FILES || setrlimit(Resource::RLIMIT_NOFILE, FILES, hard.max(FILES)).is_ok() {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(FILES), hard).context("cannot raise the limit of open files")
}
