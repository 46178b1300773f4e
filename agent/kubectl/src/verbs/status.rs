//! `kubectl conngate status`: one line for each node; of a single one, what the agent's own `status` shows.

use std::time::Duration;

use clap::Args;
use conngate_view::{
    Time,
    printable::printable,
    status::Status,
    text::{age, status::text, table},
};

use super::until_well;
use crate::{
    answer::{Answer, each, end, merged},
    cli::{Output, Print, Wait},
    cluster::Cluster,
    exit::Exit,
    output::{print, print_json},
};

/// Options of `status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) print: Print,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Shows it.
pub(crate) async fn status(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let (answers, exit) = until_well(options.wait, async || {
        let agents = cluster.agents().await?;
        let answers = each(cluster, agents, async |agent| cluster.ask::<Status>(agent, &["status"]).await).await;
        let well = answers.iter().all(|answer| answer.said.as_ref().is_ok_and(|status| status.ready));
        Ok((answers, if well { Exit::Success } else { Exit::No }))
    })
    .await?;
    match (options.print.output, answers.as_slice()) {
        (Output::Json, answers) => print_json(&merged(answers))?,
        (Output::Text, [Answer { said: Ok(status), .. }]) => print(&format!("{}\n", text(status, Time::now())))?,
        (Output::Text, answers) => print(&summary(answers, Time::now()))?,
    }
    Ok(end(&answers, exit))
}

/// One line for each node, and below what is not well.
fn summary(answers: &[Answer<Status>], now: Time) -> String {
    let mut table = table(&["NODE", "AGENT", "HOLDING", "OPEN", "WAITING", "HELD", "VERSION", "UP"]);
    let mut notes = String::new();
    for Answer { agent, said } in answers {
        let node = printable(&agent.node, 44);
        let Ok(status) = said else {
            table.add_row([node, "NO ANSWER".to_owned()]);
            continue;
        };
        let state = match (status.ready, &status.degraded) {
            (false, _) => "NOT READY",
            (true, Some(_)) => "degraded",
            (true, None) => "ready",
        };
        let up = age(now.since(status.agent.started).max(Duration::from_secs(1)));
        let mut row = vec![node.clone(), state.to_owned()];
        match &status.live {
            Some(live) => {
                let holding = live.gates.iter().filter(|gate| gate.state == "holding").count();
                let counts = [holding, live.gates.len() - holding].map(|count| count.to_string());
                row.extend(
                    counts.into_iter().chain([live.totals.waiting, live.totals.held].map(|count| count.to_string())),
                );
            }
            None => row.extend(["-"; 4].map(str::to_owned)),
        }
        row.extend([printable(&status.agent.version, 20), up]);
        table.add_row(row);
        for condition in &status.conditions {
            if let Some(why) = &condition.unmet {
                notes += &format!("{node} waits for {}: {}\n", condition.name, printable(why, 400));
            }
        }
        if let Some(why) = &status.degraded {
            notes += &format!("{node} is degraded: {}\n", printable(why, 400));
        }
    }
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    format!("{table}\n{notes}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ask::Failure, cluster::Agent};

    fn answer(node: &str, said: Result<Status, Failure>) -> Answer<Status> {
        let agent = Agent { node: node.to_owned(), namespace: "n".to_owned(), pod: "p".to_owned(), down: None };
        Answer { agent, said }
    }

    fn status(ready: bool, unmet: Option<&str>) -> Status {
        serde_json::from_value(serde_json::json!({
            "version": 1, "ready": ready, "degraded": null,
            "agent": { "version": "0.1.0", "abi": 4, "node": "a", "pid": 1, "started": "2026-11-26T08:05:23Z",
                "heartbeat_age_seconds": 0.1 },
            "conditions": [{ "name": "pods", "unmet": unmet }],
            "live": ready.then(|| serde_json::json!({
                "programs": [], "sources": [], "gates": [],
                "totals": { "held": 7, "waiting": 3, "not_enrolled": 0, "unknown": 0, "lost_records": 0,
                    "helper_errors": 0 },
            })),
        }))
        .unwrap()
    }

    #[test]
    fn summary_of_nodes_that_are_well_and_not_says_what_is_waited_for() {
        let answers = [
            answer("a", Ok(status(true, None))),
            answer("b", Ok(status(false, Some("pods is forbidden")))),
            answer("c\u{1b}[2J", Err(Failure::Unreachable("away".to_owned()))),
        ];
        let now = answers[0].said.as_ref().unwrap().agent.started;
        let text = summary(&answers, now);
        let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["a", "ready", "0", "0", "3", "7", "0.1.0", "1s"]);
        assert_eq!(rows[2], ["b", "NOT", "READY", "-", "-", "-", "-", "0.1.0", "1s"]);
        assert_eq!(rows[3], ["c\\u{1b}[2J", "NO", "ANSWER"]);
        assert!(text.ends_with("\nb waits for pods: pods is forbidden\n"), "{text}");
    }
}
