//! What a node has: pods, pins, a running agent. None of them must be there.
//!
//! Knows nothing of what the machine can do.

use std::path::Path;

use hyper::Method;

use crate::{
    bpf::pins,
    cli::client::Client,
    errors::error_chain,
    printable::printable,
    proc::kubepods::Kubepods,
    view::{
        check::{Finding, Level, Subject},
        status::Status,
    },
};

/// The root of the node's pods, in the directory that was `chosen` or anywhere.
pub(super) fn kubepods(chosen: Option<&Path>) -> (Option<Kubepods>, Finding) {
    let finding = |level, found, means| Finding::new(level, Subject::Kubepods, found, means);
    match Kubepods::find(chosen) {
        Ok(Some(kubepods)) => {
            let path = kubepods.path.display().to_string();
            (Some(kubepods), finding(Level::Ok, path, "pods are gated there"))
        }
        Ok(None) => {
            (None, finding(Level::Ok, "none".to_owned(), "no kubelet runs here: `conngate run` gates a command"))
        }
        Err(error) if chosen.is_some() => {
            (None, finding(Level::Fail, error_chain(&error), "an agent with this --cgroup-root waits for it"))
        }
        Err(error) => (None, finding(Level::Warn, error_chain(&error), "an agent needs --cgroup-root")),
    }
}

/// What an agent has pinned; a node wants a place for it.
pub(super) fn pins(bpffs: &Path, is_node: bool) -> Finding {
    match pins::pinned(bpffs) {
        Ok(pinned) if pinned.is_empty() => {
            Finding::new(Level::Ok, Subject::Pins, "none", "no agent has left programs here")
        }
        Ok(pinned) => {
            Finding::new(Level::Ok, Subject::Pins, pinned.join(", "), "programs stay attached while an agent restarts")
        }
        Err(error) => {
            let level = if is_node { Level::Warn } else { Level::Ok };
            let means = "an agent cannot pin: its restart releases what is held";
            Finding::new(level, Subject::Pins, error_chain(&error), means)
        }
    }
}

/// The agent of this machine.
pub(super) async fn agent(client: &Client) -> Finding {
    let finding = |level, found: String, means: &str| Finding::new(level, Subject::Agent, found, means);
    if !client.socket.exists() {
        return finding(
            Level::Ok,
            format!("none at {}", client.socket.display()),
            "only `conngate agent` has a socket",
        );
    }
    match client.ask::<Status>(Method::GET, "/v1/status").await {
        Err(error) => finding(Level::Fail, format!("{error:#}"), "the agent cannot be reached"),
        Ok(Status { ready: true, degraded: Some(why), .. }) => {
            finding(Level::Warn, format!("ready, degraded: {}", printable(&why, 400)), "it gates pods, with limits")
        }
        Ok(status) if status.ready => finding(Level::Ok, format!("ready, {}", status.agent.version), "it gates pods"),
        Ok(status) => {
            let unmet = status.conditions.into_iter().filter_map(|condition| {
                let why = condition.unmet?;
                Some(format!("{}: {why}", condition.name))
            });
            finding(Level::Fail, unmet.collect::<Vec<_>>().join("; "), "the agent waits for it")
        }
    }
}
