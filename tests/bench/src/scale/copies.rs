//! Copies of the agent's source of pods, one for each node.
//!
//! Knows nothing of what is measured.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result};
use conngate::pods::source::{Config, Handle, Kind, SourceEvent, Sources};
use conngate_testbed::cluster::Cluster;
use tokio::{
    runtime,
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{PATIENCE, client};

/// They end with the value.
pub(super) struct Copies {
    sources: Vec<Handle>,
    /// How many know all their pods.
    known: Arc<AtomicUsize>,
}

impl Copies {
    /// Starts `nodes` of them, all at once; each expects `pods` pods.
    pub(super) async fn start(cluster: &Cluster, nodes: usize, pods: usize) -> Result<Self> {
        let known = Arc::new(AtomicUsize::new(0));
        let mut sources = Vec::with_capacity(nodes);
        for node in 0..nodes {
            let (events, mut received) = mpsc::channel(64);
            let config = Config {
                runtime: runtime::Handle::current(),
                kind: Kind::Apiserver,
                node_name: Some(format!("node-{node}")),
                client: Some(client(cluster).await?),
                kubelet: None,
                manifests: None,
                namespaces: false,
            };
            sources.push(Sources::start(config, events)?);
            let known = known.clone();
            tokio::spawn(async move {
                let mut seen = 0;
                while let Some(event) = received.recv().await {
                    match event {
                        SourceEvent::Seen(_) => seen += 1,
                        SourceEvent::Synced if seen == pods => drop(known.fetch_add(1, Ordering::Relaxed)),
                        SourceEvent::Synced
                        | SourceEvent::Gone(_)
                        | SourceEvent::Health { .. }
                        | SourceEvent::Answered { .. } => {}
                    }
                }
            });
        }
        Ok(Self { sources, known })
    }

    /// Waits until each knows all of its pods.
    pub(super) async fn know_all(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.known.load(Ordering::Relaxed) < self.sources.len() {
            (Instant::now() < until).then_some(()).with_context(|| {
                format!("only {} of {} sources know their pods", self.known.load(Ordering::Relaxed), self.sources.len())
            })?;
            sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
