//! `kubectl conngate open`: an operator opens a pod's gate, or every one.

use clap::Args;
use conngate_view::{open::Opened, text::open::text};

use crate::{
    answer::{each, end, merged},
    cli::{Output, Print},
    cluster::Cluster,
    exit::Exit,
    output::{print, print_json},
};

/// Options of `open`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "A gate opened by hand stays open. The agents log the user that asked: that of the exec.")]
pub(crate) struct Options {
    /// NAME, or NAMESPACE/NAME.
    #[arg(value_name = "POD", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) pod: Option<String>,
    /// Open every closed gate of all nodes, or of the --node ones.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// Opens.
pub(crate) async fn open(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let (agents, what) = match &options.pod {
        Some(pod) => {
            let (pod, agent) = cluster.agent_of(pod).await?;
            (vec![agent], pod)
        }
        None => (cluster.agents().await?, "--all".to_owned()),
    };
    let answers = each(cluster, agents, async |agent| cluster.ask::<Opened>(agent, &["open", &what]).await).await;
    match options.print.output {
        Output::Json => print_json(&merged(&answers))?,
        Output::Text => {
            let mut opened = Opened { version: conngate_view::VERSION, gates: Vec::new() };
            opened
                .gates
                .extend(answers.iter().flat_map(|answer| answer.said.iter().flat_map(|said| said.gates.clone())));
            if answers.iter().any(|answer| answer.said.is_ok()) {
                print(&text(&opened))?;
            }
        }
    }
    Ok(end(&answers, Exit::Success))
}
