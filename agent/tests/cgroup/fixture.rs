//! A cgroup of our own that plays a node's, and tests that run themselves again elsewhere.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use conngate_testbed::lab::{Cgroup, wait_until};

pub(crate) const UID: &str = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

/// Long enough for any busy machine; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `ready` has something.
pub(crate) fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    wait_until(PATIENCE, what, ready).unwrap()
}

/// A cgroup below this process's own; when dropped, its processes are killed and it is removed with all below.
pub(crate) struct Node(Cgroup);

impl Node {
    pub(crate) fn new() -> Self {
        Self(Cgroup::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes the cgroup at `relative`, and those above it.
    pub(crate) fn make(&self, relative: &str) -> PathBuf {
        let path = self.path().join(relative);
        fs::create_dir_all(&path).unwrap();
        path
    }
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
