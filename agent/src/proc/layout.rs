//! Cgroup names as the kubelet and the container runtimes write them: a kubepods root, QoS classes, pods, containers.
//!
//! Knows nothing of the file system: it takes names and paths apart and follows none.
//!
//! Invariant: total. Any text has an answer, and a path that goes up (`..`) is no place at all.
//!
//! Sources: pkg/kubelet/cm/{pod_container_manager_linux,cgroup_manager_linux}.go in kubernetes for roots, QoS and pods;
//! internal/cri/server/helpers.go in containerd, internal/config/cgmgr in cri-o and cri-dockerd for containers.

use crate::uid::PodUid;

/// Digits of a container's id, in hexadecimal: containerd, cri-o and docker all make 32 random bytes.
const ID_DIGITS: usize = 64;

/// What runtimes write before a container's id.
const RUNTIMES: [&str; 3] = ["cri-containerd-", "crio-", "docker-"];

/// A pod's quality-of-service class, by the directory that its cgroup is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Directly below the kubepods root.
    Guaranteed,
    /// Below `burstable`.
    Burstable,
    /// Below `besteffort`.
    BestEffort,
}

/// A directory below a pod's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf<'a> {
    /// A container's, or the pod's sandbox: names do not tell them apart. Holds its id.
    Container(&'a str),
    /// cri-o's monitor of a container, which runs on the host.
    Conmon,
    /// Something else: perhaps a container of a runtime that we do not know.
    Unknown,
}

/// Where in a cluster's node a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The path of the kubepods root.
    pub root: &'a str,
    /// The pod's class.
    pub qos: Qos,
    /// The pod.
    pub pod: PodUid,
    /// The first directory below the pod's, when the path leads so far. What lies deeper belongs to the container.
    pub leaf: Option<Leaf<'a>>,
}

/// The pod that the cgroup at `path` is or belongs to; the outermost, where a cluster runs in a pod of another.
#[must_use]
pub fn locate(path: &str) -> Option<Location<'_>> {
    if path.split('/').any(|part| part == "." || part == "..") {
        return None;
    }
    let mut end = 0;
    for part in path.split('/') {
        end += part.len();
        if is_root(part) {
            return below(&path[..end], &path[end..]);
        }
        end += 1;
    }
    None
}

fn below<'a>(root: &'a str, rest: &'a str) -> Option<Location<'a>> {
    let mut parts = rest.split('/').filter(|part| !part.is_empty());
    let first = parts.next()?;
    let (class, name) = match qos(first) {
        Some(class) => (class, parts.next()?),
        None => (Qos::Guaranteed, first),
    };
    Some(Location { root, qos: class, pod: pod(name)?, leaf: parts.next().map(leaf) })
}

/// Whether a directory of this name is a kubepods root: `kubepods`, `kubepods.slice`, `kubelet-kubepods.slice`.
#[must_use]
pub fn is_root(name: &str) -> bool {
    is_kubepods(name.strip_suffix(".slice").unwrap_or(name))
}

fn is_kubepods(stem: &str) -> bool {
    stem.strip_suffix("kubepods").is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('-'))
}

/// The class whose directory below a kubepods root has this name; never [`Qos::Guaranteed`], which has none.
#[must_use]
pub fn qos(name: &str) -> Option<Qos> {
    let class = match name.strip_suffix(".slice") {
        None => name,
        Some(stem) => stem.rsplit_once('-').filter(|(parent, _)| is_kubepods(parent))?.1,
    };
    match class {
        "burstable" => Some(Qos::Burstable),
        "besteffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

/// The pod whose directory has this name: `pod<uid>`, or `<parent>-pod<uid with _>.slice`.
#[must_use]
pub fn pod(name: &str) -> Option<PodUid> {
    let last = match name.strip_suffix(".slice") {
        None => name,
        Some(stem) => stem.rsplit_once('-')?.1,
    };
    last.strip_prefix("pod")?.parse().ok()
}

/// Whether a directory of this name is a container's whose runtime took what the kubelet meant for systemd for a path:
/// `<pod's slice>:<prefix>:<id>`.
#[must_use]
pub fn is_meant_for_systemd(name: &str) -> bool {
    let mut parts = name.split(':');
    let slice = parts.next().filter(|slice| slice.ends_with(".slice"));
    slice.and_then(pod).is_some()
        && parts.next().is_some()
        && matches!(parts.next().map(leaf), Some(Leaf::Container(_)))
}

/// What a directory of this name below a pod's is.
#[must_use]
pub fn leaf(name: &str) -> Leaf<'_> {
    let stem = name.strip_suffix(".scope").unwrap_or(name);
    if stem.starts_with("crio-conmon-") {
        return Leaf::Conmon;
    }
    let id = RUNTIMES.iter().find_map(|runtime| stem.strip_prefix(runtime)).unwrap_or(stem);
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Leaf::Container(id) } else { Leaf::Unknown }
}

#[cfg(test)]
mod tests;
