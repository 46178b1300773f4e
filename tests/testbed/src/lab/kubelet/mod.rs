//! A made-up node: what a kubelet with the cgroupfs driver leaves on one (pkg/kubelet/cm), without a kubelet.
//!
//! Knows nothing of network namespaces or of who reads all this. Pods are told of by manifests; each is a file that appears
//! or changes at once. Everything is gone with the node, even when its maker is killed, but for a temporary directory.

mod bpffs;
mod container;
mod pod;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use self::bpffs::Bpffs;
pub use self::{
    container::Container,
    pod::{KubePod, Qos},
};
use super::cgroup::Cgroup;

/// The root of pods below [`Node::cgroup`].
pub const KUBEPODS: &str = "kubepods";

/// A node.
#[derive(Debug)]
pub struct Node {
    cgroup: Cgroup,
    bpffs: Bpffs,
    directory: TempDir,
}

impl Node {
    /// A node whose kubelet has made its cgroups.
    pub fn new() -> Result<Self> {
        let node = Self::before_kubelet()?;
        node.make_kubepods(KUBEPODS)?;
        Ok(node)
    }

    /// A node whose kubelet has not started yet.
    pub fn before_kubelet() -> Result<Self> {
        let directory = TempDir::new().context("cannot make a directory for the node")?;
        for name in ["manifests", "root"] {
            fs::create_dir(directory.path().join(name))?;
        }
        Ok(Self { cgroup: Cgroup::new()?, bpffs: Bpffs::new()?, directory })
    }

    /// The cgroup above the pods'.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Makes a root of pods at `path` below [`Node::cgroup`], with the cgroups of the QoS classes that have one; the pods
    /// of this node are in the one at [`KUBEPODS`].
    pub fn make_kubepods(&self, path: &str) -> Result<()> {
        for class in ["burstable", "besteffort"] {
            let path = self.cgroup.path().join(path).join(class);
            fs::create_dir_all(&path).with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        }
        Ok(())
    }

    /// Removes a root of pods, with all in it.
    pub fn remove_kubepods(&self, path: &str) -> Result<()> {
        self.cgroup.child(path)?.remove()
    }

    /// The manifests' directory.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.directory.path().join("manifests")
    }

    /// The BPF file system of this node alone.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.bpffs.path()
    }

    /// Where the agent of this node is asked.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/conngate.sock")
    }

    /// The home directory of who runs the agent.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.directory.path()
    }

    /// Tells of a pod, or of something new about it.
    pub fn tell(&self, uid: &str, manifest: &Value) -> Result<()> {
        // Without an ending of a manifest's it is none yet.
        let scratch = self.manifests().join(uid);
        fs::write(&scratch, manifest.to_string())?;
        fs::rename(&scratch, self.manifest(uid)).context("cannot write a manifest")
    }

    /// Tells of a pod no longer.
    pub fn forget(&self, uid: &str) -> Result<()> {
        fs::remove_file(self.manifest(uid)).context("cannot remove a manifest")
    }

    fn manifest(&self, uid: &str) -> PathBuf {
        self.manifests().join(format!("{uid}.json"))
    }

    /// The kubelet's directory (--root-dir).
    fn kubelet(&self) -> PathBuf {
        self.directory.path().join("kubelet")
    }

    /// Where containers mount their root, each in a mount namespace of its own.
    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }
}
