//! Kubernetes Events on pods: a bounded queue and one task that posts them.
//!
//! Knows nothing of why. Needs `create` on events in events.k8s.io and nothing else: an event is never read or patched.
//! Recording never blocks; what does not fit, comes too often or cannot be sent is dropped and counted.

use std::time::{Duration, Instant};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::{runtime, sync::mpsc};

use super::{
    event_limits::Limits,
    no_gate::NoGate,
    pod::{Pod, cut},
    supervise::Restarts,
};
use crate::{
    metrics::recorded::{EventResult, Recorded},
    uid::PodUid,
};

/// Events that wait to be sent.
const QUEUE: usize = 256;

/// Limits of the API (pkg/apis/core/validation/events.go): bytes of a note and of the reporting instance.
const MAX_NOTE: usize = 1024;
const MAX_INSTANCE: usize = 128;

/// How long one event may take to send.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who reports.
const CONTROLLER: &str = "conngate";

/// What happened to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The pod asks for a gate, and has none.
    NotGated(NoGate),
    /// A container had started before the agent was there.
    StartedBeforeAgent,
    /// Connections of the pod are held.
    ConnectionsHeld,
    /// The gate opened, and what was held went on.
    GateOpened,
    /// The proxy was not ready in time.
    GateTimedOut,
}

impl Happening {
    const fn reason(self) -> &'static str {
        match self {
            Self::NotGated(why) => why.event(),
            Self::StartedBeforeAgent => "StartedBeforeAgent",
            Self::ConnectionsHeld => "ConnectionsHeld",
            Self::GateOpened => "GateOpened",
            Self::GateTimedOut => "GateTimedOut",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::NotGated(NoGate::InvalidAnnotation) => "ReadAnnotations",
            Self::NotGated(_) => "ReadPod",
            Self::StartedBeforeAgent => "Start",
            Self::ConnectionsHeld => "Hold",
            Self::GateOpened | Self::GateTimedOut => "OpenGate",
        }
    }

    const fn severity(self) -> &'static str {
        match self {
            Self::NotGated(NoGate::InvalidAnnotation) | Self::StartedBeforeAgent | Self::GateTimedOut => "Warning",
            Self::NotGated(_) | Self::ConnectionsHeld | Self::GateOpened => "Normal",
        }
    }
}

/// Takes events; cloned freely.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: Option<mpsc::Sender<Notice>>,
    recorded: Recorded,
}

#[derive(Debug)]
struct Notice {
    namespace: String,
    name: String,
    uid: PodUid,
    happening: Happening,
    note: String,
}

impl Recorder {
    /// Starts the task that posts events as `node`, on `runtime`. It ends when the last recorder is dropped and the queue is
    /// empty; should it panic, it is started again.
    #[must_use]
    pub fn start(runtime: &runtime::Handle, client: Client, node: &str, recorded: Recorded) -> Self {
        let (queue, mut notices) = mpsc::channel(QUEUE);
        let (instance, counted) = (cut(node, MAX_INSTANCE).to_owned(), recorded.clone());
        runtime.spawn(async move {
            let mut restarts = Restarts::of("events");
            while restarts.run(post(&client, &instance, &mut notices, &counted)).await.is_err() {
                restarts.wait().await;
            }
        });
        Self { queue: Some(queue), recorded }
    }

    /// A recorder for machines without Kubernetes: it drops what it is given, and that does not count.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { queue: None, recorded: Recorded::new() }
    }

    /// Records that something happened to `pod`; `note` is for people, and cut at 1024 bytes.
    pub fn record(&self, pod: &Pod, happening: Happening, note: &str) {
        let Some(queue) = &self.queue else { return };
        let notice = Notice {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.api_uid,
            happening,
            note: cut(note, MAX_NOTE).to_owned(),
        };
        if queue.try_send(notice).is_err() {
            self.recorded.event(EventResult::Dropped);
        }
    }
}

async fn post(client: &Client, instance: &str, notices: &mut mpsc::Receiver<Notice>, recorded: &Recorded) {
    let mut limits = Limits::default();
    let mut last_error = None;
    while let Some(notice) = notices.recv().await {
        if !limits.admit(Instant::now(), notice.uid, notice.happening.reason(), &notice.note) {
            recorded.event(EventResult::Dropped);
            continue;
        }
        let events: Api<Event> = Api::namespaced(client.clone(), &notice.namespace);
        let event = event(notice, instance);
        let error = match tokio::time::timeout(PATIENCE, events.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(super::source::explain(&error, "create on events (events.k8s.io)")),
            Err(_) => Some(format!("the API server did not answer within {PATIENCE:?}")),
        };
        recorded.event(if error.is_some() { EventResult::Dropped } else { EventResult::Sent });
        if let Some(why) = error.as_ref().filter(|_| error != last_error) {
            tracing::warn!(%why, "Kubernetes Events cannot be sent");
        }
        last_error = error;
    }
}

fn event(notice: Notice, instance: &str) -> Event {
    Event {
        metadata: ObjectMeta {
            // The API server appends what makes it unique, and cuts the rest to fit. It takes no prefix that ends in a dot.
            generate_name: Some(format!("{}-", notice.name)),
            namespace: Some(notice.namespace.clone()),
            ..ObjectMeta::default()
        },
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(notice.namespace),
            name: Some(notice.name),
            uid: Some(notice.uid.to_string()),
            ..ObjectReference::default()
        }),
        event_time: Some(MicroTime(Timestamp::now())),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        action: Some(notice.happening.action().to_owned()),
        reason: Some(notice.happening.reason().to_owned()),
        note: Some(notice.note),
        type_: Some(notice.happening.severity().to_owned()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
