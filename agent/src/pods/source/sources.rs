//! Runs the sources that are configured, and puts what they report through the catalogue.
//!
//! All of it runs on a runtime of its own, and is supervised: a source that panics is said to be down and is started again.
//! Where the catalogue does, every source begins anew with all that it knows. Everything ends with the [`Handle`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    runtime,
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    SourceEvent, SourceName,
    apiserver::ApiServer,
    asks::{Asks, Unknown},
    catalogue::Catalogue,
    file::File,
    kubelet::{ALONE, BESIDE, Kubelet, KubeletConfig, KubeletConfigError},
    namespaces::Namespaces,
    report::{Report, Reports, Source},
};
use crate::{pods::supervise::Restarts, uid::PodUid};

/// Reports that wait for the catalogue.
const QUEUE: usize = 64;

/// Which source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The API server's watch; the kubelet for pods that it has not reported yet, and when it is away.
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
    /// Where the sources run, and the recorder of Events ([`crate::hand::event_loop`]).
    pub runtime: runtime::Handle,
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
    /// Whether pods are wanted with what their namespace says
    /// ([`crate::pods::defaults::Defaults::needs_namespaces`]); takes the API server.
    pub namespaces: bool,
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
    /// Asks for a pod that nobody knows; the answer is a [`SourceEvent::Answered`]. A pod that is not known is asked for again
    /// for three minutes, with an answer each time. Never blocks; asking again before the answer is the same question. False
    /// when 1024 questions wait already: ask again later.
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
    pub fn start(config: Config, events: mpsc::Sender<SourceEvent>) -> Result<Handle, ConfigError> {
        let mut sources = Vec::new();
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
            sources.push(supervised(Kubelet { config, asks: Arc::clone(&kubelet_asks), pace: paces }));
        }
        let client = || config.client.clone().ok_or_else(|| missing("the API server: a service account or KUBECONFIG"));
        if api {
            let node = config.node_name.clone().filter(|node| !node.is_empty());
            let node = node.ok_or_else(|| missing("this node's name (--node-name)"))?;
            sources.push(supervised(ApiServer { client: client()?, node }));
        }
        if !api && !kubelet {
            let manifests = config.manifests.clone().ok_or_else(|| missing("--pod-manifests"))?;
            sources.push(supervised(File::new(manifests)));
        }
        if config.namespaces {
            sources.push(supervised(Namespaces { client: client()? }));
        }
        let asks = Arc::new(Asks::default());
        let merging = Merging {
            catalogue: Catalogue::new(kubelet, config.namespaces),
            asks: Arc::clone(&asks),
            unknown: Unknown::default(),
            kubelet_asks,
            pace,
            events,
        };
        let task = config.runtime.spawn(merging.run(sources)).abort_handle();
        Ok(Handle { asks, task })
    }
}

type To = mpsc::Sender<(SourceName, Report)>;

/// A source, and what starts it.
type Supervised = (SourceName, Box<dyn Fn(&mut JoinSet<()>, To) + Send>);

fn supervised<S: Source>(source: S) -> Supervised {
    let start = move |tasks: &mut JoinSet<()>, to| {
        let (source, reports) = (source.clone(), Reports { source: S::NAME, to });
        tasks.spawn(async move {
            let mut restarts = Restarts::of(S::NAME.word());
            loop {
                let Err(why) = restarts.run(source.clone().run(reports.clone())).await;
                reports.send(Report::Failed { why }).await;
                restarts.wait().await;
            }
        });
    };
    (S::NAME, Box::new(start))
}

struct Merging {
    catalogue: Catalogue,
    asks: Arc<Asks>,
    unknown: Unknown,
    kubelet_asks: Arc<Asks>,
    pace: watch::Sender<Duration>,
    events: mpsc::Sender<SourceEvent>,
}

impl Merging {
    async fn run(mut self, sources: Vec<Supervised>) {
        let mut restarts = Restarts::of("catalogue");
        let mut failed = None;
        loop {
            // The tasks end with this turn of the loop; what a source says first is all that it knows, and puts right what was
            // left half done.
            let (to, reports) = mpsc::channel(QUEUE);
            let mut tasks = JoinSet::new();
            for (source, start) in &sources {
                if let Some(why) = failed.clone() {
                    // There is room: the queue is new, and longer than there are sources.
                    let _ = to.try_send((*source, Report::Failed { why }));
                }
                start(&mut tasks, to.clone());
            }
            let Err(why) = restarts.run(self.merge(reports)).await else { return };
            failed = Some(why);
            drop(tasks);
            restarts.wait().await;
        }
    }

    /// Ends when nobody listens any longer.
    async fn merge(&mut self, mut reports: mpsc::Receiver<(SourceName, Report)>) {
        loop {
            while let Some(event) = self.catalogue.poll_event() {
                match &event {
                    SourceEvent::Answered { uid, known: false } => self.unknown.not_known(*uid, Instant::now()),
                    SourceEvent::Answered { uid, known: true } | SourceEvent::Gone(uid) => self.unknown.forget(*uid),
                    SourceEvent::Seen(pod) => self.unknown.forget(pod.uid),
                    SourceEvent::Synced | SourceEvent::Health { .. } => {}
                }
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
            let due = self.unknown.next_due();
            tokio::select! {
                report = reports.recv() => match report {
                    Some((source, report)) => self.catalogue.handle(source, report),
                    None => return,
                },
                () = self.asks.some() => for uid in self.asks.take() {
                    self.unknown.asked(uid, Instant::now());
                    self.catalogue.ask(uid);
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.unknown.due(Instant::now()).into_iter().for_each(|uid| self.catalogue.ask(uid));
                }
            }
            for uid in self.catalogue.take_questions() {
                self.kubelet_asks.push(uid);
            }
            let pace = if self.catalogue.is_watching() { BESIDE } else { ALONE };
            self.pace.send_if_modified(|current| std::mem::replace(current, pace) != pace);
        }
    }
}

#[cfg(test)]
mod tests;
