//! `kubectl conngate explain POD`: asks the agent of the pod's node.

use clap::Args;
use conngate_view::{explain::Explanation, text::explain::text};

use crate::{
    answer::{Answer, end},
    cli::{Output, Print},
    cluster::Cluster,
    exit::Exit,
    output::{print, print_json},
};

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// NAME, or NAMESPACE/NAME.
    #[arg(value_name = "POD")]
    pub(crate) pod: String,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// Explains it.
pub(crate) async fn explain(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let (pod, agent) = cluster.agent_of(&options.pod).await?;
    let said = cluster.ask::<Explanation>(&agent, &["explain", &pod]).await;
    if let Ok(explanation) = &said {
        match options.print.output {
            Output::Json => print_json(explanation)?,
            Output::Text => print(&format!("Node:      {}\n{}", agent.node, text(explanation)))?,
        }
    }
    Ok(end(&[Answer { agent, said }], Exit::Success))
}
