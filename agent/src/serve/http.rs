//! The HTTP endpoints that the kubelet and the operator ask: /healthz and /readyz.
//!
//! Knows nothing of what the conditions mean. /healthz fails only when the agent's loop is stuck: an outage of the API
//! server is no reason to restart an agent.

use std::{io, net::SocketAddr};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use super::conditions::Conditions;
use crate::kernel::clock;

/// Serves on `address` until the runtime ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, conditions: Conditions) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let router = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(conditions);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(bound)
}

async fn healthz(State(conditions): State<Conditions>) -> (StatusCode, String) {
    match conditions.stuck(clock::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(since) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the event loop has not turned for {} s\n", since.as_secs()))
        }
    }
}

async fn readyz(State(conditions): State<Conditions>) -> (StatusCode, String) {
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
    use crate::serve::conditions::Condition;

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
        let address = serve("127.0.0.1:0".parse().unwrap(), conditions.clone()).await.unwrap();
        Condition::ALL.into_iter().for_each(|condition| conditions.met(condition));
        conditions.unmet_because(Condition::Pods, "pods is forbidden");
        let text = answer(address, "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.ends_with("\r\n\r\npods: pods is forbidden\n"), "{text}");
        conditions.met(Condition::Pods);
        assert!(answer(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(answer(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }
}
