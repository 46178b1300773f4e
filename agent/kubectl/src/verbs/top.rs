//! `kubectl conngate top`: whose connections are held, and whose would be.

use clap::Args;
use conngate_view::{
    Time,
    printable::printable,
    status::{Gate, Status},
    text::{age, table},
};

use crate::{
    answer::{Answer, each, end, merged},
    cli::{Output, Print},
    cluster::Cluster,
    exit::Exit,
    output::{print, print_json},
};

/// Options of `top`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "With -n, only pods of that namespace. WOULD HOLD: what gates in mode observe, which hold nothing, would have held."
)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) print: Print,
    /// Also show open gates.
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// Shows them.
pub(crate) async fn top(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let agents = cluster.agents().await?;
    let namespace = cluster.access.namespace.as_deref();
    let answers = each(cluster, agents, async |agent| {
        let status = cluster.ask::<Status>(agent, &["status"]).await?;
        Ok(gates(status, namespace, options.all))
    })
    .await;
    match options.print.output {
        Output::Json => print_json(&merged(&answers))?,
        Output::Text => print(&text(&answers, Time::now()))?,
    }
    Ok(end(&answers, Exit::Success))
}

/// The gates that are wanted.
fn gates(status: Status, namespace: Option<&str>, all: bool) -> Vec<Gate> {
    let mut gates = status.live.map(|live| live.gates).unwrap_or_default();
    gates.retain(|gate| all || gate.state == "holding" || gate.waiting > 0);
    gates.retain(|gate| namespace.is_none_or(|wanted| gate.pod.split('/').next() == Some(wanted)));
    gates
}

/// Those that hold most first.
fn text(answers: &[Answer<Vec<Gate>>], now: Time) -> String {
    let gates = answers.iter().flat_map(|answer| answer.said.iter().flatten().map(|gate| (&answer.agent.node, gate)));
    let mut gates: Vec<_> = gates.collect();
    if gates.is_empty() {
        return "nothing is held\n".to_owned();
    }
    gates.sort_by_key(|(_, gate)| std::cmp::Reverse((gate.waiting, gate.held)));
    let mut table = table(&["POD", "NODE", "GATE", "WAITING", "HELD", "WHY", "SINCE"]);
    for (node, gate) in gates {
        let does = match (gate.state.as_str(), gate.mode.as_deref()) {
            ("holding", Some("observe")) => "WOULD HOLD",
            ("holding", _) => "HOLDS",
            (other, _) => other,
        };
        table.add_row([
            printable(&gate.pod, 44),
            printable(node, 30),
            does.to_owned(),
            gate.waiting.to_string(),
            gate.held.to_string(),
            gate.reason.clone(),
            age(now.since(gate.since)),
        ]);
    }
    format!("{table}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Agent;

    fn gate(pod: &str, state: &str, mode: &str, waiting: u64) -> Gate {
        serde_json::from_value(serde_json::json!({
            "pod": pod, "uid": "u", "cgroup": 1, "state": state, "reason": "not-ready", "mode": mode, "held": 9,
            "waiting": waiting, "since": "2026-11-26T08:05:23Z",
        }))
        .unwrap()
    }

    #[test]
    fn text_of_gates_is_sorted_by_who_waits_and_tells_held_from_observed() {
        let of = |node: &str, gates| Answer {
            agent: Agent { node: node.to_owned(), namespace: "n".to_owned(), pod: "p".to_owned(), down: None },
            said: Ok(gates),
        };
        let observed = gate("shop/seen", "holding", "observe", 0);
        let now = observed.since;
        let answers = [of("a", vec![observed]), of("b", vec![gate("shop/web-0", "holding", "hold", 4)])];
        let text = text(&answers, now);
        let rows: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        assert_eq!(rows[0], ["shop/web-0", "b", "HOLDS", "4", "9", "not-ready", "0ms"]);
        assert_eq!(rows[1][..4], ["shop/seen", "a", "WOULD", "HOLD"]);
        assert_eq!(super::text(&[of("a", Vec::new())], now), "nothing is held\n");
    }

    #[test]
    fn gates_of_another_namespace_and_open_ones_are_left_out() {
        let mut status: Status = serde_json::from_value(serde_json::json!({
            "version": 1, "ready": true, "degraded": null, "conditions": [],
            "agent": { "version": "0.1.0", "abi": 4, "node": null, "pid": 1, "started": "2026-11-26T08:05:23Z",
                "heartbeat_age_seconds": null },
            "live": { "programs": [], "sources": [], "gates": [], "totals": { "held": 0, "waiting": 0,
                "not_enrolled": 0, "unknown": 0, "lost_records": 0, "helper_errors": 0 } },
        }))
        .unwrap();
        status.live.as_mut().unwrap().gates = vec![
            gate("shop/a", "holding", "hold", 0),
            gate("shop/b", "open", "hold", 0),
            gate("shopper/c", "holding", "hold", 1),
        ];
        let names = |namespace, all| -> Vec<String> {
            gates(status.clone(), namespace, all).into_iter().map(|gate| gate.pod).collect()
        };
        assert_eq!(names(Some("shop"), false), ["shop/a"]);
        assert_eq!(names(Some("shop"), true), ["shop/a", "shop/b"]);
        assert_eq!(names(None, false), ["shop/a", "shopper/c"]);
    }
}
