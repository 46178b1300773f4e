//! Where a run takes place: a pod with the mesh's redirect, and an Envoy that becomes ready at a word.
//!
//! Knows nothing of who waits for it.

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use anyhow::{Context as _, Result};
use conngate_testbed::lab::{Answer, Cgroup, ControlPlane, Envoy, Pod, Redirect, Upstream};
use serde_json::Value;

use super::observer::{Observer, Seen};

/// The pod and its control plane.
pub(super) struct Stage {
    pod: Pod,
    control_plane: ControlPlane,
}

impl Stage {
    /// A new pod; Envoy will get `listener`.
    pub(super) fn new(upstream: &Upstream, listener: Value) -> Result<Self> {
        let pod = Pod::new(upstream)?;
        pod.redirect(&Redirect::default())?;
        let control_plane = ControlPlane::start(&pod, vec![listener], Answer::Held)?;
        Ok(Self { pod, control_plane })
    }

    /// One run with an Envoy of its own: `prepare` while it is not ready, then, after a moment that nobody can guess, it
    /// becomes ready; `finish` while it still lives.
    pub(super) fn run<W, T>(
        &self,
        sidecar: &Cgroup,
        observer: &mut Observer,
        oracle: Option<SocketAddr>,
        prepare: impl FnOnce(&Pod) -> Result<W>,
        finish: impl FnOnce(W, Seen) -> Result<T>,
    ) -> Result<T> {
        self.control_plane.set(Answer::Held);
        let envoy = Envoy::start_in(&self.pod, &self.control_plane, Some(sidecar))?;
        envoy.wait_initializing()?;
        let (armed, is_armed) = mpsc::channel();
        let (prepared, seen) = thread::scope(|scope| {
            let watching = scope.spawn(move || self.pod.enter(|| observer.watch(&armed, oracle)));
            let prepared = is_armed.recv().context("the observer gave up").and_then(|()| prepare(&self.pod));
            if prepared.is_ok() {
                thread::sleep(Duration::from_micros(fastrand::u64(50_000..700_000)));
            }
            // Also when something failed: the observer waits for it.
            self.control_plane.release();
            (prepared, watching.join().expect("the observer does not panic"))
        });
        finish(prepared?, seen?)
    }

    /// Does `work` while an Envoy of its own is ready.
    pub(super) fn ready<T>(&self, sidecar: &Cgroup, work: impl FnOnce(&Pod) -> Result<T>) -> Result<T> {
        self.control_plane.release();
        let envoy = Envoy::start_in(&self.pod, &self.control_plane, Some(sidecar))?;
        envoy.wait_ready()?;
        work(&self.pod)
    }
}
