//! One request to an admin endpoint inside a namespace.
//!
//! Knows nothing of what is asked. The connection is made inside and used outside: a socket stays where it was made.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{runtime, time::timeout};

use super::{namespace::Namespace, wait::patience};

/// A main thread that is busy with a configuration answers late, not never; a browser that starts later still.
const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body of `METHOD http://127.0.0.1:port/path`, asked inside `namespace`.
pub fn ask(namespace: &Namespace, port: u16, method: &str, path: &str) -> Result<(u16, String)> {
    exchange(namespace.enter(|| connect((Ipv4Addr::LOCALHOST, port).into()))?, method, path, String::new())
}

/// Status and body of `GET http://address/path`, asked where we are.
pub fn fetch(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    exchange(connect(address)?, "GET", path, String::new())
}

/// Status and body of `METHOD http://address/path` with a body, asked where we are.
pub fn send(address: SocketAddr, method: &str, path: &str, body: String) -> Result<(u16, String)> {
    exchange(connect(address)?, method, path, body)
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, patience(PATIENCE))?;
    connection.set_nonblocking(true)?;
    Ok(connection)
}

fn exchange(connection: TcpStream, method: &str, path: &str, body: String) -> Result<(u16, String)> {
    let host = connection.peer_addr()?.to_string();
    let request = Request::builder().method(method).uri(path).header("host", host).body(Full::<Bytes>::from(body))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let exchange = async {
        let stream = TokioIo::new(tokio::net::TcpStream::from_std(connection)?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    runtime
        .block_on(async { timeout(patience(PATIENCE), exchange).await })
        .with_context(|| format!("{path} is not answered"))?
}
