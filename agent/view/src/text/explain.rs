//! `explain` in words: what is held, by whom, to where, since when and why; what it waits for; what was decided.
//!
//! Names that pods and processes chose are made printable.

use std::fmt::Write as _;

use super::{NAME, printable, state};
use crate::explain::{Explanation, Held, Policy, WaitsFor};

/// The explanation for people.
#[must_use]
pub fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, explanation);
    text
}

fn write(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { gate, not_gated, policy, waits_for, containers, connections, dns_truncated, decisions, .. } =
        explanation;
    writeln!(text, "Pod:       {} (uid {}, cgroup {})", printable(&gate.pod, NAME), gate.uid, gate.cgroup)?;
    writeln!(text, "Gate:      {}, since {}", state(&gate.state, &gate.reason), gate.since)?;
    if let Some(why) = not_gated {
        writeln!(text, "No gate:   {}", printable(why, 1000))?;
    }
    if let Some(policy) = policy {
        write_policy(text, policy)?;
    }
    if let Some(waits_for) = waits_for {
        write_waits_for(text, waits_for)?;
    }
    for (number, container) in containers.iter().enumerate() {
        let name = if container.name.is_empty() { "(sandbox, or not known)" } else { &container.name };
        let label = if number == 0 { "Containers:" } else { "" };
        writeln!(text, "{label:<10} {} {}", printable(name, NAME), container.class)?;
    }
    writeln!(text, "\nHeld now: {} (since this gate was closed: {})", gate.waiting, gate.held)?;
    for held in connections {
        write_held(text, held)?;
    }
    if *dns_truncated != 0 {
        writeln!(text, "DNS queries answered as truncated: {dns_truncated}; their lookups continue over TCP")?;
    }
    writeln!(text, "\nDecisions:")?;
    for decision in decisions {
        let told = |reason: &&String| !decision.what.ends_with(reason.as_str());
        let reason = decision.reason.as_ref().filter(told).map(|reason| format!(" ({reason})")).unwrap_or_default();
        writeln!(text, "  {}  {}{reason}", decision.at.of_day(), printable(&decision.what, 400))?;
    }
    Ok(())
}

/// What it asks for, with where that comes from if it is not the pod itself.
fn write_policy(text: &mut String, policy: &Policy) -> std::fmt::Result {
    let from = |name: &str| {
        let origin = policy.origins.get(name).filter(|origin| *origin != "the pod");
        origin.map(|origin| format!(" (from {})", printable(origin, NAME))).unwrap_or_default()
    };
    let regate =
        policy.regate_seconds.map(|seconds| format!(", regate {seconds} s{}", from("regate"))).unwrap_or_default();
    let dns = if policy.dns_truncate { String::new() } else { format!(", dns-truncate off{}", from("dns-truncate")) };
    let ports: Vec<_> = policy.capture_ports.iter().map(u16::to_string).collect();
    writeln!(
        text,
        "Asks for:  mode {}{}, timeout {} s{}, then {}{}{regate}; proxy {}{}{}, captured on {}{}{dns}",
        policy.mode,
        from("mode"),
        policy.timeout_seconds,
        from("timeout"),
        policy.on_timeout,
        from("on-timeout"),
        policy.proxy.as_deref().unwrap_or("none"),
        if policy.native_sidecar { " (native sidecar)" } else { "" },
        from("proxy"),
        ports.join(", "),
        from("capture-ports")
    )
}

fn write_waits_for(text: &mut String, waits_for: &WaitsFor) -> std::fmt::Result {
    write!(text, "Waits for: {}", printable(&waits_for.what, 400))?;
    if let (Some(answer), Some(asked)) = (&waits_for.answer, waits_for.asked) {
        write!(text, "; last answer at {}: {}", asked.of_day(), printable(answer, 200))?;
    }
    match waits_for.until {
        Some(until) => writeln!(text, "; opens at {} at the latest", until.of_day()),
        None => writeln!(text, "; nothing is held yet"),
    }
}

fn write_held(text: &mut String, held: &Held) -> std::fmt::Result {
    let connection = &held.connection;
    let container = connection.container.as_deref().unwrap_or("?");
    let process = match &connection.process {
        Some(process) => format!("{} (pid {}, uid {})", printable(&process.name, 64), process.pid, process.uid),
        None => "unknown process".to_owned(),
    };
    writeln!(
        text,
        "  {} -> {} (port {}), {}, for {:.3} s, {}",
        printable(container, NAME),
        connection.destination,
        connection.capture_port,
        process,
        held.held_seconds,
        connection.reason
    )
}

#[cfg(test)]
mod tests;
