//! `bench fairness`: how soon a victim's connection is made while another pod attacks, attack by attack, beside the quiet case.
//!
//! Knows nothing of how an attack works (the laboratory's `siege`). All victims are held before the attack; once it bears on
//! the agent they are released one after the other, a moment apart that no probe's rhythm meets.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use conngate_testbed::{
    lab::{
        self, Node, Pod,
        siege::{Attack, Siege},
        upstream::raise_file_limit,
    },
    report::CONNECTED,
    step::step,
};
use serde::Serialize;

use crate::{
    machine::Machine,
    report::{self, table},
    statistics::Sample,
};

/// What the median may be, milliseconds.
const GOAL_P50: f64 = 10.0;

/// The kubelet's patience with /healthz, as deploy/ has it.
const KUBELET: Duration = Duration::from_secs(5);

/// From a victim's first 200 to its connection, and how well the agent is, attack by attack
#[derive(Args)]
pub(super) struct Options {
    /// Victims of each attack
    #[arg(long, default_value_t = 20)]
    victims: usize,
}

#[derive(Serialize)]
struct Figures {
    machine: Machine,
    rows: Vec<Row>,
}

/// One attack, or none.
#[derive(Serialize)]
struct Row {
    attack: Option<Attack>,
    /// From the proxy's first 200 to connect()'s return.
    released_ms: Vec<f64>,
    /// Connections that a proxy had before it said 200, and those that failed.
    early: usize,
    failed: usize,
    oldest_heartbeat_ms: f64,
    healthz_asked: usize,
    /// With 200, within the kubelet's patience.
    healthz_answered: usize,
}

pub(super) fn run(options: &Options) -> Result<()> {
    let machine = Machine::here()?;
    println!("{}", machine.line());
    raise_file_limit()?;
    let mut rows = Vec::new();
    for attack in std::iter::once(None).chain(Attack::ALL.map(Some)) {
        let mut row = None;
        step(name(attack), || {
            lab::run(|| {
                row = measure(options.victims, attack)?;
                Ok(())
            })
        })?;
        rows.extend(row);
    }
    println!("\n{}", summary(&rows)?);
    report::write("fairness", &Figures { machine, rows })
}

fn name(attack: Option<Attack>) -> &'static str {
    attack.map_or("quiet", Attack::name)
}

/// `None`: the machine lacks something for the attack, which is said.
fn measure(victims: usize, attack: Option<Attack>) -> Result<Option<Row>> {
    let node = Node::new()?;
    let homes = (0..=victims).map(|_| Pod::alone()).collect::<Result<Vec<_>>>()?;
    let mut siege = Siege::quiet(&node, &homes[1..])?;
    if let Some(attack) = attack
        && let Some(lack) = siege.attack(&node, &homes[0], attack)?
    {
        eprintln!("    left out: {lack}");
        return Ok(None);
    }
    let mut releases = Vec::new();
    for victim in siege.victims.drain(..) {
        thread::sleep(Duration::from_micros(fastrand::u64(50_000..700_000)));
        releases.push(victim.release()?);
    }
    let watched = siege.end()?;
    let is_made = |release: &&lab::siege::Release| release.connection.outcome == CONNECTED;
    let released_ms: Vec<_> =
        releases.iter().filter(is_made).map(|release| release.after_ready().as_secs_f64() * 1e3).collect();
    let answered = watched.healthz.iter().filter(|asked| asked.is_healthy && asked.after < KUBELET).count();
    Ok(Some(Row {
        attack,
        early: releases.iter().map(|release| release.early).sum(),
        failed: releases.len() - released_ms.len(),
        released_ms,
        oldest_heartbeat_ms: watched.oldest.as_secs_f64() * 1e3,
        healthz_asked: watched.healthz.len(),
        healthz_answered: answered,
    }))
}

fn summary(rows: &[Row]) -> Result<String> {
    let header = [
        "first 200 to connected, ms",
        "n",
        "p50",
        "p99",
        "max",
        "early",
        "failed",
        "oldest heartbeat, ms",
        "/healthz answered",
    ];
    let mut cells = Vec::new();
    let mut missed = Vec::new();
    for row in rows {
        let sample = Sample::of(row.released_ms.iter().copied()).context("no connection was made")?;
        let [p50, p99, max] = [50, 99, 100].map(|percent| format!("{:.2}", sample.percentile(percent)));
        if sample.percentile(50) > GOAL_P50 {
            missed.push(name(row.attack));
        }
        cells.push([
            name(row.attack).to_owned(),
            row.released_ms.len().to_string(),
            p50,
            p99,
            max,
            row.early.to_string(),
            row.failed.to_string(),
            format!("{:.0}", row.oldest_heartbeat_ms),
            format!("{} of {}", row.healthz_answered, row.healthz_asked),
        ]);
    }
    let verdict = if missed.is_empty() { "is met".to_owned() } else { format!("is MISSED: {}", missed.join(", ")) };
    Ok(format!("{}\nthe goal of {GOAL_P50} ms at p50 {verdict}", table(header, cells)))
}
