//! The HTTP endpoints that the kubelet, Prometheus and the operator ask: /healthz, /readyz and /metrics.
//!
//! /healthz fails only when the agent's loop is stuck, and says since when: an outage of the API server is no reason to
//! restart an agent.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
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
use nix::libc::{EADDRNOTAVAIL, EAFNOSUPPORT};
use socket2::{Domain, Socket, Type};
use tokio::{net, runtime::Handle, time::sleep};

use super::{
    ServerState,
    conditions::{Conditions, Part},
    connections,
};
use crate::{clock, view::Time};

/// The whole of a connection: longer than any scrape may take, and an end for whoever reads slowly.
const LIFETIME: Duration = Duration::from_secs(30);

/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// Between two tries to have an address that somebody else has.
const RETRY: Duration = Duration::from_millis(500);

/// Serves on `address` on the event loop `server`, as soon as it is to be had.
pub fn serve(server: &Handle, address: SocketAddr, state: ServerState) {
    server.spawn(async move {
        let listener = awaited(address, &state.conditions).await;
        serve_on(listener, state).await
    });
}

/// Listens on `address`, however long it takes: an agent that its predecessor has not left room for yet holds all the same.
async fn awaited(address: SocketAddr, conditions: &Conditions) -> net::TcpListener {
    loop {
        let listener = listen(address, bind).and_then(net::TcpListener::from_std);
        match listener.and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((address, listener)) => {
                conditions.degraded_because(Part::Port, None);
                tracing::info!(%address, "serving /healthz, /readyz and /metrics");
                return listener;
            }
            Err(error) => {
                let why = format!("cannot listen on {address} (--listen): {error}");
                conditions.degraded_because(Part::Port, Some(why));
                sleep(RETRY).await;
            }
        }
    }
}

/// A listener on `address`. `[::]` is every address of both families; of IPv4 alone where the kernel has no IPv6.
fn listen<T>(address: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    bind(address).or_else(|error| match error.raw_os_error() {
        Some(EAFNOSUPPORT | EADDRNOTAVAIL) if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        _ => Err(error),
    })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    // A successor need not wait for the end of its predecessor's connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn serve_on(listener: net::TcpListener, state: ServerState) -> Infallible {
    let shortages = state.conditions.shortages().clone();
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    let accept =
        move |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| (stream, router.clone()));
    connections::serve(accept, LIFETIME, shortages).await
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
        let (state, listener) = (testing::state(conditions.clone()), bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let address = listener.local_addr().unwrap();
        crate::hand::event_loop("serve")
            .unwrap()
            .spawn(async { serve_on(net::TcpListener::from_std(listener).unwrap(), state).await });
        address
    }

    #[test]
    fn listener_on_every_address_is_reached_by_both_families() {
        let address = listen("[::]:0".parse().unwrap(), bind).and_then(|listener| {
            for host in ["127.0.0.1", "::1"] {
                TcpStream::connect((host, listener.local_addr()?.port()))?;
            }
            listener.local_addr()
        });
        assert!(address.unwrap().is_ipv6());
    }

    #[test]
    fn listener_without_ipv6_is_on_every_address_of_ipv4_and_another_address_stays_refused() {
        for errno in [EAFNOSUPPORT, EADDRNOTAVAIL] {
            let without = |address: SocketAddr| {
                if address.is_ipv6() { Err(io::Error::from_raw_os_error(errno)) } else { Ok(address) }
            };
            assert_eq!(listen("[::]:9477".parse().unwrap(), without).unwrap(), "0.0.0.0:9477".parse().unwrap());
            assert_eq!(listen("[::1]:9477".parse().unwrap(), without).unwrap_err().raw_os_error(), Some(errno));
        }
        let taken = |_| Err::<(), _>(io::ErrorKind::AddrInUse.into());
        assert_eq!(listen("[::]:9477".parse().unwrap(), taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
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
