//! Where pods come from: the API server's watch, the kubelet, or manifests, behind one trait and one stream of events.
//!
//! Knows nothing of gates. `catalogue` decides (pure), the sources only report, `sources` runs them. Pods once seen stay when
//! a source is down; what a source lacks is said in words that name the remedy, once per change.

mod apiserver;
mod asks;
mod catalogue;
mod explain;
mod file;
mod follow;
pub mod kubelet;
mod kubelet_client;
#[cfg(test)]
mod kubelet_testing;
pub mod kubelet_trust;
pub mod manifest;
mod namespaces;
mod report;
mod sources;

use std::{fmt, sync::Arc};

pub use apiserver::{ApiError, client};
pub(super) use explain::explain;
pub use sources::{Config, ConfigError, Handle, Kind, Sources};

use super::pod::Pod;
use crate::uid::PodUid;

/// What the sources say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceEvent {
    /// A pod is new or has changed.
    Seen(Arc<Pod>),
    /// A pod is no longer there.
    Gone(PodUid),
    /// The first full list is complete: every pod in it was seen before this. Said once.
    Synced,
    /// A source works, or works no longer.
    Health {
        /// Which.
        source: SourceName,
        /// How it is now.
        state: SourceState,
    },
    /// The answer to [`Handle::ask`]; a pod that is known was seen before this. Not known is no verdict for ever: a pod may
    /// still come.
    Answered {
        /// Who was asked for.
        uid: PodUid,
        /// Whether somebody knows it.
        known: bool,
    },
}

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceName {
    /// The API server's pods.
    ApiServer,
    /// The kubelet's pods.
    Kubelet,
    /// Manifests.
    File,
    /// The API server's namespaces, for their labels and annotations.
    Namespaces,
}

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It works.
    Up,
    /// It does not, or not wholly.
    Down {
        /// What is missing, and what to do.
        why: String,
    },
}

impl SourceName {
    /// The word for people and machines.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ApiServer => "apiserver",
            Self::Kubelet => "kubelet",
            Self::File => "file",
            Self::Namespaces => "namespaces",
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
