//! The kubepods root: the cgroup below which the kubelet keeps every pod of a node, and its level in the hierarchy.
//!
//! Knows nothing of single pods. Looks through every cgroup2 mount: in a container, its own /sys/fs/cgroup shows only
//! itself, and the node's lies behind a hostPath somewhere else. Mounts of one hierarchy show the same directories, so
//! that a root which is seen twice is recognised by its id.
//!
//! Invariant: never a guess. Two roots are an error that names both.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use conngate_common::id::CgroupId;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::{
    hierarchy::{self, HierarchyError},
    layout, mountinfo,
};

/// How often a root that is not there yet is looked for: the kubelet makes it once, seconds after its start.
const RETRY: Duration = Duration::from_millis(500);

/// Why there is no kubepods root, and will not be by waiting.
#[derive(Debug, thiserror::Error)]
pub enum KubepodsError {
    /// The mounts cannot be read.
    #[error("cannot read /proc/thread-self/mountinfo")]
    Mounts(#[source] io::Error),
    /// No cgroup2 file system is mounted here.
    #[error(
        "no cgroup2 file system is mounted here: mount the node's /sys/fs/cgroup (hostPath), or cgroup2 on the node"
    )]
    NoHierarchy,
    /// The directory given is not to be had.
    #[error("--cgroup-root {path}: cannot be read")]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory given is something else.
    #[error("--cgroup-root {path}: not a directory of a cgroup2 file system")]
    NotCgroup2 {
        /// As given.
        path: PathBuf,
    },
    /// The directory given has no pods in it.
    #[error(
        "--cgroup-root {path}: neither a kubepods directory (kubepods, kubepods.slice, …-kubepods.slice) nor above one"
    )]
    NoPods {
        /// As given.
        path: PathBuf,
    },
    /// Two kubelets, or the nodes of a kind cluster seen from their host.
    #[error("more than one kubepods directory: {}; choose one with --cgroup-root", list(paths))]
    Several {
        /// All of them.
        paths: Vec<PathBuf>,
    },
    /// See [`HierarchyError`].
    #[error(transparent)]
    Cgroup(#[from] HierarchyError),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A node's kubepods root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubepods {
    /// Its directory, as this process sees it.
    pub path: PathBuf,
    /// Its id.
    pub id: CgroupId,
    depth: u32,
    top: Top,
}

/// The highest directory that can be seen above a kubepods root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Top {
    /// The hierarchy's own root.
    Root,
    /// The root of a container that is a node (kind, k3d, minikube): its level is not written anywhere.
    Inner(CgroupId),
}

impl Kubepods {
    /// Finds it in `chosen`, a kubepods root or a directory above one, or else below any cgroup2 mount. `None`: the
    /// kubelet has not made it yet.
    ///
    /// # Errors
    /// See [`KubepodsError`].
    pub fn find(chosen: Option<&Path>) -> Result<Option<Self>, KubepodsError> {
        let mut found = BTreeMap::new();
        match chosen {
            Some(path) => search_chosen(path, &mut found)?,
            None => {
                let mut points = cgroup2_mounts()?;
                if points.is_empty() {
                    return Err(KubepodsError::NoHierarchy);
                }
                // Of a root that is seen twice, the path from the hierarchy's own root tells more.
                points.sort_by_key(|point| !is_hierarchy_root(point));
                points.iter().for_each(|point| search(point, &mut found));
            }
        }
        if found.len() > 1 {
            return Err(KubepodsError::Several { paths: found.into_values().collect() });
        }
        Ok(found.pop_first().map(|(id, path)| Self::at(path, id)).transpose()?)
    }

    /// Finds it as [`Self::find`] does, waiting for the kubelet to make it.
    ///
    /// # Errors
    /// When waiting will not help.
    pub async fn wait(chosen: Option<&Path>) -> Result<Self, KubepodsError> {
        let mut tick = tokio::time::interval(RETRY);
        loop {
            tick.tick().await;
            if let Some(found) = Self::find(chosen)? {
                return Ok(found);
            }
        }
    }

