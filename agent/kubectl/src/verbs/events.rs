//! `kubectl conngate events`: what happened on all nodes, in the order of time; with -f as it happens.

use clap::Args;
use conngate_view::{event::Event, printable::printable, text::event::text};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    sync::mpsc,
};

use crate::{
    answer::{Answer, each, end},
    ask::Failure,
    cli::{Output, Print},
    cluster::{Agent, Cluster},
    exit::Exit,
    output::{print, print_json},
};

/// Options of `events`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Keep printing new events.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only events of this pod: NAME, or NAMESPACE/NAME.
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// An event of a node.
#[derive(Debug, Serialize)]
struct OfNode {
    node: String,
    #[serde(flatten)]
    event: Event,
}

/// Shows them.
pub(crate) async fn events(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let (agents, pod) = match &options.pod {
        Some(pod) => {
            let (pod, agent) = cluster.agent_of(pod).await?;
            (vec![agent], Some(pod))
        }
        None => (cluster.agents().await?, None),
    };
    let mut arguments = vec!["events", "-o", "json"];
    arguments.extend(pod.iter().flat_map(|pod| ["--pod", pod]));
    if options.follow {
        arguments.push("--follow");
        return follow(cluster, agents, &arguments, options.print.output).await;
    }
    let answers = each(cluster, agents, async |agent| {
        let said = cluster.run(agent, &arguments).await?;
        said.failure().map_or_else(|| read(agent, &said.stdout), Err)
    })
    .await;
    let mut all: Vec<_> = answers.iter().flat_map(|answer| answer.said.iter().flatten()).collect();
    all.sort_by_key(|of_node| of_node.event.time);
    for event in all {
        show(event, options.print.output)?;
    }
    Ok(end(&answers, Exit::Success))
}

fn read(agent: &Agent, lines: &[u8]) -> Result<Vec<OfNode>, Failure> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| of_node(&agent.node, line)).collect()
}

fn of_node(node: &str, line: &[u8]) -> Result<OfNode, Failure> {
    let shape = |error| Failure::Unreachable(format!("its answer does not have this version's format: {error}"));
    Ok(OfNode { node: node.to_owned(), event: serde_json::from_slice(line).map_err(shape)? })
}

/// All of them as they come, until the last agent is gone.
async fn follow(cluster: &Cluster, agents: Vec<Agent>, arguments: &[&str], output: Output) -> anyhow::Result<Exit> {
    let (events, mut coming) = mpsc::channel(64);
    let followed: FuturesUnordered<_> = agents
        .into_iter()
        .map(|agent| {
            let events = events.clone();
            async move {
                let said: Result<(), _> = one(cluster, &agent, arguments, events).await;
                // One that has gone is said at once: the others go on.
                end(&[Answer { agent, said }], Exit::Success)
            }
        })
        .collect();
    drop(events);
    let showing = async {
        while let Some(event) = coming.recv().await {
            show(&event, output)?;
        }
        anyhow::Ok(())
    };
    let (ends, shown) = tokio::join!(followed.collect::<Vec<_>>(), showing);
    shown?;
    Ok(ends.into_iter().max().unwrap_or(Exit::Partly))
}

/// Follows one agent until it is gone, which is a failure.
async fn one(
    cluster: &Cluster,
    agent: &Agent,
    arguments: &[&str],
    events: mpsc::Sender<OfNode>,
) -> Result<(), Failure> {
    let mut process = cluster.start(agent, arguments).await?;
    let gone = || Failure::Unreachable("the agent is gone".to_owned());
    lines(process.stdout().ok_or_else(gone)?, async |line| {
        let event = of_node(&agent.node, line.as_bytes())?;
        // Nobody looks any longer.
        Ok(events.send(event).await.is_ok())
    })
    .await?;
    Err(gone())
}

/// Gives each line to `take`, until that wants no more.
async fn lines(
    from: impl AsyncRead + Unpin,
    take: impl AsyncFn(String) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await.map_err(|error| Failure::Unreachable(error.to_string()))? {
        if !take(line).await? {
            break;
        }
    }
    Ok(())
}

fn show(of_node: &OfNode, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => print_json(of_node),
        Output::Text => print(&format!("{} {}\n", printable(&of_node.node, 253), text(&of_node.event))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_lines_are_events_of_their_node_and_json_is_flat() {
        let agent = Agent { node: "a".to_owned(), namespace: "n".to_owned(), pod: "p".to_owned(), down: None };
        let lines = br#"{"version":1,"time":"2026-11-26T08:05:23Z","pod":"shop/web-0","event":"gone"}
"#;
        let events = read(&agent, lines).unwrap();
        let json = serde_json::to_value(&events[0]).unwrap();
        assert_eq!((&json["node"], &json["event"], &json["version"]), (&"a".into(), &"gone".into(), &1.into()));
        assert!(matches!(read(&agent, b"no json\n"), Err(Failure::Unreachable(why)) if why.contains("format")));
    }
}
