//! Starting and stopping: rights, the kubepods root, programs, sources, then the loop; and what stays behind.
//!
//! Knows nothing of single pods. Whatever cannot be had is named in /readyz, and tried again: a crash loop tells nobody
//! anything.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use conngate_common::{
    counter::Program,
    gate::{CapturePorts, MAX_CAPTURE_PORTS},
    id::CgroupId,
};
use conngate_core::node::Input;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    Config,
    journal::Journal,
    run::{Daemon, Ended, sweeps},
};
use crate::{
    bpf::{
        attach::AttachError,
        load,
        load::{LoadError, Loaded},
        object::Object,
        pins,
        records::Ring,
        v1,
    },
    capabilities, clock,
    driver::{Driver, Settings, shared_parents},
    errors::error_chain,
    hand,
    metrics::Recorded,
    net::netns::NetnsWorker,
    pods::{events::Recorder, presets::Proxy, source::Sources, taint::StartupTaint},
    proc::{
        follow::Follower,
        kubepods::{Kubepods, pod_levels},
    },
    serve::{
        ServerState,
        conditions::{Condition, Conditions, Part},
        http,
        queries::{Queries, Questions},
        socket,
    },
    view::Time,
};

/// Between two tries of what may yet succeed.
const RETRY: Duration = Duration::from_secs(5);

/// The programs in the order in which they are attached: whoever tells how a hold ends comes before what holds.
pub(super) const PROGRAMS: [Program; 8] = [
    Program::SockOps,
    Program::Listen,
    Program::SetSockOpt,
    Program::Egress,
    Program::Connect4,
    Program::Connect6,
    Program::SendMsg4,
    Program::SendMsg6,
];

/// How much the sources may tell before the loop listens.
const TOLD: usize = 1024;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start a thread or hear signals, which no waiting mends.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let (queries, questions) = Queries::new();
    let state = ServerState {
        conditions: Conditions::new(clock::now()),
        recorded: Recorded::new(),
        queries,
        node: config.sources.node_name.clone(),
        started: Time::now(),
    };
    let conditions = state.conditions.clone();
    let server = hand::event_loop("serve").context("cannot start the serving thread")?;
    http::serve(&server, config.listen, state.clone());
    let recorded = state.recorded.clone();
    let _socket = socket::serve(&server, &config.socket, state)
        .inspect_err(|error| tracing::warn!(error = error_chain(error), "the command line cannot ask this agent"));
    keep_taint_off(&config, &conditions);
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = work(&config, &conditions, recorded, questions) => match ended? {},
        _ = term.recv() => tracing::info!("SIGTERM"),
        _ = int.recv() => tracing::info!("SIGINT"),
    }
    if config.detach_on_exit {
        match pins::remove_all(&config.bpffs) {
            Ok(_) => tracing::info!("removed programs and maps"),
            Err(error) => tracing::warn!(error = error_chain(&error), "cannot remove programs and maps"),
        }
    } else {
        tracing::info!("programs, maps and gates stay for the next agent");
    }
    Ok(())
}

/// Takes the startup taint off this node once the agent is ready.
fn keep_taint_off(config: &Config, conditions: &Conditions) {
    let Config { startup_taint, sources, .. } = config;
    let (Some(key), Some(node), Some(client)) = (startup_taint, &sources.node_name, &sources.client) else { return };
    let taint = StartupTaint { client: client.clone(), node: node.clone(), key: key.clone() };
    let degraded = conditions.clone();
    taint.keep_off(&sources.runtime, conditions.readiness(), move |why| degraded.degraded_because(Part::Taint, why));
}

async fn work(
    config: &Config,
    conditions: &Conditions,
    recorded: Recorded,
    questions: Questions,
) -> anyhow::Result<Infallible> {
    match capabilities::missing().as_slice() {
        [] => conditions.met(Condition::Capabilities),
        missing => conditions.unmet_because(Condition::Capabilities, format!("missing {}", missing.join(", "))),
    }
    let mut kubepods = find(config, conditions).await;
    let (mut loaded, ring) = load(config, conditions).await;
    let (tell, told) = mpsc::channel(TOLD);
    let name = config.sources.node_name.clone();
    let recorder = config.sources.client.clone().map_or_else(Recorder::nowhere, |client| {
        Recorder::start(&config.sources.runtime, client, name.as_deref().unwrap_or_default(), recorded.clone())
    });
    let sources = Sources::start(config.sources.clone(), tell)?;
    let settings = Settings {
        pod_levels: levels(&mut loaded, &kubepods, conditions).await,
        // Before the kernel hears of this agent: a class that is taken for a pod lets go of what an earlier agent held.
        shared_parents: shared_parents(&classes(&kubepods)),
        capture_ports: capture_ports(),
        probe_budget: config.probe_budget,
    };
    let worker = NetnsWorker::start(conditions.shortages().clone())?;
    let driver = Driver::new(loaded, ring, worker, settings, recorded.clone(), hand::event_loop("probes")?)?;
    let (follower, cgroups) = Follower::start(kubepods.clone())?;
    let mut daemon = Daemon {
        driver,
        follower,
        cgroups,
        sources,
        told,
        questions,
        defaults: config.defaults.clone(),
        pods: HashMap::new(),
        recorder,
        recorded,
        conditions: conditions.clone(),
        sources_say: BTreeMap::new(),
        journal: Journal::new(),
        node: name,
        series: config.series,
        sweep: sweeps(),
    };
    loop {
        let failed = match attach(daemon.driver.bpf(), &kubepods, conditions) {
            Ok(()) => {
                conditions.met(Condition::Programs);
                daemon.driver.tell(Input::Attached);
                match daemon.serve().await {
                    Ok(Ended::RootGone) => None,
                    Err(error) => Some(error_chain(&error)),
                }
            }
            Err(error) => Some(error_chain(&error)),
        };
        if let Some(why) = failed {
            conditions.unmet_because(Condition::Programs, why);
            // An event loop that fails is tried again as the programs are.
            let _ = daemon.beside(tokio::time::sleep(RETRY)).await;
        } else {
            conditions.unmet_because(Condition::Cgroups, "the kubepods cgroup is gone");
        }
        kubepods = daemon.beside(find(config, conditions)).await?;
        let levels = levels(daemon.driver.bpf(), &kubepods, conditions).await;
        daemon.driver.set_places(levels, shared_parents(&classes(&kubepods)));
        daemon.follower.follow(kubepods.clone());
    }
}

