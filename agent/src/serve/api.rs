//! The command line's API: HTTP and JSON, in the shapes of `view`.
//!
//! Knows nothing of how a question is answered. Every error is `{"version": 1, "error": "…"}`. The paths are versioned as the
//! shapes are; docs/cli.md lists them.

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use serde_json::json;
use tokio::{net::UnixStream, sync::broadcast};

use super::{
    ServerState, http,
    queries::{Question, Refusal, Which},
};
use crate::{
    log_tail,
    view::{
        Time, VERSION,
        event::{Event, What},
        open::Opened,
    },
};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    uid: Option<u32>,
    pid: Option<i32>,
}

impl Peer {
    /// Who is at the other end of `stream`.
    pub(super) fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self {
            uid: credentials.as_ref().map(tokio::net::unix::UCred::uid),
            pid: credentials.and_then(|credentials| credentials.pid()),
        }
    }
}

/// The API; each connection adds its [`Peer`].
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/pods/{*pod}", get(explain))
        .route("/v1/open/{*pod}", post(open))
        .route("/v1/open", post(open_all))
        .route("/v1/events", get(recent))
        .route("/v1/events/follow", get(follow))
        .route("/v1/report", get(report))
        .route("/v1/log", get(async || log_tail::last()))
        .route("/metrics", get(http::metrics))
        .route("/readyz", get(http::readyz))
        .fallback(async || error(StatusCode::NOT_FOUND, "no such path"))
        .with_state(state)
}

async fn status(State(state): State<ServerState>) -> Response {
    Json(state.status().await).into_response()
}

async fn explain(State(state): State<ServerState>, Path(pod): Path<String>) -> Response {
    answer(state.queries.ask(|answer| Question::Explain(pod, answer)).await)
}

async fn open(State(state): State<ServerState>, peer: Extension<Peer>, Path(pod): Path<String>) -> Response {
    open_gates(&state, peer, Which::Pod(pod)).await
}

async fn open_all(State(state): State<ServerState>, peer: Extension<Peer>) -> Response {
    open_gates(&state, peer, Which::All).await
}

async fn open_gates(state: &ServerState, Extension(peer): Extension<Peer>, which: Which) -> Response {
    tracing::warn!(?which, uid = peer.uid, pid = peer.pid, "asked to open");
    let opened = state.queries.ask(|answer| Question::Open(which, answer)).await;
    answer(opened.map(|opened| opened.map(|gates| Opened { version: VERSION, gates })))
}

async fn report(State(state): State<ServerState>) -> Response {
    answer(state.queries.ask(Question::Report).await.map(Ok))
}

async fn recent(State(state): State<ServerState>) -> Response {
    match state.queries.ask(Question::Events).await {
        Some((recent, _)) => lines(stream::iter(recent)),
        None => unanswered(),
    }
}

async fn follow(State(state): State<ServerState>) -> Response {
    match state.queries.ask(Question::Events).await {
        Some((recent, coming)) => lines(stream::iter(recent).chain(stream::unfold(coming, next))),
        None => unanswered(),
    }
}

/// The next event, or how many a slow reader has missed.
async fn next(mut coming: broadcast::Receiver<Event>) -> Option<(Event, broadcast::Receiver<Event>)> {
    let event = match coming.recv().await {
        Ok(event) => event,
        Err(broadcast::error::RecvError::Lagged(events)) => {
            Event { version: VERSION, time: Time::now(), pod: None, what: What::Missed { events } }
        }
        Err(broadcast::error::RecvError::Closed) => return None,
    };
    Some((event, coming))
}

/// One JSON object per line.
fn lines(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let lines = events.map(|event| {
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        Ok::<_, serde_json::Error>(Bytes::from(line))
    });
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn answer<T: Serialize>(answer: Option<Result<T, Refusal>>) -> Response {
    match answer {
        Some(Ok(found)) => Json(found).into_response(),
        Some(Err(refusal)) => {
            let status = match refusal {
                Refusal::Unknown(_) => StatusCode::NOT_FOUND,
                Refusal::Ambiguous { .. } | Refusal::NoGate { .. } => StatusCode::CONFLICT,
            };
            error(status, &refusal.to_string())
        }
        None => unanswered(),
    }
}

fn unanswered() -> Response {
    error(
        StatusCode::SERVICE_UNAVAILABLE,
        "the agent's loop does not answer yet: `conngate status` says what it waits for",
    )
}

fn error(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "version": VERSION, "error": error }))).into_response()
}
