//! Which container of its pod is a cgroup? Answered by the mounts of the container's first process.
//!
//! The kubelet makes `<root-dir>/pods/<uid>/containers/<name>/<8 hex digits>` for each start of a container and mounts it
//! on its terminationMessagePath (`makeMounts` in pkg/kubelet/kuberuntime/kuberuntime_container.go); a sandbox has none.
//! The path stands in field 4 of mountinfo, as the file system with the kubelet's directory spells it, so that only its
//! end is known. Where it is mounted says nothing: the pod chooses that.
//!
//! Knows nothing of runtimes or of the API. Invariants:
//! - The pod is the cgroup's, which nobody in it can forge; a mount of another pod's is not believed.
//! - The path must be what the kubelet writes, to its end. A copy of it inside a volume (`/pods/<uid>/volumes/…`) is none.
//! - All mounts of this pod that look so must name one container; several of one container are one answer.
//! - What a pod can still forge, with the right to mount in a user namespace and a file system of its own, is which of
//!   its own containers it is.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use nix::libc;

use super::{
    mountinfo,
    processes::{self, ProcessesError, View},
};
use crate::uid::PodUid;

/// Device and path of what is mounted on `/`.
type Root = (String, PathBuf);

/// Longest name of a container: a DNS label (RFC 1123, 2.1; `ValidateDNS1123Label`).
const MAX_NAME: usize = 63;

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its pod, as the kubelet knows it.
    pub uid: PodUid,
    /// Its name in the pod.
    pub name: String,
}

/// Why a cgroup's container has no name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Ask again: no process, or one that the runtime has not yet put into the container's file system.
    #[error("the container in {path} has not started yet")]
    NotYet {
        /// Its cgroup.
        path: PathBuf,
    },
    /// It has no termination log: it is the pod's sandbox.
    #[error("{path} is the pod's sandbox")]
    Pause {
        /// Its cgroup.
        path: PathBuf,
    },
    /// Its only termination logs are another pod's.
    #[error("a container of pod {pod} shows the termination log of pod {found}")]
    Mismatch {
        /// The pod that the cgroup is in.
        pod: PodUid,
        /// The pod in the path.
        found: PodUid,
    },
    /// It shows termination logs of more than one container.
    #[error("a container of pod {pod} shows the termination logs of {}", names.join(" and "))]
    Ambiguous {
        /// The pod.
        pod: PodUid,
        /// The containers.
        names: Vec<String>,
    },
    /// Its processes cannot be listed.
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    /// Its mounts cannot be read.
    #[error("cannot read the mounts of process {pid} (hidepid on /proc needs CAP_SYS_PTRACE)")]
    Unreadable {
        /// The process.
        pid: i32,
        /// Why.
        source: io::Error,
    },
}

/// Which container of `pod` is the cgroup at `path`?
///
/// # Errors
/// When that is not to be said (yet).
pub fn identify(path: &Path, pod: PodUid) -> Result<Identity, IdentityError> {
    look(path, pod).0
}

/// As [`identify`], and the network namespace of the container's first process; `None` while that has not left the host.
pub fn look(path: &Path, pod: PodUid) -> (Result<Identity, IdentityError>, Option<File>) {
    let not_yet = || IdentityError::NotYet { path: path.to_owned() };
    let first = match processes::first(path) {
        Ok(Some(first)) => first,
        Ok(None) => return (Err(not_yet()), None),
        Err(error) => return (Err(error.into()), None),
    };
    let view = View::of(&first);
    let unreadable = |pid| move |source| IdentityError::Unreadable { pid, source };
    let read = || {
        let mounts = match view.mountinfo() {
            Err(error) if ended(&error) => return Err(not_yet()),
            other => other.map_err(unreadable(first.pid()))?,
        };
        // Without it the container can still be told.
        let netns = view.netns().ok();
        // It may have left or ended while that was read; its directory in /proc cannot have become another process's.
        // Before the change of root the runtime is still mounting: what is missing may come.
        if !processes::contains(path, &first) || root(&mounts) == machines_root().map_err(unreadable(1))? {
            return Err(not_yet());
        }
        Ok((mounts, netns))
    };
    match read() {
        Err(error) => (Err(error), None),
        Ok((mounts, netns)) => {
            let name = recognise(&mounts, pod);
            let name = name.and_then(|name| name.ok_or_else(|| IdentityError::Pause { path: path.to_owned() }));
            (name.map(|name| Identity { uid: pod, name }), netns)
        }
    }
}

/// The name in the termination logs of `pod` among the mounts of a mountinfo; `None` where there is none.
///
/// # Errors
/// When there are only another pod's, or several names.
pub fn recognise(mountinfo: &[u8], pod: PodUid) -> Result<Option<String>, IdentityError> {
    let mut names = BTreeSet::new();
    let mut foreign = None;
    for mount in mountinfo::mounts(mountinfo) {
        match mount.root.to_str().and_then(termination_log) {
            Some((uid, name)) if uid == pod => drop(names.insert(name.to_owned())),
            Some((uid, _)) => foreign = Some(uid),
            None => {}
        }
    }
    match (names.len(), foreign) {
        (0, Some(found)) => Err(IdentityError::Mismatch { pod, found }),
        (0 | 1, _) => Ok(names.pop_first()),
        _ => Err(IdentityError::Ambiguous { pod, names: names.into_iter().collect() }),
    }
}

/// Pod and container of a termination log, from the path of its file. The first `/pods/<uid>/` in it counts: below the
/// kubelet's directory everything else is a volume or a plug-in's, and what is in those is the pod's to choose.
fn termination_log(path: &str) -> Option<(PodUid, &str)> {
    let parts: Vec<_> = path.split('/').collect();
    let (at, uid) = parts.windows(2).enumerate().find_map(|(at, pair)| {
        (pair[0] == "pods").then_some(())?;
        Some((at, pair[1].parse().ok()?))
    })?;
    let [_, _, "containers", name, file] = parts[at..] else { return None };
    // `makeUID` in pkg/kubelet/kuberuntime writes `%08x`.
    let is_log = file.len() == 8 && file.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_log && is_dns_label(name)).then_some((uid, name))
}

fn is_dns_label(name: &str) -> bool {
    let all = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'-'));
    all && (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

/// What is mounted on `/`: a runtime's init shows the host's until it has changed over to the container's.
fn root(text: &[u8]) -> Option<Root> {
    let root = mountinfo::mounts(text).filter(|mount| mount.point == Path::new("/")).last()?;
    Some((root.device, root.root))
}

/// That of the machine, or of the node where that is a container: as long as it is up. Its table has a line for each layer of
/// each container, megabytes: it is read once, and line by line.
fn machines_root() -> io::Result<Option<Root>> {
    static ROOT: OnceLock<Root> = OnceLock::new();
    if ROOT.get().is_none() {
        let mut last = None;
        for line in BufReader::new(File::open("/proc/1/mountinfo")?).split(b'\n') {
            last = root(&line?).or(last);
        }
        if let Some(root) = last {
            let _ = ROOT.set(root);
        }
    }
    Ok(ROOT.get().cloned())
}

/// A process without mounts is a zombie (EINVAL in `mounts_open_common`, fs/proc_namespace.c) or gone.
fn ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL))
}

#[cfg(test)]
mod tests;
