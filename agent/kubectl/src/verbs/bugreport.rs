//! `kubectl conngate bugreport`: the tars of all nodes in one, with what only the API server knows.

use std::{io::IsTerminal as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use conngate_view::{
    bundle::Bundle,
    redact::{Kind, Redactor},
};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api, Resource,
    api::{ListParams, LogParams},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    answer::{Answer, each, end},
    ask::{Failure, chain},
    cluster::{Agent, CONTAINER, Cluster, LABEL},
    exit::Exit,
    output::print,
};

/// Lines of a log.
const LINES: i64 = 10_000;

/// Options of `bugreport`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Each node has a directory with the output of `conngate bugreport` and the agent's logs; cluster/ has \
    DaemonSets, the agents' pods and Events, and the nodes' versions."
)]
pub(crate) struct Options {
    /// Pods that the report is about: NAME, or NAMESPACE/NAME.
    #[arg(value_name = "POD")]
    pub(crate) pods: Vec<String>,
    /// The tar, readable only by you; `-`: stdout.
    #[arg(short, long, value_name = "FILE", default_value = "conngate-bugreport.tar")]
    pub(crate) output: PathBuf,
    /// Replace the names of pods, namespaces and nodes, addresses and URLs, each name by the same word on all nodes.
    #[arg(long)]
    pub(crate) redact: bool,
}

impl Options {
    /// Whether the tar would go to a terminal.
    pub(crate) fn is_for_a_terminal(&self) -> bool {
        self.output.as_os_str() == "-" && std::io::stdout().is_terminal()
    }
}

/// Writes it.
pub(crate) async fn bugreport(cluster: &Cluster, options: &Options) -> anyhow::Result<Exit> {
    let agents = cluster.agents().await?;
    let mut pods = Vec::new();
    for pod in &options.pods {
        pods.push(cluster.agent_of(pod).await?);
    }
    let mut redactor = Redactor::default();
    for agent in &agents {
        redactor.name(Kind::Node, &agent.node);
        redactor.name(Kind::Pod, &agent.path());
    }
    let answers = each(cluster, agents, async |agent| {
        let mut arguments = vec!["bugreport"];
        arguments.extend(pods.iter().filter(|(_, on)| on == agent).map(|(pod, _)| pod.as_str()));
        let said = cluster.run(agent, &arguments).await?;
        let failed = |error| said.failure().unwrap_or_else(|| Failure::Unreachable(format!("no tar: {error}")));
        Bundle::read(said.stdout.as_slice()).map_err(failed)
    })
    .await;
    let mut bundle = objects(cluster, &answers).await;
    logs(cluster, &answers, &mut bundle).await;
    for Answer { agent, said } in &answers {
        match said {
            Ok(of_node) => bundle.add_below(&agent.node, of_node.clone()),
            Err(failure) => bundle.add::<&Failure>(&agent.node, Err::<Vec<u8>, _>(failure)),
        }
    }
    if options.redact {
        bundle = bundle.redacted(&mut redactor);
    }
    if options.output.as_os_str() == "-" {
        bundle.write("conngate-bugreport", std::io::stdout().lock())?;
    } else {
        let path = &options.output;
        bundle.save("conngate-bugreport", path).with_context(|| format!("cannot write {} (-o)", path.display()))?;
        let redacted = if options.redact {
            ""
        } else {
            "; it names pods and addresses: read it before you send it, or use --redact"
        };
        print(&format!("{}: {} files{redacted}\n", path.display(), bundle.paths().count()))?;
    }
    Ok(end(&answers, Exit::Success))
}

/// What the API server knows of the agents and their nodes.
async fn objects(cluster: &Cluster, answers: &[Answer<Bundle>]) -> Bundle {
    let mut bundle = Bundle::default();
    let labelled = ListParams::default().labels(LABEL);
    bundle.add("cluster/daemonsets.json", listed::<DaemonSet>(all(cluster), &labelled).await);
    bundle.add("cluster/pods.json", listed::<Pod>(all(cluster), &labelled).await);
    let nodes = Api::<Node>::all(cluster.client.clone()).list(&ListParams::default()).await;
    let versions = nodes.map_err(|error| chain(&error)).and_then(|nodes| {
        let of_one = |node: &Node| {
            let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            serde_json::json!({ "node": node.metadata.name, "info": info, "taints": taints })
        };
        pretty(&nodes.items.iter().map(of_one).collect::<Vec<_>>())
    });
    bundle.add("cluster/nodes.json", versions);
    let mut namespaces: Vec<_> = answers.iter().map(|answer| answer.agent.namespace.clone()).collect();
    namespaces.dedup();
    for namespace in namespaces {
        let api: Api<Event> = Api::namespaced(cluster.client.clone(), &namespace);
        bundle.add(&format!("cluster/events-{namespace}.json"), listed(api, &ListParams::default()).await);
    }
    bundle
}

/// The logs of each agent, as far as the kubelet has them.
async fn logs(cluster: &Cluster, answers: &[Answer<Bundle>], bundle: &mut Bundle) {
    let of_one = |agent: &Agent, previous: bool| {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &agent.namespace);
        let options = LogParams {
            container: Some(CONTAINER.to_owned()),
            previous,
            tail_lines: Some(LINES),
            ..LogParams::default()
        };
        let agent = agent.clone();
        async move {
            let said = api.logs(&agent.pod, &options).await;
            (format!("{}/{}.log", agent.node, if previous { "previous" } else { "agent" }), previous, said)
        }
    };
    let wanted = answers.iter().flat_map(|answer| [(&answer.agent, false), (&answer.agent, true)]);
    let asking = stream::iter(wanted).map(|(agent, previous)| of_one(agent, previous));
    let said: Vec<_> = asking.buffer_unordered(cluster.access.parallel.get()).collect().await;
    for (path, previous, said) in said {
        // Mostly there was none before.
        if !(previous && said.is_err()) {
            bundle.add(&path, said.map_err(|error| chain(&error)));
        }
    }
}

fn all<K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(cluster: &Cluster) -> Api<K> {
    match &cluster.access.agent_namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

async fn listed<K>(api: Api<K>, wanted: &ListParams) -> Result<Vec<u8>, String>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let list = api.list(wanted).await.map_err(|error| chain(&error))?;
    pretty(&list.items)
}

fn pretty(value: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec_pretty(value).map_err(|error| error.to_string())
}
