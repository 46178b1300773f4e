//! `status` in words: the agent of a node and its gates, in a table that fits 100 columns.
//!
//! Names that pods chose are made printable: nothing in them can move the cursor.

use std::time::Duration;

use super::{age, printable, table};
use crate::{
    Time,
    status::{Gate, Live, Program, Status},
};

/// Characters of a pod's name that the table has room for.
const POD: usize = 44;

/// Seconds after which the kernel takes the agent for dead.
const STALE: f64 = 5.0;

/// The status for people, as it is at `now`.
#[must_use]
pub fn text(status: &Status, now: Time) -> String {
    let mut text = head(status, now);
    if let Some(live) = &status.live {
        text += &programs(&live.programs);
        text += &totals(live);
        text += &gates(&live.gates, now);
    } else {
        text += "\nThe agent's loop has not started, or does not answer.\n";
    }
    text
}

fn head(status: &Status, now: Time) -> String {
    let agent = &status.agent;
    let node = agent.node.as_deref().map(|node| format!(" on {}", printable(node, 60))).unwrap_or_default();
    let up = humantime::format_duration(Duration::from_secs(now.since(agent.started).as_secs()));
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let mut head = format!("conngate {}{node}: {ready}, for {up} (pid {})\n", agent.version, agent.pid);
    if let Some(age) = agent.heartbeat_age_seconds.filter(|age| *age > STALE) {
        head += &format!("  its last heartbeat is {age:.0} s old: unknown pods are not held\n");
    }
    for condition in &status.conditions {
        if let Some(why) = &condition.unmet {
            head += &format!("  waits for {}: {}\n", condition.name, printable(why, 400));
        }
    }
    if let Some(why) = &status.degraded {
        head += &format!("  degraded: {}\n", printable(why, 400));
    }
    let sources = status.live.iter().flat_map(|live| &live.sources).map(|source| {
        let state = if source.down.is_none() { "up" } else { "DOWN" };
        format!("{} {state}", source.name)
    });
    let sources: Vec<_> = sources.collect();
    if !sources.is_empty() {
        head += &format!("  pods from {}\n", sources.join(", "));
    }
    head
}

/// The programs; the cgroup that most of them hang on is said once, before them: its name may be long.
fn programs(programs: &[Program]) -> String {
    let at = |place: &str| programs.iter().filter(|program| program.attached.as_deref() == Some(place)).count();
    let place = programs.iter().filter_map(|program| program.attached.as_deref()).rev().max_by_key(|place| at(place));
    let mut table = table(&["PROGRAM", "HOOK", "STATE"]);
    for program in programs {
        let state = match (&program.attached, &program.why) {
            (Some(cgroup), _) if Some(cgroup.as_str()) == place => "attached".to_owned(),
            (Some(cgroup), _) => format!("attached to {}", printable(cgroup, 200)),
            (None, Some(why)) => format!("not attached: {}", printable(why, 200)),
            (None, None) => "not attached".to_owned(),
        };
        table.add_row([program.name.clone(), program.hook.clone(), state]);
    }
    let place = place.map(|place| format!(" at {}", printable(place, 400))).unwrap_or_default();
    format!("\nPrograms{place}:\n{table}\n")
}

fn totals(live: &Live) -> String {
    let totals = &live.totals;
    let holding = live.gates.iter().filter(|gate| gate.state == "holding").count();
    let asking = match totals.without_gate {
        0 => String::new(),
        pods => format!(" ({pods} ask for one)"),
    };
    let mut text = format!(
        "\nPods: {holding} holding, {} open, {} without a gate{asking}, {} not known yet\nConnections: {} waiting, {} held so far\n",
        live.gates.len() - holding,
        totals.not_enrolled,
        totals.unknown,
        totals.waiting,
        totals.held,
    );
    if totals.lost_records + totals.helper_errors != 0 {
        text += &format!("Lost records: {}, helper errors: {}\n", totals.lost_records, totals.helper_errors);
    }
    text
}

fn gates(gates: &[Gate], now: Time) -> String {
    if gates.is_empty() {
        return String::new();
    }
    let mut table = table(&["POD", "STATE", "REASON", "MODE", "HELD", "WAITING", "SINCE"]);
    for gate in gates {
        table.add_row([
            printable(&gate.pod, POD),
            gate.state.clone(),
            gate.reason.clone(),
            gate.mode.clone().unwrap_or_else(|| "-".to_owned()),
            gate.held.to_string(),
            gate.waiting.to_string(),
            age(now.since(gate.since)),
        ]);
    }
    format!("\n{table}\n")
}

#[cfg(test)]
mod tests;
