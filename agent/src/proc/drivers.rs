//! Two cgroup drivers on one node: the kubelet makes its pods' cgroups by way of systemd, the runtime its containers' by itself.
//!
//! Then the kubelet's stay empty, and runc takes `SLICE:PREFIX:ID`, which is meant for systemd, for a name below the parent of
//! its own cgroup (libcontainer/cgroups/fs2/defaultpath.go in runc, 1.1 to 1.3). No other mixture lets a container start.
//! Nothing of such a node is held: no program that hangs on the kubelet's cgroups sees its connections.

use std::path::{Path, PathBuf};

use super::{hierarchy, layout, pods};

/// The first container of a pod that is not below the kubepods root at `root`, where all of that root's pods are empty.
#[must_use]
pub fn astray(root: &Path) -> Option<PathBuf> {
    let pods = pods::walk(root, |_| {}).ok()?;
    // One that has a container is enough: a node has one runtime.
    let is_empty = |pod: &pods::PodCgroup| pod.containers().is_ok_and(|containers| containers.is_empty());
    if pods.is_empty() || !pods.iter().all(is_empty) {
        return None;
    }
    let is_cgroup = |path: &&Path| path.join("cgroup.procs").exists();
    root.ancestors().skip(1).take_while(is_cgroup).find_map(|above| below(above, root))
}

/// A container of a pod among the children of `above` and theirs, but not below `root`.
fn below(above: &Path, root: &Path) -> Option<PathBuf> {
    let children = hierarchy::children(above).unwrap_or_default();
    let grandchildren =
        children.iter().filter(|child| child.path != root).filter_map(|child| hierarchy::children(&child.path).ok());
    let all = grandchildren.flatten().chain(children.iter().cloned());
    let mut found = all.filter(|child| layout::is_meant_for_systemd(&child.name)).map(|child| child.path);
    found.next()
}
