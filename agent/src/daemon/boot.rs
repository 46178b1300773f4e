//! Before the first agent of a node's life: attaches and pins the programs, so that what starts is held as unknown until there is one.
//!
//! It decides nothing, and need not stay: the agent finds what is pinned as it finds what an earlier agent has left. Nothing is held
//! for longer than the grace from here on, whether an agent comes or not.

use std::{
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use conngate_common::gate::AgentEntry;

use super::start::{PROGRAMS, capture_ports, classes, top};
use crate::{
    bpf::{
        load::{self, LoadError, Loaded},
        object::Object,
        pins,
    },
    clock,
    driver::{agent_entry, nanos, shared_parents},
    errors::error_chain,
    proc::kubepods::{Kubepods, pod_levels},
};

/// How often the kubelet's cgroups are looked for: it makes them long before the first container.
const LOOK: Duration = Duration::from_millis(50);

/// How long the kubelet may take from its root cgroup to those of the QoS classes.
const CLASSES: Duration = Duration::from_secs(10);

/// What it is told.
#[derive(Clone, Debug)]
pub struct Boot {
    /// How long what is unknown is held.
    pub grace: Duration,
    /// The kubepods root or a directory above it; `None`: found.
    pub cgroup_root: Option<PathBuf>,
    /// Where to pin.
    pub bpffs: PathBuf,
    /// See [`crate::bpf::load::LogLevel`].
    pub log_level: u8,
    /// Another object than the built-in one.
    pub object: Option<PathBuf>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Booted {
    /// What starts below this cgroup is held.
    Holds(PathBuf),
    /// An agent is here, or has been since the machine's start.
    Unneeded,
}

/// Loads the programs, says so with `loaded`, and attaches them as soon as the kubelet has made its root cgroup.
///
/// # Errors
/// When the kernel refuses, or nothing can be pinned: then nothing is held either.
pub fn boot(boot: &Boot, loaded: impl FnOnce()) -> anyhow::Result<Booted> {
    if !pins::programs(&boot.bpffs).is_empty() {
        return Ok(Booted::Unneeded);
    }
    let object = Object::open(boot.object.as_deref())?;
    let options = load::Options { log_level: boot.log_level, bpffs: Some(&boot.bpffs), ..Default::default() };
    let (mut bpf, _ring) = match load::load(&object, &options) {
        Err(LoadError::Held(_)) => return Ok(Booted::Unneeded),
        loaded => loaded?,
    };
    loaded();
    let kubepods = wait(boot.cgroup_root.as_deref());
    let level = kubepods.level(|top| bpf.ancestor_level(top)).context("the level of the kubepods cgroup")?;
    let Some(level) = level else { bail!("the node is a container, and this runs outside of it") };
    let grace = nanos(boot.grace);
    let mut entry = AgentEntry {
        heartbeat: clock::now(),
        stale_after_ns: grace,
        grace_ns: grace,
        // Nobody knows any pod: sockets are prepared for a hold.
        closed_gates: 1,
        ..agent_entry(&bpf, pod_levels(level), capture_ports())
    };
    bpf.maps.write_agent(entry)?;
    bpf.attach(&PROGRAMS, &kubepods.path, top(&kubepods.path))?;
    if let Some(why) = bpf.pin() {
        bail!("what is not pinned ends with this process: {why}");
    }
    tell_classes(&mut bpf, &kubepods, &mut entry)?;
    Ok(Booted::Holds(kubepods.path))
}

/// Waits for the kubelet's root cgroup.
fn wait(chosen: Option<&Path>) -> Kubepods {
    let mut said = None;
    loop {
        match Kubepods::find(chosen) {
            Ok(Some(kubepods)) => return kubepods,
            Ok(None) => {}
            Err(error) => {
                let why = error_chain(&error);
                if said.as_ref() != Some(&why) {
                    tracing::info!(why, "no kubepods cgroup yet");
                    said = Some(why);
                }
            }
        }
        sleep(LOOK);
    }
}

/// Tells the kernel of the QoS classes' cgroups, which it takes for pods until then: the kubelet makes both after its root.
fn tell_classes(bpf: &mut Loaded, kubepods: &Kubepods, entry: &mut AgentEntry) -> anyhow::Result<()> {
    let end = Instant::now() + CLASSES;
    let mut told = 0;
    while told < 2 && Instant::now() < end {
        let classes = classes(kubepods);
        if classes.len() > told {
            told = classes.len();
            entry.shared_parents = shared_parents(&classes);
            bpf.maps.write_agent(*entry)?;
        } else {
            sleep(LOOK);
        }
    }
    Ok(())
}
