//! Version 1 controllers beside cgroup2 that make the kernel forget whose a socket is.
//!
//! Knows nothing of programs. Before 5.15 a socket's cgroup shares its place with the tags of net_cls and net_prio: the first
//! tag that anybody sets switches the matching of sockets by cgroup2 off, until the next boot (`cgroup_sk_alloc_disable`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use procfs::process::Process;

use super::features::{Lack, kernel_version};
use crate::proc::hierarchy;

/// The files in which a tag is set: the first word of a line, or its second after an interface's name, is not 0.
const TAGS: [&str; 2] = ["net_cls.classid", "net_prio.ifpriomap"];

/// The tag that has switched the matching off, if one has.
#[must_use]
pub fn lack() -> Option<Lack> {
    if kernel_version() >= (5, 15) {
        return None;
    }
    let mounts = Process::myself().and_then(|process| process.mountinfo()).ok()?;
    let v1 = mounts.0.iter().filter(|mount| mount.fs_type == "cgroup").map(|mount| mount.mount_point.clone());
    v1.into_iter().find_map(|mount| tagged(&mount)).map(|file| Lack {
        what: "cgroups of sockets",
        why: format!("{} is in use; before Linux 5.15 that hides a socket's cgroup from every program", file.display()),
        means: "nothing is held until the node boots without it",
    })
}

/// A file with a tag in `cgroup` or below it.
fn tagged(cgroup: &Path) -> Option<PathBuf> {
    let set = |text: String| text.lines().filter_map(|line| line.split(' ').next_back()).any(|value| value != "0");
    let own = TAGS.iter().map(|name| cgroup.join(name)).find(|file| fs::read_to_string(file).is_ok_and(set));
    own.or_else(|| hierarchy::children(cgroup).ok()?.iter().find_map(|child| tagged(&child.path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_is_found_wherever_a_tag_is_set() {
        let root = tempfile::tempdir().unwrap();
        let child = root.path().join("pods/one");
        fs::create_dir_all(&child).unwrap();
        fs::write(root.path().join("net_prio.ifpriomap"), "lo 0\neth0 0\n").unwrap();
        fs::write(child.join("net_cls.classid"), "0\n").unwrap();
        assert_eq!(tagged(root.path()), None);
        fs::write(child.join("net_prio.ifpriomap"), "lo 0\neth0 5\n").unwrap();
        assert_eq!(tagged(root.path()), Some(child.join("net_prio.ifpriomap")));
        fs::write(root.path().join("net_cls.classid"), "1048577\n").unwrap();
        assert_eq!(tagged(root.path()), Some(root.path().join("net_cls.classid")));
    }
}
