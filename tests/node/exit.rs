//! However a node ends, nothing of it is left: neither processes nor cgroups nor files. Nodes without Kubernetes: what
//! removes them is the same.

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::{Cluster, Place, State},
    lab::{tool, wait_until},
};
use nix::{sys::signal::kill, unistd::Pid};
use tempfile::TempDir;

/// For the kernel, and for the keeper's removal of what it left.
const PATIENCE: Duration = Duration::from_secs(60);

/// An empty node in a directory of its own.
struct Node {
    place: Place,
    keeper: Child,
    init: Pid,
    _directory: TempDir,
}

impl Node {
    fn start(options: &[&str], stdin: Stdio) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let place = Place::at(directory.path().to_owned());
        let mut keeper = keep(&place, options, stdin)?;
        let mut word = [0; 6];
        keeper.stdout.as_mut().context("stdout is a pipe")?.read_exact(&mut word).context("the node is ready")?;
        assert_eq!(&word, b"ready\n");
        let init = Pid::from_raw(fs::read_to_string(directory.path().join("lock"))?.parse()?);
        let node = Self { place, keeper, init, _directory: directory };
        // What a running pod would be: a process inside, and a cgroup below the node's in each hierarchy.
        let remains = node.place.remains()?;
        assert!(remains.len() > 1, "state and cgroups: {remains:?}");
        for directory in remains {
            fs::create_dir(directory.join("pod"))?;
        }
        let mut enter = Command::new(tool::built("conngate-test-node", "conngate-testbed")?);
        enter.args(["enter", "--leave", &init.to_string(), "--", "sleep", "600"]);
        assert!(enter.status()?.success());
        Ok(node)
    }

    fn assert_gone(&self) -> Result<()> {
        wait_until(PATIENCE, "the init is gone", || kill(self.init, None).err())?;
        assert_eq!(self.place.remains()?, Vec::<PathBuf>::new());
        assert_eq!(Cluster::state(&self.place)?, State::Down);
        Ok(())
    }
}

fn keep(place: &Place, options: &[&str], stdin: impl Into<Stdio>) -> Result<Child> {
    fs::create_dir_all(place.directory().join("logs"))?;
    let mut keep = Command::new(tool::built("conngate-test-node", "conngate-testbed")?);
    keep.arg("keep").arg(place.directory()).args(options).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null());
    keep.spawn().context("cannot start the keeper")
}

pub(crate) fn node_of_a_killed_owner_is_gone() -> Result<()> {
    // The owner: a process that holds the other end of the keeper's stdin, and does not live to close it.
    let mut owner = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn()?;
    let mut node = Node::start(&["--owned"], owner.stdout.take().context("stdout is a pipe")?.into())?;
    owner.kill()?;
    owner.wait()?;
    assert!(node.keeper.wait()?.success());
    node.assert_gone()
}

pub(crate) fn node_of_a_killed_keeper_is_removed_by_the_next_down() -> Result<()> {
    let mut node = Node::start(&[], Stdio::null())?;
    node.keeper.kill()?;
    node.keeper.wait()?;
    wait_until(PATIENCE, "the init dies with its keeper", || kill(node.init, None).err())?;
    assert!(!node.place.remains()?.is_empty(), "nobody was there to remove it");
    Cluster::down(&node.place)?;
    node.assert_gone()
}

pub(crate) fn unfinished_node_is_removed_by_down() -> Result<()> {
    let mut node = Node::start(&[], Stdio::null())?;
    assert_eq!(Cluster::state(&node.place)?, State::Unfinished);
    assert!(Cluster::attach(&node.place).is_err());
    Cluster::down(&node.place)?;
    assert!(node.keeper.wait()?.success());
    node.assert_gone()
}

pub(crate) fn node_in_use_is_not_started_twice() -> Result<()> {
    let mut node = Node::start(&["--owned"], Stdio::piped())?;
    let second = keep(&node.place, &[], Stdio::null())?.wait()?;
    assert!(!second.success());
    assert!(kill(node.init, None).is_ok(), "the first goes on");
    let stdin: Option<ChildStdin> = node.keeper.stdin.take();
    drop(stdin);
    assert!(node.keeper.wait()?.success());
    node.assert_gone()
}
