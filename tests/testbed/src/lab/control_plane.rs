//! A control plane that gives Envoy its listeners when it is told to.
//!
//! Knows nothing of Envoy's process. It speaks xDS by REST (POST /v3/discovery:listeners): a request is held until it
//! may be answered, and while it is held Envoy initialises (`initial_fetch_timeout: 0s`, as in Istio's bootstrap).

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{sync::watch, time::sleep};

use super::{namespace::Namespace, server::Server};
use crate::clock::mono_ns;

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not before [`ControlPlane::release`].
    Held,
    /// This long after it came.
    After(Duration),
}

/// A control plane inside a pod's namespace; ends when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    address: SocketAddr,
    answer: watch::Sender<Answer>,
    answered: Arc<AtomicU64>,
    _server: Server,
}

impl ControlPlane {
    /// Starts to listen on loopback inside `namespace`, on a port of the kernel's choice. `listeners` are as in
    /// Envoy's configuration.
    pub fn start(namespace: &Namespace, listeners: Vec<Value>, answer: Answer) -> Result<Self> {
        let listener = namespace.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (sender, receiver) = watch::channel(answer);
        let answered = Arc::new(AtomicU64::new(0));
        let discovery =
            Arc::new(Discovery { body: response(listeners)?, answer: receiver, answered: answered.clone() });
        let server = Server::start("control-plane", async move || {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async move {
                while let Ok((connection, _)) = listener.accept().await {
                    let discovery = discovery.clone();
                    let service = service_fn(move |_| {
                        let discovery = discovery.clone();
                        async move { Ok::<_, Infallible>(Response::new(Full::new(discovery.answer().await))) }
                    });
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
                }
            });
            Ok(())
        })?;
        Ok(Self { address, answer: sender, answered, _server: server })
    }

    /// Where it listens, inside its namespace.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers everything that is held, and what comes from now on at once.
    pub fn release(&self) {
        self.set(Answer::After(Duration::ZERO));
    }

    /// Changes when requests are answered, those that wait included.
    pub fn set(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// When the last answer went out, CLOCK_MONOTONIC nanoseconds; none before the first.
    #[must_use]
    pub fn answered_mono_ns(&self) -> Option<u64> {
        Some(self.answered.load(Ordering::Acquire)).filter(|at| *at != 0)
    }
}

struct Discovery {
    body: Bytes,
    answer: watch::Receiver<Answer>,
    answered: Arc<AtomicU64>,
}

impl Discovery {
    async fn answer(&self) -> Bytes {
        let came = tokio::time::Instant::now();
        let mut answer = self.answer.clone();
        loop {
            let now = *answer.borrow_and_update();
            let due = async {
                match now {
                    Answer::Held => std::future::pending().await,
                    Answer::After(delay) => sleep(delay.saturating_sub(came.elapsed())).await,
                }
            };
            tokio::select! {
                () = due => break,
                Ok(()) = answer.changed() => {}
            }
        }
        self.answered.store(mono_ns(), Ordering::Release);
        self.body.clone()
    }
}

/// A DiscoveryResponse (envoy/service/discovery/v3/discovery.proto).
fn response(mut listeners: Vec<Value>) -> Result<Bytes> {
    let kind = "type.googleapis.com/envoy.config.listener.v3.Listener";
    for listener in &mut listeners {
        listener["@type"] = kind.into();
    }
    let response = serde_json::json!({
        "version_info": "1",
        "type_url": kind,
        "resources": listeners,
    });
    Ok(serde_json::to_vec(&response).context("cannot write the answer")?.into())
}
