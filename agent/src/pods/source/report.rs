//! What a source reports, and to whom.
//!
//! Knows nothing of other sources, or of what comes of a report.

use std::{collections::BTreeMap, convert::Infallible};

use tokio::sync::mpsc;

use super::SourceName;
use crate::{
    pods::pod::{NamespaceMeta, Pod},
    uid::PodUid,
};

/// What a source found.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// All that it knows.
    Listed {
        /// Every pod.
        pods: Vec<Pod>,
        /// Who was asked for when the list was ordered.
        asked: Vec<PodUid>,
        /// What is wrong although there is a list.
        fault: Option<String>,
    },
    /// A pod is new or has changed.
    Applied(Box<Pod>),
    /// A pod was deleted.
    Deleted {
        /// Its cgroup's UID.
        uid: PodUid,
        /// The API's.
        api_uid: PodUid,
    },
    /// What all namespaces say.
    Namespaces(BTreeMap<String, NamespaceMeta>),
    /// A namespace is new, has changed, or (`None`) was deleted.
    Namespace(String, Option<NamespaceMeta>),
    /// What follows the last report is on its way as it happens.
    Watching,
    /// Nothing can be had for now.
    Failed {
        /// What is missing, and what to do.
        why: String,
    },
}

/// Where one source reports to.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    pub(super) source: SourceName,
    pub(super) to: mpsc::Sender<(SourceName, Report)>,
}

impl Reports {
    pub(super) async fn send(&self, report: Report) {
        // Nobody listens: then this task is about to be aborted.
        let _ = self.to.send((self.source, report)).await;
    }
}

/// Something that finds pods, until it is dropped.
pub(super) trait Source: Clone + Send + 'static {
    /// Who reports.
    const NAME: SourceName;

    /// Reports what it finds, for ever.
    fn run(self, reports: Reports) -> impl Future<Output = Infallible> + Send;
}
