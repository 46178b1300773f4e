//! The node's view of the machine's files: the same, but with an /etc, /var and /run of its own.
//!
//! Knows nothing of who uses them. All default paths of Kubernetes (/var/lib/kubelet, /run/containerd, /etc/cni,
//! /sys/fs/bpf, …) are the node's own, and none of them is made on the machine.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::super::place::Place;
use crate::lab::Namespace;

/// Bound from the state directory, not part of the overlay: what pods mount should come from a file system like any
/// node's.
const DATA: [&str; 2] = ["/var/lib/kubelet", "/var/log"];

/// In memory, about a gigabyte with a mesh: its thousands of files need not be removed from a disk one by one.
const IMAGES: &str = "/var/lib/containerd";

/// Where the network namespace outside of the node has its name, inside the node.
pub const OUTSIDE: &str = "/run/netns/outside";

/// Makes all mounts. The caller is alone in a new mount namespace.
pub(super) fn make(place: &Place) -> Result<()> {
    propagation(MsFlags::MS_PRIVATE)?;
    let state = place.state();
    for directory in ["etc", "var"] {
        overlay(&state.join(directory), &Path::new("/").join(directory))?;
    }
    for path in DATA {
        let source = state.join("data").join(path.trim_start_matches('/'));
        fs::create_dir_all(&source)?;
        fs::create_dir_all(path).with_context(|| format!("cannot make {path} inside the node"))?;
        bind(&source, Path::new(path))?;
    }
    fs::create_dir_all(IMAGES)?;
    for path in [IMAGES, "/run"] {
        new("tmpfs", path, Some("mode=755"))?;
    }
    new("proc", "/proc", None)?;
    new("bpf", "/sys/fs/bpf", Some("mode=0700"))?;
    // What a pod mounts with Bidirectional propagation has to arrive in the others.
    propagation(MsFlags::MS_SHARED)
}

/// Gives `namespace` the name [`OUTSIDE`].
pub(super) fn name_namespace(namespace: &Namespace) -> Result<()> {
    let name = Path::new(OUTSIDE);
    fs::create_dir_all(name.parent().context("a name is in a directory")?)?;
    File::create(name)?;
    bind(&namespace.path(), name)
}

fn propagation(kind: MsFlags) -> Result<()> {
    let whole = mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | kind, None::<&str>);
    whole.context("cannot change the propagation of mounts")
}

/// Lays `state`/upper over `target`.
fn overlay(state: &Path, target: &Path) -> Result<()> {
    let (upper, work) = (state.join("upper"), state.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let [lower, upper, work] = [target, &upper, &work].map(Path::display);
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let mounted = mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    mounted.with_context(|| format!("cannot lay {upper} over {lower}"))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot bind {} to {}", source.display(), target.display()))
}

fn new(kind: &str, target: &str, options: Option<&str>) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("cannot mount a {kind} at {target}"))
}