/// Finds the kubepods root, however long it takes.
async fn find(config: &Config, conditions: &Conditions) -> Kubepods {
    loop {
        let chosen = config.cgroup_root.as_deref();
        let why = match Kubepods::find(chosen) {
            Ok(Some(kubepods)) => {
                tracing::info!(path = %kubepods.path.display(), "kubepods cgroup");
                conditions.met(Condition::Cgroups);
                return kubepods;
            }
            Ok(None) => "the kubelet has not created a kubepods cgroup yet".to_owned(),
            Err(error) => error_chain(&error),
        };
        conditions.unmet_because(Condition::Cgroups, why);
        turning(conditions, tokio::time::sleep(RETRY / 10)).await;
    }
}

/// The levels of pods, however long it takes to know them.
async fn levels(loaded: &mut Loaded, kubepods: &Kubepods, conditions: &Conditions) -> [u32; 2] {
    loop {
        let why = match kubepods.level(|top| loaded.ancestor_level(top)) {
            Ok(Some(level)) => {
                conditions.met(Condition::Cgroups);
                return pod_levels(level);
            }
            Ok(None) => {
                "the node is a container, and the agent runs outside of it: the level of its pods cannot be determined"
                    .to_owned()
            }
            Err(error) => error_chain(&error),
        };
        conditions.unmet_because(Condition::Cgroups, why);
        turning(conditions, tokio::time::sleep(RETRY)).await;
    }
}

/// The cgroups of the QoS classes. None where the root is gone again, which the watch then says.
pub(super) fn classes(kubepods: &Kubepods) -> Vec<CgroupId> {
    kubepods
        .shared_parents()
        .inspect_err(|error| tracing::debug!(%error, "cannot read the QoS classes' cgroups"))
        .unwrap_or_default()
}

/// Loads the programs, however long it takes.
async fn load(config: &Config, conditions: &Conditions) -> (Loaded, Ring) {
    loop {
        let loaded = Object::open(config.bpf_object.as_deref()).map_err(LoadError::from).and_then(|object| {
            let (bpffs, ring_buffer) = (Some(config.bpffs.as_path()), config.ring_buffer);
            load::load(&object, &load::Options { log_level: config.bpf_log, bpffs, ring_buffer, ..Default::default() })
        });
        let error = match loaded {
            Ok(loaded) => return loaded,
            Err(error) => error,
        };
        conditions.unmet_because(Condition::Programs, error_chain(&error));
        let pause = if matches!(error, LoadError::Held(_)) { RETRY / 10 } else { RETRY };
        turning(conditions, tokio::time::sleep(pause)).await;
    }
}

/// The highest directory above `kubepods` that is a cgroup: the top of what is visible of the hierarchy.
pub(super) fn top(kubepods: &Path) -> &Path {
    let is_cgroup = |path: &&Path| path.join("cgroup.procs").exists();
    kubepods.ancestors().take_while(is_cgroup).last().unwrap_or(kubepods)
}

fn attach(loaded: &mut Loaded, kubepods: &Kubepods, conditions: &Conditions) -> Result<(), AttachError> {
    loaded.detach();
    loaded.attach(&PROGRAMS, &kubepods.path, top(&kubepods.path))?;
    conditions.degraded_because(Part::Pins, loaded.pin());
    say_lacks(loaded, conditions);
    Ok(())
}

/// Names what is left out.
pub(super) fn say_lacks(loaded: &Loaded, conditions: &Conditions) {
    let lacks: Vec<_> = loaded
        .lacks()
        .iter()
        .chain(&v1::lack())
        .map(|lack| format!("{}: {} ({})", lack.what, lack.why, lack.means))
        .collect();
    conditions.degraded_because(Part::Kernel, (!lacks.is_empty()).then(|| lacks.join("; ")));
}

/// Where unknown pods are captured, and whose listeners are announced: the ports of every mesh that has a preset.
pub(super) fn capture_ports() -> CapturePorts {
    let mut ports = Vec::new();
    for port in Proxy::ALL.into_iter().flat_map(|proxy| proxy.preset().tcp_ports) {
        if !ports.contains(port) {
            ports.push(*port);
        }
    }
    ports.resize(MAX_CAPTURE_PORTS, 0);
    CapturePorts(std::array::from_fn(|slot| ports[slot]))
}

/// Waits for `work`, and shows meanwhile that the loop is alive.
async fn turning<T>(conditions: &Conditions, work: impl Future<Output = T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => conditions.turn(clock::now()),
        }
    }
}
