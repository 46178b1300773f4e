//! Asks proxies whether they are ready, each in its pod's network namespace.
//!
//! Guarantees that every question is answered. What a pod's netfilter rules cost, which run in our system calls, its own probes pay:
//! their answers come so much later.

use std::{
    future::poll_fn,
    pin::pin,
    time::{Duration, Instant},
};

use conngate_common::id::CgroupId;
use conngate_core::{gate::Answer, node::Input};
use tokio::{runtime::Handle, sync::mpsc};

use super::{probe, probe::ProbeError};
use crate::{
    metrics::Recorded,
    net::netns::{Netns, NetnsWorker},
    url::ReadyUrl,
};

/// How long one probe may keep its thread at work (it takes some 0.2 ms), and how many times as long as it takes beyond that a
/// pod waits for its answer.
const BUSY: Duration = Duration::from_millis(5);
const SHARE: u32 = 20;

/// Takes questions.
#[derive(Debug)]
pub struct Prober {
    worker: NetnsWorker,
    recorded: Recorded,
    runtime: Handle,
    answers: mpsc::UnboundedSender<Input>,
}

impl Prober {
    /// Asks on the event loop `runtime`; the answers arrive at the receiver.
    #[must_use]
    pub fn new(worker: NetnsWorker, recorded: Recorded, runtime: Handle) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (answers, answered) = mpsc::unbounded_channel();
        (Self { worker, recorded, runtime, answers }, answered)
    }

    /// Asks the proxy of `gate`, which takes `deadline` at most.
    pub fn ask(&self, gate: CgroupId, netns: Netns, url: ReadyUrl, deadline: Duration) {
        let (worker, recorded, answers) = (self.worker.clone(), self.recorded.clone(), self.answers.clone());
        self.runtime.spawn(async move {
            let asked = Instant::now();
            let (found, busy) = metered(probe::probe(&worker, &netns, &url, deadline)).await;
            recorded.probed(found.word(), asked.elapsed());
            tracing::debug!(%url, ?found, "probed");
            // Not for no time: a timer takes a millisecond at least.
            if busy > BUSY {
                tokio::time::sleep((busy - BUSY) * SHARE).await;
            }
            let is_late = matches!(found, probe::Answer::Failed(ProbeError::Deadline(_)));
            let answer = meaning(&found);
            // The agent is gone: nobody wants to know.
            let _ = answers.send(Input::Probed { gate, answer, found: found.to_string(), is_late });
        });
    }
}

/// Does `work`, and says how long that kept the thread at work.
async fn metered<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let (mut work, mut busy) = (pin!(work), Duration::ZERO);
    poll_fn(|context| {
        let started = Instant::now();
        let done = work.as_mut().poll(context);
        busy += started.elapsed();
        done.map(|done| (done, busy))
    })
    .await
}

/// What an answer says of the proxy.
const fn meaning(found: &probe::Answer) -> Answer {
    match found {
        probe::Answer::Ready => Answer::Ready,
        probe::Answer::NotReady { .. } => Answer::NotReady,
        probe::Answer::Failed(ProbeError::Netns(_) | ProbeError::Refused | ProbeError::Connect(_)) => {
            Answer::Unanswered
        }
        // Somebody is there: slow on a busy node, or not to be believed.
        probe::Answer::Failed(ProbeError::Http(_) | ProbeError::Body(_) | ProbeError::Deadline(_)) => Answer::NotReady,
    }
}
