//! `conngate status`: the agent of this node and its gates, in a table that fits 100 columns.
//!
//! Knows nothing of how it is found out. Names that pods chose are made printable: nothing in them can move the cursor.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use hyper::Method;

use super::{Output, client::Client, print, print_json};
use crate::{
    exit::Exit,
    printable::printable,
    values::interval,
    view::{
        Time,
        status::{Gate, Live, Program, Status},
    },
};

/// Columns that the table fits into.
const WIDTH: u16 = 100;

/// Characters of a pod's name that the table has room for.
const POD: usize = 44;

/// Seconds after which the kernel takes the agent for dead.
const STALE: f64 = 5.0;

/// Options of `conngate status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Exit status: 0 when the agent is ready, 1 when it is not, 125 when it cannot be asked.")]
pub struct Options {
    /// The agent.
    #[command(flatten)]
    pub client: Client,
    /// Show it again and again, until a signal ends it.
    #[arg(long)]
    pub watch: bool,
    /// How often, with --watch (100ms to 1h).
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}

/// Shows it.
///
/// # Errors
/// When the agent cannot be asked.
pub fn status(options: &Options) -> anyhow::Result<Exit> {
    options.client.block_on(async {
        loop {
            let status: Status = options.client.ask(Method::GET, "/v1/status").await?;
            match options.client.output {
                Output::Json => print_json(&status)?,
                Output::Text => {
                    // From the top of an empty screen, where there is one.
                    let clear = if options.watch && std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
                    print(&format!("{clear}{}\n", text(&status, Time::now())))?;
                }
            }
            if !options.watch {
                return Ok(if status.ready { Exit::Success } else { Exit::No });
            }
            tokio::time::sleep(options.interval).await;
        }
    })
}

/// The status for people, as it is at `now`.
#[must_use]
pub fn text(status: &Status, now: Time) -> String {
    let mut text = head(status, now);
    if let Some(live) = &status.live {
        text += &programs(&live.programs);
        text += &totals(live);
        text += &gates(&live.gates, now);
    } else {
        text += "\nThe agent's loop has not begun, or does not answer.\n";
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
        head += &format!("  its last heartbeat is {age:.0} s old: pods that nobody knows are not held\n");
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

fn programs(programs: &[Program]) -> String {
    let mut table = table(&["PROGRAM", "HOOK", "ATTACHED TO"]);
    for program in programs {
        let place = match (&program.attached, &program.why) {
            (Some(cgroup), _) => printable(cgroup, 70),
            (None, Some(why)) => format!("not attached: {}", printable(why, 200)),
            (None, None) => "not attached".to_owned(),
        };
        table.add_row([program.name.clone(), program.hook.clone(), place]);
    }
    format!("\n{table}\n")
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

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH).set_header(header);
    table
}

/// A duration in its largest unit, as kubectl shows ages.
fn age(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests;
