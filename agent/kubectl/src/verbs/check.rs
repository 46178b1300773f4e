//! `kubectl conngate check`: what each agent's own `check` finds on its node, and whether every node has its agent.

use clap::Args;
use conngate_view::{
    check::{Checked, Finding, Level, Subject},
    printable::printable,
    text::check::finding,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, api::ListParams};

use super::until_well;
use crate::{
    answer::{Answer, each, end, merged},
    ask::chain,
    cli::{Output, Print, Wait},
    cluster::{Cluster, LABEL},
    exit::Exit,
    output::{print, print_json},
};

/// Options of `check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Also print findings that are fine.
    #[arg(short, long)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) print: Print,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Prints what is found.
pub(crate) async fn check(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let ((whole, answers), exit) = until_well(options.wait, async || {
        let agents = cluster.agents().await?;
        let whole = daemon_sets(cluster).await;
        let answers = each(cluster, agents, async |agent| cluster.ask::<Checked>(agent, &["check"]).await).await;
        let well = whole.is_well() && answers.iter().all(|answer| answer.said.as_ref().is_ok_and(Checked::is_well));
        Ok(((whole, answers), if well { Exit::Success } else { Exit::No }))
    })
    .await?;
    match options.print.output {
        Output::Json => {
            let mut all = serde_json::to_value(merged(&answers))?;
            all["cluster"] = serde_json::to_value(&whole)?;
            print_json(&all)?;
        }
        Output::Text => print(&text(&whole, &answers, options.verbose))?,
    }
    Ok(end(&answers, exit))
}

/// One finding for each DaemonSet of agents.
async fn daemon_sets(cluster: &Cluster) -> Checked {
    let api: Api<DaemonSet> = match &cluster.access.agent_namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let found = match api.list(&ListParams::default().labels(LABEL)).await {
        Err(error) => {
            let means = "conngate cannot tell whether every node has its agent";
            vec![Finding::new(Level::Warn, Subject::Agents, chain(&error), means)]
        }
        Ok(sets) => sets.items.iter().map(daemon_set).collect(),
    };
    Checked::new(found)
}

fn daemon_set(set: &DaemonSet) -> Finding {
    let status = set.status.clone().unwrap_or_default();
    let (ready, wanted) = (status.number_ready, status.desired_number_scheduled);
    let name = set.metadata.name.as_deref().unwrap_or_default();
    let found = format!("{name}: {ready} of {wanted} agents are ready");
    if ready == wanted && wanted > 0 {
        Finding::new(Level::Ok, Subject::Agents, found, "every selected node has its agent")
    } else {
        Finding::new(Level::Fail, Subject::Agents, found, "pods of the other nodes are not held")
    }
}

fn text(whole: &Checked, answers: &[Answer<Checked>], verbose: bool) -> String {
    let mut text = of_one(None, whole, verbose);
    for Answer { agent, said } in answers {
        if let Ok(checked) = said {
            text += &of_one(Some(&agent.node), checked, verbose);
        }
    }
    text
}

/// The findings of a node, or of the cluster; without `verbose` those that are well are only counted.
fn of_one(node: Option<&str>, checked: &Checked, verbose: bool) -> String {
    let well = checked.findings.iter().filter(|finding| finding.level == Level::Ok).count();
    let mut text = String::new();
    if let Some(node) = node {
        text += &format!("\n{}: {well} of {} findings are ok\n", printable(node, 253), checked.findings.len());
    }
    let shown = checked.findings.iter().filter(|finding| verbose || node.is_none() || finding.level != Level::Ok);
    text + &shown.map(finding).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Agent;

    #[test]
    fn text_of_a_node_that_is_well_is_one_line_and_of_another_what_to_do() {
        let ok = || Finding::new(Level::Ok, Subject::Kernel, "6.18", "fine");
        let of = |node: &str, findings| Answer {
            agent: Agent { node: node.to_owned(), namespace: "n".to_owned(), pod: "p".to_owned(), down: None },
            said: Ok(Checked::new(findings)),
        };
        let pins = Finding::new(Level::Warn, Subject::Pins, "no BPF file system", "a restart lets go");
        let answers = [of("a", vec![ok(), ok()]), of("b", vec![ok(), pins])];
        let text = text(&Checked::new(Vec::new()), &answers, false);
        assert!(text.starts_with("\na: 2 of 2 findings are ok\n\nb: 1 of 2 findings are ok\nwarn  pins"), "{text}");
        assert!(text.contains("-> mount -t bpf") && text.contains("-> https://"), "{text}");
        assert!(super::text(&Checked::new(Vec::new()), &answers, true).contains("ok    kernel"));
    }

    #[test]
    fn daemon_set_that_lacks_an_agent_fails() {
        let set = |ready: i32| -> DaemonSet {
            serde_json::from_value(serde_json::json!({ "metadata": { "name": "conngate" }, "status": {
                "numberReady": ready, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
                "numberMisscheduled": 0 } }))
            .unwrap()
        };
        assert_eq!(daemon_set(&set(2)).level, Level::Ok);
        let lacking = daemon_set(&set(1));
        assert_eq!((lacking.level, lacking.found.as_str()), (Level::Fail, "conngate: 1 of 2 agents are ready"));
        assert_eq!(daemon_set(&DaemonSet::default()).level, Level::Fail);
    }
}
