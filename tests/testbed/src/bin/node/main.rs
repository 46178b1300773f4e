//! conngate-test-node: the processes that a node of the test cluster consists of before anything runs in it.
//!
//! Knows nothing of Kubernetes. Started by the library (`conngate_testbed::cluster`), not by people.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;
use clap::Parser;
use conngate_testbed::cluster::{
    Place,
    node::{
        enter::{self, Manner},
        init, keeper,
    },
};
use nix::unistd::Pid;

/// The processes of a test cluster's node
#[derive(Parser)]
enum Role {
    /// Make the node's namespaces, and remove what is left of it at its end
    Keep {
        /// The node's directory
        place: PathBuf,
        /// End the node when stdin ends
        #[arg(long)]
        owned: bool,
    },
    /// Be pid 1 of the node
    Init {
        /// The node's directory
        place: PathBuf,
    },
    /// Run a command inside the node
    Enter {
        /// The init's process id, as seen here
        init: i32,
        /// In the network namespace outside of the node
        #[arg(long)]
        outside: bool,
        /// Do not wait for the command's end
        #[arg(long, conflicts_with = "outside")]
        leave: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

fn main() -> Result<()> {
    match Role::parse() {
        Role::Keep { place, owned } => keeper::run(&Place::at(place), owned),
        Role::Init { place } => init::run(&Place::at(place)),
        Role::Enter { init, outside, leave, command } => {
            let manner = match (outside, leave) {
                (true, _) => Manner::WaitOutside,
                (_, true) => Manner::Leave,
                _ => Manner::Wait,
            };
            match enter::run(Pid::from_raw(init), manner, &command)? {}
        }
    }
}
