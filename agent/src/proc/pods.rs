//! The cgroups of pods and of their containers, as they are at one moment.
//!
//! Knows nothing of changes, and not which container is which: see `watch` and `identity`.

use std::{
    io,
    path::{Path, PathBuf},
};

use conngate_common::id::CgroupId;
use procfs::process::Process;

use super::{
    hierarchy,
    layout::{self, Leaf, Qos},
    processes::{self, ProcessesError},
};
use crate::uid::PodUid;

/// A pod's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCgroup {
    /// Its id, at one of the pod levels.
    pub id: CgroupId,
    /// The pod, as the kubelet knows it: of a static pod it is not the UID that the API shows.
    pub uid: PodUid,
    /// The pod's class.
    pub qos: Qos,
    /// Its directory.
    pub path: PathBuf,
}

/// A container's cgroup; the pod's sandbox is one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// Its id, one level below its pod's.
    pub id: CgroupId,
    /// The container's id, when the directory's name holds one.
    pub container: Option<String>,
    /// Its directory.
    pub path: PathBuf,
}

/// The pods below a kubepods root. `visit` sees each directory before it is listed: what is made in it later is either
/// listed, or seen by a watch that `visit` has set.
///
/// # Errors
/// When the root cannot be listed. A QoS directory that vanishes meanwhile has no pods.
pub fn walk(root: &Path, mut visit: impl FnMut(&Path)) -> io::Result<Vec<PodCgroup>> {
    let mut pods = Vec::new();
    let mut list = |directory: &Path, qos: Qos| -> io::Result<Vec<_>> {
        visit(directory);
        let (parents, others): (Vec<_>, Vec<_>) =
            hierarchy::children(directory)?.into_iter().partition(|child| layout::qos(&child.name).is_some());
        pods.extend(others.into_iter().filter_map(|child| {
            Some(PodCgroup { id: child.id, uid: layout::pod(&child.name)?, qos, path: child.path })
        }));
        Ok(parents)
    };
    for parent in list(root, Qos::Guaranteed)? {
        let Some(qos) = layout::qos(&parent.name) else { continue };
        match list(&parent.path, qos) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => drop(other?),
        }
    }
    Ok(pods)
}

impl PodCgroup {
    /// Whether it is still there: not gone, and not another one of the same name.
    #[must_use]
    pub fn exists(&self) -> bool {
        hierarchy::id(&self.path).is_ok_and(|id| id == self.id)
    }

    /// Its containers, the sandbox among them; cri-o's monitors are left out.
    ///
    /// # Errors
    /// When it cannot be listed; it may be gone.
    pub fn containers(&self) -> io::Result<Vec<ContainerCgroup>> {
        let children = hierarchy::children(&self.path)?;
        Ok(children
            .into_iter()
            .filter_map(|child| {
                let container = match layout::leaf(&child.name) {
                    Leaf::Conmon => return None,
                    Leaf::Container(id) => Some(id.to_owned()),
                    Leaf::Unknown => None,
                };
                Some(ContainerCgroup { id: child.id, container, path: child.path })
            })
            .collect())
    }

    /// The container whose cgroup is `id`, as long as it is there.
    ///
    /// # Errors
    /// As [`PodCgroup::containers`].
    pub fn container(&self, id: CgroupId) -> io::Result<Option<ContainerCgroup>> {
        Ok(self.containers()?.into_iter().find(|container| container.id == id))
    }

    /// Processes in the pod's network namespace (the node's, with hostNetwork), which may end at any time: the first one of
    /// each container, for a later one may have gone into a namespace of its own.
    ///
    /// # Errors
    /// When it cannot be listed; it may be gone.
    pub fn first_processes(&self) -> io::Result<Vec<Process>> {
        let mut first = Vec::new();
        for container in self.containers()? {
            match processes::first(&container.path) {
                Ok(process) => first.extend(process),
                Err(ProcessesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(first)
    }
}
