//! The one loop that takes connections, for each listener, and what a connection may take.
//!
//! Guarantees, whoever connects: at most [`CONNECTIONS`] at a time, each with a head of at most [`HEAD`] bytes that is
//! complete within [`HEAD_DEADLINE`], one question, and an end.
//!
//! One connection more ends the oldest. Were it to wait, or be refused, then idle connections would shut out the kubelet
//! until they end; so each is sure of the time that the next [`CONNECTIONS`] take to come, and an answer takes less.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::shortage::Shortages;

/// Connections of a listener.
pub(super) const CONNECTIONS: usize = 64;

/// Bytes of a request's head, which is the least that hyper takes.
const HEAD: usize = 8 * 1024;

/// From a connection's beginning to the end of its head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// Until the next try, where a connection cannot be taken.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves what `accept` takes, each connection with its router and for at most `lifetime`.
pub(super) async fn serve<S>(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(S, Router)>>,
    lifetime: Duration,
    shortages: Shortages,
) -> Infallible
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEAD).keep_alive(false);
    let mut serving = VecDeque::<JoinHandle<()>>::new();
    loop {
        let (stream, router) = match poll_fn(&mut accept).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection");
                shortages.note(&error);
                sleep(BACK_OFF).await;
                continue;
            }
        };
        serving.retain(|connection| !connection.is_finished());
        if serving.len() == CONNECTIONS
            && let Some(oldest) = serving.pop_front()
        {
            oldest.abort();
            // Its descriptor and its buffers are free then.
            let _ = oldest.await;
        }
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // However it ends: who asked is gone, or has had time enough.
        serving.push_back(tokio::spawn(async move { drop(timeout(lifetime, connection).await) }));
    }
}

#[cfg(test)]
mod tests;