    fn at(path: PathBuf, id: CgroupId) -> Result<Self, HierarchyError> {
        let (mut depth, mut top) = (0, path.as_path());
        while let Some(parent) = top.parent().filter(|parent| !is_hierarchy_root(top) && is_cgroup2(parent)) {
            (depth, top) = (depth + 1, parent);
        }
        let top = if is_hierarchy_root(top) { Top::Root } else { Top::Inner(hierarchy::id(top)?) };
        Ok(Self { path, id, depth, top })
    }

    /// Its level as `bpf_skb_ancestor_cgroup_id` counts. In a container that is a node, no path tells it, and
    /// `ancestor_level` is asked for the level at which a cgroup is an ancestor of this process; `None` when it is none.
    ///
    /// # Errors
    /// Those of `ancestor_level`.
    pub fn level<E>(&self, ancestor_level: impl FnOnce(CgroupId) -> Result<Option<u32>, E>) -> Result<Option<u32>, E> {
        match self.top {
            Top::Root => Ok(Some(self.depth)),
            Top::Inner(top) => Ok(ancestor_level(top)?.map(|above| above + self.depth)),
        }
    }

    /// The ids of the QoS directories as they are now. They lie at the level of a Guaranteed pod, and are none.
    ///
    /// # Errors
    /// When the kubepods root cannot be read.
    pub fn shared_parents(&self) -> io::Result<Vec<CgroupId>> {
        let children = hierarchy::children(&self.path)?;
        Ok(children.into_iter().filter(|child| layout::qos(&child.name).is_some()).map(|child| child.id).collect())
    }
}

/// The levels at which pods lie below a kubepods root at `level`: Guaranteed ones, and the others.
#[must_use]
pub const fn pod_levels(level: u32) -> [u32; 2] {
    [level + 1, level + 2]
}

fn cgroup2_mounts() -> Result<Vec<PathBuf>, KubepodsError> {
    let text = File::open("/proc/thread-self/mountinfo").and_then(mountinfo::read).map_err(KubepodsError::Mounts)?;
    Ok(mountinfo::mounts(&text).filter(|mount| mount.fs_type == "cgroup2").map(|mount| mount.point).collect())
}

/// Adds every kubepods root below `top` by its id, but none that lies in another: that would be in a pod.
fn search(top: &Path, found: &mut BTreeMap<CgroupId, PathBuf>) {
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        // What vanishes or cannot be read holds no pods for us.
        for child in hierarchy::children(&directory).unwrap_or_default() {
            if layout::is_root(&child.name) {
                found.entry(child.id).or_insert(child.path);
            } else {
                open.push(child.path);
            }
        }
    }
}

fn search_chosen(path: &Path, found: &mut BTreeMap<CgroupId, PathBuf>) -> Result<(), KubepodsError> {
    let unreadable = |source| KubepodsError::Unreadable { path: path.to_owned(), source };
    let top = fs::canonicalize(path).map_err(unreadable)?;
    if !top.is_dir() || !is_cgroup2(&top) {
        return Err(KubepodsError::NotCgroup2 { path: path.to_owned() });
    }
    // A hostPath may have given it another name: then what is in it tells.
    let named = top.file_name().and_then(|name| name.to_str()).is_some_and(layout::is_root);
    let children = hierarchy::children(&top).map_err(unreadable)?;
    if named || children.iter().any(|child| layout::qos(&child.name).is_some() || layout::pod(&child.name).is_some()) {
        found.insert(hierarchy::id(&top)?, top);
    } else {
        search(&top, found);
    }
    if found.is_empty() { Err(KubepodsError::NoPods { path: path.to_owned() }) } else { Ok(()) }
}

/// Only the hierarchy's own root has no cgroup.events (CFTYPE_NOT_ON_ROOT in kernel/cgroup/cgroup.c), whatever a cgroup
/// namespace shows as `/`. A cgroup that is gone has neither file.
fn is_hierarchy_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.events").exists() && cgroup.join("cgroup.procs").exists()
}

fn is_cgroup2(path: &Path) -> bool {
    statfs(path).is_ok_and(|statfs| statfs.filesystem_type() == CGROUP2_SUPER_MAGIC)
}
