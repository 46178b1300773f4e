//! A cgroup of our own that plays a node's, and tests that run themselves again elsewhere.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use conngate::proc::{hierarchy::Hierarchy, processes};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::patience;
pub(crate) use crate::wait::wait_for;

pub(crate) const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A cgroup below this process's own; when dropped, its processes are killed and it is removed with all below.
pub(crate) struct Node {
    path: PathBuf,
}

impl Node {
    pub(crate) fn new() -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let own = Hierarchy::find().unwrap().own().unwrap();
        let path = own.join(format!("conngate-node-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the cgroup at `relative`, and those above it.
    pub(crate) fn make(&self, relative: &str) -> PathBuf {
        let path = self.path.join(relative);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let start = Instant::now();
        while remove(&self.path).is_err() && start.elapsed() < patience() {
            for pid in processes::all(&self.path).unwrap_or_default() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            thread::yield_now();
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    fs::remove_dir(path)
}

/// What marks the second run of a test.
const INSIDE: &str = "CONNGATE_TEST_INSIDE";

/// The values that the first run of this test gave to this, its second; `None` in the first.
pub(crate) fn inside() -> Option<Vec<String>> {
    env::var(INSIDE).ok().map(|values| values.split('\n').map(str::to_owned).collect())
}

/// Runs `test` again, from a shell script that makes its surroundings: `$1`… are `values`, `$RUN` is what runs the test.
pub(crate) fn run_inside(test: &str, script: &str, values: &[&str]) {
    let output = Command::new("sh")
        .args(["-ec", script, "sh"])
        .args(values)
        .env("RUN", format!("{} --exact {test} --ignored --nocapture", env::current_exe().unwrap().display()))
        .env(INSIDE, values.join("\n"))
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
