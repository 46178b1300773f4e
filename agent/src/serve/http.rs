//! The HTTP endpoints that the kubelet, Prometheus and the operator ask: /healthz, /readyz and /metrics.
//!
//! /healthz fails only when the agent's loop is stuck, and says since when: an outage of the API server is no reason to
//! restart an agent.

use std::{
    io,
    net::SocketAddr,
    task::Context,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{net::TcpListener, runtime::Handle};

use super::{ServerState, connections};
use crate::{clock, view::Time};

/// The whole of a connection: longer than any scrape may take, and an end for whoever reads slowly.
const LIFETIME: Duration = Duration::from_secs(30);

/// Serves on `address` on the event loop `server`.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(server: &Handle, address: SocketAddr, state: ServerState) -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    let _entered = server.enter();
    let listener = TcpListener::from_std(listener)?;
    let shortages = state.conditions.shortages().clone();
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    let accept =
        move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| (stream, router.clone()));
    server.spawn(connections::serve(accept, LIFETIME, shortages));
    Ok(bound)
}

pub(super) async fn metrics(State(state): State<ServerState>) -> Response {
    let snapshot = state.queries.scrape().await;
    match super::metrics::text(&state.recorded, &state.conditions, state.started, snapshot.as_ref()) {
        Ok(text) => ([(CONTENT_TYPE, super::metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(state): State<ServerState>) -> (StatusCode, String) {
    match state.conditions.stuck(clock::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(stuck) => {
            let (seconds, since) = (stuck.as_secs(), Time(SystemTime::now() - stuck));
            let text = format!("the agent's loop has not turned for {seconds} s, since {since}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

pub(super) async fn readyz(State(ServerState { conditions, .. }): State<ServerState>) -> (StatusCode, String) {
    let missing = conditions.missing();
    if missing.is_empty() {
        let degraded = conditions.degraded().map(|why| format!("degraded: {why}\n"));
        return (StatusCode::OK, format!("ok\n{}", degraded.unwrap_or_default()));
    }
    let lines = missing.iter().map(|(condition, why)| format!("{condition}: {why}\n"));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };

    use conngate_common::id::MonoTime;

    use super::*;
    use crate::serve::{
        conditions::{Condition, Conditions},
        testing,
    };

    fn answer(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn served(conditions: &Conditions) -> SocketAddr {
        let state = testing::state(conditions.clone());
        serve(&crate::hand::event_loop("serve").unwrap(), "127.0.0.1:0".parse().unwrap(), state).unwrap()
    }

    #[test]
    fn readyz_names_what_is_missing_until_nothing_is() {
        let conditions = Conditions::new(clock::now());
        let address = served(&conditions);
        Condition::ALL.into_iter().for_each(|condition| conditions.met(condition));
        conditions.unmet_because(Condition::Pods, "pods is forbidden");
        let text = answer(address, "/readyz");
        assert!(text.starts_with("HTTP/1.1 503") && text.ends_with("\r\n\r\npods: pods is forbidden\n"), "{text}");
        conditions.met(Condition::Pods);
        assert!(answer(address, "/readyz").starts_with("HTTP/1.1 200"));
        let text = answer(address, "/metrics");
        assert!(text.contains("\nconngate_condition_met{condition=\"pods\"} 1\n"), "{text}");
        assert!(!text.contains("conngate_connections_held_total"), "what cannot be read is absent: {text}");
    }

    #[test]
    fn healthz_while_the_loop_does_not_turn_is_answered_and_says_since_when() {
        // This test's thread has no event loop at all, and the last turn was the machine's first moment.
        let conditions = Conditions::new(MonoTime(0));
        let address = served(&conditions);
        let (text, booted) = (answer(address, "/healthz"), Time(clock::wall(MonoTime(0))).to_string());
        assert!(text.starts_with("HTTP/1.1 500") && text.contains("the agent's loop has not turned for "), "{text}");
        // To the minute: the two are read at two moments.
        assert!(text.contains(&format!("since {}", &booted[..16])), "{booted}: {text}");
        conditions.turn(clock::now());
        assert!(answer(address, "/healthz").starts_with("HTTP/1.1 200"));
    }
}
