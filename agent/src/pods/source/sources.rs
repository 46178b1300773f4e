//! Runs the sources that are configured, and puts what they report through the catalogue.
//!
//! Knows nothing of what becomes of the events. Everything ends with the [`Handle`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    SourceEvent, SourceName,
    apiserver::ApiServer,
    asks::Asks,
    catalogue::Catalogue,
    file::File,
    kubelet::{ALONE, BESIDE, Kubelet, KubeletConfig, KubeletConfigError},
    namespaces::Namespaces,
    report::{Report, Reports, Source},
};
use crate::uid::PodUid;

/// Reports that wait for the catalogue.
const QUEUE: usize = 64;

/// Which source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The API server's watch, and the kubelet for pods that it does not know yet or when it is away.
    Auto,
    /// The API server's watch alone.
    Apiserver,
    /// The kubelet alone.
    Kubelet,
    /// Manifests.
    File,
}

/// What the sources need.
#[derive(Clone)]
pub struct Config {
    /// Which source is asked.
    pub kind: Kind,
    /// This node's name in the API; for all but `file`.
    pub node_name: Option<String>,
    /// The API server (see [`super::client`]).
    pub client: Option<Client>,
    /// The kubelet.
    pub kubelet: Option<KubeletConfig>,
    /// A manifest, or a directory of them; for `file`.
    pub manifests: Option<PathBuf>,
    /// Whether pods are wanted with their namespace's labels
    /// ([`crate::pods::defaults::Defaults::needs_namespace_labels`]); takes the API server.
    pub namespace_labels: bool,
}

/// The sources cannot be started like this.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something is not given.
    #[error("--pod-source {kind} needs {what}")]
    Missing {
        /// The source.
        kind: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// The kubelet cannot be asked like this.
    #[error(transparent)]
    Kubelet(#[from] KubeletConfigError),
}

/// Starts sources.
#[derive(Debug)]
pub struct Sources;

/// The sources at work. They end when it is dropped.
#[derive(Debug)]
pub struct Handle {
    asks: Arc<Asks>,
    task: AbortHandle,
}

impl Handle {
    /// Asks for a pod that nobody knows; the answer is a [`SourceEvent::Answered`]. Never blocks; asking again before the
    /// answer is the same question. False when 1024 questions wait already: ask again later.
    pub fn ask(&self, uid: PodUid) -> bool {
        self.asks.push(uid)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sources {
    /// Starts what `config` names; events go to `events`, at the receiver's pace.
    ///
    /// # Errors
    /// When something is missing. That a server cannot be reached is no error but a [`SourceEvent::Health`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: Config, events: mpsc::Sender<SourceEvent>) -> Result<Handle, ConfigError> {
        let (to, reports) = mpsc::channel(QUEUE);
        let mut running = Running { tasks: JoinSet::new(), to };
        let (pace, paces) = watch::channel(ALONE);
        let kubelet_asks = Arc::new(Asks::default());
        let (api, kubelet) = match config.kind {
            Kind::Auto => (true, true),
            Kind::Apiserver => (true, false),
            Kind::Kubelet => (false, true),
            Kind::File => (false, false),
        };
        let missing = |what| {
            let kind = match config.kind {
                Kind::Auto => "auto",
                Kind::Apiserver => "apiserver",
                Kind::Kubelet => "kubelet",
                Kind::File => "file",
            };
            ConfigError::Missing { kind, what }
        };
        if kubelet {
            let config = config.kubelet.ok_or_else(|| missing("the kubelet's address (--kubelet-url)"))?;
            config.check()?;
            running.start(Kubelet { config, asks: Arc::clone(&kubelet_asks), pace: paces });
        }
        let client = || config.client.clone().ok_or_else(|| missing("the API server: a service account or KUBECONFIG"));
        if api {
            let node = config.node_name.clone().filter(|node| !node.is_empty());
            let node = node.ok_or_else(|| missing("this node's name (--node-name)"))?;
            running.start(ApiServer { client: client()?, node });
        }
        if !api && !kubelet {
            running.start(File::new(config.manifests.clone().ok_or_else(|| missing("--pod-manifests"))?));
        }
        if config.namespace_labels {
            running.start(Namespaces { client: client()? });
        }
        let asks = Arc::new(Asks::default());
        let merging = Merging {
            catalogue: Catalogue::new(kubelet, config.namespace_labels),
            asks: Arc::clone(&asks),
            kubelet_asks,
            pace,
            events,
        };
        let task = tokio::spawn(merging.run(reports, running.tasks)).abort_handle();
        Ok(Handle { asks, task })
    }
}

struct Running {
    tasks: JoinSet<()>,
    to: mpsc::Sender<(SourceName, Report)>,
}

impl Running {
    fn start<S: Source>(&mut self, source: S) {
        self.tasks.spawn(source.run(Reports { source: S::NAME, to: self.to.clone() }));
    }
}

struct Merging {
    catalogue: Catalogue,
    asks: Arc<Asks>,
    kubelet_asks: Arc<Asks>,
    pace: watch::Sender<Duration>,
    events: mpsc::Sender<SourceEvent>,
}

impl Merging {
    /// `sources` end with this.
    async fn run(mut self, mut reports: mpsc::Receiver<(SourceName, Report)>, sources: JoinSet<()>) {
        loop {
            tokio::select! {
                report = reports.recv() => match report {
                    Some((source, report)) => self.catalogue.handle(source, report),
                    None => break,
                },
                () = self.asks.some() => self.asks.take().into_iter().for_each(|uid| self.catalogue.ask(uid)),
            }
            for uid in self.catalogue.take_questions() {
                self.kubelet_asks.push(uid);
            }
            let pace = if self.catalogue.is_watching() { BESIDE } else { ALONE };
            self.pace.send_if_modified(|current| std::mem::replace(current, pace) != pace);
            while let Some(event) = self.catalogue.poll_event() {
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
        }
        drop(sources);
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
