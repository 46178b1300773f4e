//! The cgroup2 hierarchy: found in mountinfo, never assumed (hybrid hosts mount it below /sys/fs/cgroup/unified).
//!
//! Knows nothing of what a cgroup is used for.

use std::{
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::OnceLock,
};

use conngate_common::id::CgroupId;
use procfs::{
    ProcError,
    process::{MountInfo, Process},
};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// `PROC_CGROUP_INIT_INO` in include/linux/proc_ns.h: the inode of the initial cgroup namespace.
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Why the hierarchy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HierarchyError {
    /// /proc cannot be read.
    #[error("cannot read {what} of this process")]
    Proc {
        /// The file.
        what: &'static str,
        /// Why.
        source: ProcError,
    },
    /// No cgroup2 file system is mounted.
    #[error("no cgroup2 file system is mounted: conngate needs one (mount -t cgroup2 none /sys/fs/cgroup)")]
    NotMounted,
    /// None is, and none can be.
    #[error("no cgroup2 file system is mounted where this process sees it, and conngate cannot mount one of its own")]
    CannotMount {
        /// Why.
        source: io::Error,
    },
    /// The process's own cgroup is not below the mount.
    #[error("this process's cgroup {path} lies outside of the cgroup2 mount {mount}")]
    Outside {
        /// From /proc/self/cgroup.
        path: PathBuf,
        /// The mount point.
        mount: PathBuf,
    },
    /// The level of a cgroup cannot be seen from a cgroup namespace.
    #[error("conngate runs in a cgroup namespace of its own: start the container with the host's (--cgroupns=host)")]
    Namespaced,
    /// A cgroup's directory cannot be read.
    #[error("cannot read the cgroup {path}")]
    Read {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The mounted cgroup2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where its top is mounted.
    pub mount: PathBuf,
}

impl Hierarchy {
    /// Finds the mount whose root is the hierarchy's own. Where none is seen (`ip netns exec` puts an empty /sys in the place of
    /// the machine's), a mount of our own, which nobody else sees.
    ///
    /// # Errors
    /// When there is none, or this process lives in a cgroup namespace.
    pub fn find() -> Result<Self, HierarchyError> {
        let namespace = std::fs::metadata("/proc/self/ns/cgroup")
            .map_err(|source| HierarchyError::Read { path: "/proc/self/ns/cgroup".into(), source })?;
        if namespace.ino() != INITIAL_NAMESPACE {
            return Err(HierarchyError::Namespaced);
        }
        let mounts = Process::myself()
            .and_then(|process| process.mountinfo())
            .map_err(|source| HierarchyError::Proc { what: "mountinfo", source })?;
        match Self::among(mounts.0.iter()) {
            Some(found) => Ok(found),
            None => own_mount().map(|mount| Self { mount }).map_err(|source| HierarchyError::CannotMount { source }),
        }
    }

    fn among<'a>(mounts: impl Iterator<Item = &'a MountInfo>) -> Option<Self> {
        let mut found = mounts.filter(|mount| mount.fs_type == "cgroup2" && mount.root == "/");
        // The last mount on a mount point is the one that is seen; several mount points show the same hierarchy.
        found.next().map(|mount| Self { mount: mount.mount_point.clone() })
    }

    /// The cgroup of this process.
    ///
    /// # Errors
    /// When /proc cannot be read or the cgroup is not below the mount.
    pub fn own(&self) -> Result<PathBuf, HierarchyError> {
        let cgroups = Process::myself()
            .and_then(|process| process.cgroups())
            .map_err(|source| HierarchyError::Proc { what: "cgroup", source })?;
        let unified = cgroups.0.into_iter().find(|cgroup| cgroup.hierarchy == 0).ok_or(HierarchyError::NotMounted)?;
        self.below(&unified.pathname)
    }

    fn below(&self, path: &str) -> Result<PathBuf, HierarchyError> {
        let relative = path.trim_start_matches('/');
        if Path::new(relative).components().any(|part| part == std::path::Component::ParentDir) {
            return Err(HierarchyError::Outside { path: path.into(), mount: self.mount.clone() });
        }
        Ok(if relative.is_empty() { self.mount.clone() } else { self.mount.join(relative) })
    }

    /// The level of a cgroup: 0 is the root, as `bpf_skb_ancestor_cgroup_id` counts.
    #[must_use]
    pub fn level(&self, cgroup: &Path) -> u32 {
        let depth = cgroup.strip_prefix(&self.mount).map_or(0, |relative| relative.components().count());
        u32::try_from(depth).unwrap_or(u32::MAX)
    }
}

/// Mounts the hierarchy where no path leads to (fsopen and fsmount, Linux 5.2): the path is that of the descriptor, which this
/// process and those that it forks keep, and those that it starts do not get.
fn own_mount() -> io::Result<PathBuf> {
    static MOUNT: OnceLock<OwnedFd> = OnceLock::new();
    let mount = match MOUNT.get() {
        Some(mount) => mount,
        None => {
            let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(context.as_fd())?;
            let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
            MOUNT.get_or_init(|| mount)
        }
    };
    Ok(format!("/proc/self/fd/{}", mount.as_raw_fd()).into())
}

/// The id of the cgroup at `path`: its directory's inode.
///
/// # Errors
/// When the directory cannot be read.
pub fn id(path: &Path) -> Result<CgroupId, HierarchyError> {
    let metadata = std::fs::metadata(path).map_err(|source| HierarchyError::Read { path: path.to_owned(), source })?;
    Ok(CgroupId(metadata.ino()))
}

/// A cgroup directly below another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its directory's name.
    pub name: String,
    /// Its id.
    pub id: CgroupId,
    /// Its directory.
    pub path: PathBuf,
}

/// The cgroups directly below the one at `path`. Names that are not UTF-8 are not ours, and left out.
///
/// # Errors
/// When the directory cannot be listed.
pub fn children(path: &Path) -> io::Result<Vec<Child>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            children.push(Child { name, id: CgroupId(entry.ino()), path: entry.path() });
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy() -> Hierarchy {
        Hierarchy { mount: "/sys/fs/cgroup/unified".into() }
    }

    fn mount(line: &str) -> MountInfo {
        MountInfo::from_line(line).unwrap()
    }

    #[test]
    fn hierarchy_of_a_hybrid_host_is_found_by_type_and_root() {
        let mounts = [
            mount("30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu"),
            mount("41 23 0:27 /kubepods/pod1 /some/bind rw,relatime - cgroup2 cgroup2 rw"),
            mount("42 23 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"),
        ];
        assert_eq!(Hierarchy::among(mounts.iter()), Some(hierarchy()));
        assert_eq!(Hierarchy::among(mounts[..2].iter()), None);
    }

    #[test]
    fn cgroup_outside_of_the_mount_is_refused() {
        assert!(matches!(hierarchy().below("/../other"), Err(HierarchyError::Outside { .. })));
        assert_eq!(hierarchy().below("/").unwrap(), hierarchy().mount);
        assert_eq!(hierarchy().below("/a/b").unwrap(), hierarchy().mount.join("a/b"));
    }

    #[test]
    fn level_counts_from_the_root() {
        assert_eq!(hierarchy().level(&hierarchy().mount), 0);
        assert_eq!(hierarchy().level(&hierarchy().mount.join("a/b")), 2);
    }
}
