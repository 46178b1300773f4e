//! Asks the agent of this machine over its socket.
//!
//! Knows nothing of what is asked. An agent that cannot be reached is an error that says how to reach one.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::HOST,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
};

use super::Output;
use crate::serve::socket;

/// What every verb that asks the agent understands.
#[derive(Args, Clone, Debug)]
pub struct Client {
    /// The agent's socket.
    #[arg(long, value_name = "PATH", env = "CONNGATE_SOCKET", hide_env_values = true, default_value = socket::DEFAULT)]
    pub socket: PathBuf,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The agent has answered with an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Client {
    /// Runs `work` to its end on an event loop of its own.
    ///
    /// # Errors
    /// Those of `work`, or that there is no event loop.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
        runtime.block_on(work)
    }

    /// The answer to `METHOD path`.
    ///
    /// # Errors
    /// When there is none, it is an error ([`Refused`]), or not of the shape.
    pub async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> anyhow::Result<T> {
        let answer = self.request(method, path).await?.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&answer).context("the agent's answer does not have this version's format")
    }

    /// The answer to `METHOD path`, of whatever status, as it comes.
    ///
    /// # Errors
    /// When there is none.
    pub async fn answer(&self, method: Method, path: &str) -> anyhow::Result<Response<Incoming>> {
        send(connect(&self.socket).await?, method, path).await.context("the agent has not answered")
    }

    /// The answer to `GET path`, as it comes.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn request(&self, method: Method, path: &str) -> anyhow::Result<Response<Incoming>> {
        let response = self.answer(method, path).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let said = said.and_then(|said| Some(said["error"].as_str()?.to_owned()));
        bail!(Refused(said.unwrap_or_else(|| format!("the agent has answered {status}"))));
    }
}

/// Asks once over `stream`.
///
/// # Errors
/// When what comes back is no HTTP.
pub async fn send<S>(stream: S, method: Method, path: &str) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "conngate").body(Empty::<Bytes>::new())?;
    Ok(sender.send_request(request).await?)
}

async fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    UnixStream::connect(socket).await.with_context(|| {
        format!(
            "no agent can be reached at {} (--socket); in a cluster: \
             kubectl -n NAMESPACE exec daemonset/conngate -- /conngate …",
            socket.display()
        )
    })
}

/// A pod's name as a part of a path, so that nothing in it means anything there; `/` stays what it is.
#[must_use]
pub fn escaped(pod: &str) -> String {
    const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.');
    utf8_percent_encode(pod, &KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_hostile_name_is_a_path_and_nothing_else() {
        assert_eq!(escaped("shop/web-0.a"), "shop/web-0.a");
        assert_eq!(escaped("a b?c#d\r\n%é"), "a%20b%3Fc%23d%0D%0A%25%C3%A9");
    }
}
