//! The HTTP endpoints that the kubelet, Prometheus and the operator ask: /healthz, /readyz and /metrics.
//!
//! Knows nothing of what the conditions and the metrics mean. /healthz fails only when the agent's
//! loop is stuck: an outage of the API server is no reason to restart an agent.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::{Counter, desk::Question};
use crate::{kernel::clock, metrics};

/// Serves on `address` until the runtime ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, counter: Counter) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(counter);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

async fn metrics(State(counter): State<Counter>) -> Response {
    let snapshot = counter.desk.ask(Question::Snapshot).await;
    match metrics::text(&counter.recorded, &counter.conditions, counter.started, snapshot.as_ref()) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(counter): State<Counter>) -> (StatusCode, String) {
    match counter.conditions.stuck(clock::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(since) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the event loop has not turned for {} s\n", since.as_secs()))
        }
    }
}

async fn readyz(State(Counter { conditions, .. }): State<Counter>) -> (StatusCode, String) {
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
    use super::*;
    use crate::{
        metrics::Recorded,
        serve::{
            conditions::{Condition, Conditions},
            desk::Desk,
        },
        view::Time,
    };

    async fn answer(address: SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn readyz_names_what_is_missing_until_nothing_is() {
        let conditions = Conditions::new(clock::now());
        // Nobody is at the desk: the loop has not begun.
        let (desk, _) = Desk::new();
        let (conditions_of_it, recorded) = (conditions.clone(), Recorded::new());
        let counter = Counter { conditions: conditions_of_it, recorded, desk, node: None, started: Time::now() };
        let address = serve("127.0.0.1:0".parse().unwrap(), counter).await.unwrap();
        Condition::ALL.into_iter().for_each(|condition| conditions.met(condition));
        conditions.unmet_because(Condition::Pods, "pods is forbidden");
        let text = answer(address, "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.ends_with("\r\n\r\npods: pods is forbidden\n"), "{text}");
        conditions.met(Condition::Pods);
        assert!(answer(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(answer(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let text = answer(address, "/metrics").await;
        assert!(text.contains("\nconngate_condition_met{condition=\"pods\"} 1\n"), "{text}");
        assert!(!text.contains("conngate_connections_held_total"), "what cannot be read is absent: {text}");
    }
}
