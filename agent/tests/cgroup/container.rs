//! A process in a cgroup and in a mount namespace of its own, like a container's.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// What is done before the change of root: `$1` is the root, `$2` the kubelet's directory.
const PREPARE: &str = r#"
    echo 0 > "$0/cgroup.procs"
    [ "$1" = host ] && exec sleep 1000
    mount -t tmpfs root "$1"
    for directory in bin lib lib64 usr; do
        [ -e "/$directory" ] && mkdir "$1/$directory" && mount --bind "/$directory" "$1/$directory"
    done
    mkdir "$1/mnt"
"#;

/// The change itself; mountinfo shows the same after a runtime's pivot_root.
const ENTER: &str = r#"exec chroot "$1" sleep 1000"#;

/// The kubelet's directory of one pod, and where containers get their roots.
pub(crate) struct Kubelet {
    pub(crate) directory: TempDir,
    root: TempDir,
}

/// A running process, ended when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Kubelet {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), root: TempDir::new().unwrap() }
    }

    /// Makes a file below the kubelet's directory.
    pub(crate) fn file(&self, relative: &str) {
        let path = self.directory.path().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    /// Starts a container in `cgroup` after `mounts`, shell commands in which `$1` is its root and `$2` this directory.
    pub(crate) fn start(&self, cgroup: &Path, mounts: &str) -> Process {
        self.spawn(cgroup, self.root.path(), &format!("{PREPARE}{mounts}{ENTER}"))
    }

    /// Starts a process in `cgroup` that has not left the host's root, like a runtime's init.
    pub(crate) fn start_on_host(&self, cgroup: &Path) -> Process {
        self.spawn(cgroup, Path::new("host"), PREPARE)
    }

    fn spawn(&self, cgroup: &Path, root: &Path, script: &str) -> Process {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script]);
        command.args([cgroup, root, self.directory.path()]).stdin(Stdio::null());
        Process(command.spawn().unwrap())
    }
}
