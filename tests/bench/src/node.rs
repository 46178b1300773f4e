//! `bench node`: the node agent with as many pods as a node has, whose first connections come all at once.
//!
//! Knows nothing of Kubernetes. What a node has and this has not: a kubelet and an API server (pods come from manifests,
//! read before the start), images, a CNI, a real Envoy in each pod (`proxy` listens and answers as one does), and traffic.

mod cost;
pub(super) mod proxy;
mod stage;
mod tables;

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use conngate_testbed::{
    clock::mono_ns,
    lab::{self, Agent, Node, Pod},
    step::step,
};
use serde::Serialize;

use self::{
    cost::{Cost, Meter},
    stage::{Release, Stage, Told},
};
use crate::{machine::Machine, report};

/// Many pods whose connections are held together: how soon each is told apart and released, and what the agent takes
#[derive(Args)]
pub(super) struct Options {
    /// Pods, each with a connection, a proxy and a network namespace
    #[arg(long, default_value_t = 250)]
    pods: usize,
    /// Seconds for which all are held
    #[arg(long, default_value_t = 5)]
    hold: u64,
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    pods: usize,
    /// From the agent's start to its readiness, with all pods there.
    start_ms: f64,
    told: Vec<Told>,
    released: Vec<Release>,
    costs: Vec<Cost>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let machine = Machine::here()?;
    println!("{}", machine.line());
    lab::upstream::raise_file_limit()?;
    let mut figures = None;
    lab::run(|| {
        figures = Some(measure(options, machine)?);
        Ok(())
    })?;
    let figures = figures.context("the laboratory was not opened")?;
    println!("\n{}", tables::all(&figures)?);
    report::write("node", &figures)
}

fn measure(options: &Options, machine: Machine) -> Result<Figures> {
    let node = Node::new()?;
    let namespaces =
        step("network namespaces", || (0..options.pods).map(|_| Pod::alone()).collect::<Result<Vec<_>>>())?;
    let mut stage = step("pods, proxies and clients", || Stage::new(&node, &namespaces))?;
    let begun = mono_ns();
    let agent = Agent::start(&node, &[])?;
    let start_ms = stage::milliseconds(begun, mono_ns());
    agent.wait_for("gated", options.pods)?;
    let mut meter = Meter::new(agent.pid(), "start, with all pods there")?;
    // The gates' first questions, to proxies that are not ready.
    thread::sleep(Duration::from_secs(options.hold));
    meter.lap("closed gates, nothing waits")?;
    let told = step("first connections, all at once", || stage.connect(&agent))?;
    meter.lap("all connections arrive, containers are identified")?;
    thread::sleep(Duration::from_secs(options.hold));
    meter.lap("all are held")?;
    let released = step("all proxies are ready at once", || stage.release())?;
    agent.wait_for("gate opened", options.pods)?;
    meter.lap("all are released")?;
    Ok(Figures { machine, pods: options.pods, start_ms, told, released, costs: meter.costs() })
}
