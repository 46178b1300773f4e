//! Where things are: what is built once, and what belongs to one node.
//!
//! Knows nothing of what lies there. Everything is below target/cluster and can be made again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::cgroups;
use crate::checkout;

/// target/cluster/`name`, shared by all nodes of this checkout.
pub(super) fn shared(name: &str) -> PathBuf {
    checkout().join("target/cluster").join(name)
}

/// The Go modules and their programs' sources.
pub(super) fn modules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster")
}

/// The directory of one node. Its name decides who may use it: two nodes never share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(PathBuf);

impl Place {
    /// Of the node that `cargo xtask cluster up` starts.
    #[must_use]
    pub fn up() -> Self {
        Self(shared("up"))
    }

    /// Of the node that a test's process starts and owns.
    #[must_use]
    pub fn test() -> Self {
        Self(shared("test"))
    }

    /// The place at `directory`, as [`Place::directory`] gave it.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// Locked by the keeper for as long as the node exists; holds the init's process id.
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Everything that goes with the node.
    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// What is added to the machine's /etc inside the node.
    pub(super) fn etc(&self) -> PathBuf {
        self.state().join("etc/upper")
    }

    /// The output of a component. It stays after the node, until the next one.
    pub(super) fn log(&self, component: &str) -> PathBuf {
        self.0.join("logs").join(format!("{component}.log"))
    }

    /// The node's cgroup, a name at the top of each hierarchy. Another checkout has another one.
    #[must_use]
    pub fn cgroup(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        format!("conngate-cluster-{:08x}", hasher.finish() >> 32)
    }

    /// What of a node here is left on the machine, or in use: its state, and its cgroups in every hierarchy.
    pub fn remains(&self) -> Result<Vec<PathBuf>> {
        let mut paths = cgroups::directories(&self.cgroup())?;
        paths.push(self.state());
        paths.retain(|path| path.exists());
        Ok(paths)
    }
}
