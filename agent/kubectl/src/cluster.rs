//! The cluster: its agents, and the agent of a pod's node.
//!
//! Knows nothing of what an agent is asked.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::cli::Access;

/// What the agents' pods and their DaemonSet are labelled with, whatever the release is called.
pub(crate) const LABEL: &str = "app.kubernetes.io/part-of=conngate";

/// The agents' container.
pub(crate) const CONTAINER: &str = "agent";

/// The cluster, as the command line chose it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) access: Access,
    /// The namespace of pods that are named without one.
    namespace: String,
}

/// The answer is no: there is no such pod, or no such node.
#[derive(Debug)]
pub(crate) struct Missing(String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// An agent's pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Agent {
    pub(crate) node: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// Why it cannot be asked at all.
    pub(crate) down: Option<String>,
}

impl Agent {
    /// The agent in `pod`; `None`: it is no agent, or one that leaves.
    fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let has_agent = spec.containers.iter().any(|container| container.name == CONTAINER);
        if !has_agent || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
        Some(Self {
            node: spec.node_name.clone().unwrap_or_else(|| "(no node yet)".to_owned()),
            namespace: pod.metadata.namespace.clone()?,
            pod: pod.metadata.name.clone()?,
            down: (phase != "Running").then(|| format!("its pod is {phase}")),
        })
    }

    /// Namespace and name of its pod.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

impl Cluster {
    /// Reads the kubeconfig.
    ///
    /// # Errors
    /// When there is none, or it does not say how to reach a cluster.
    pub(crate) async fn connect(access: Access) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let config = match &access.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("{} (--kubeconfig)", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            None if access.context.is_some() => Config::from_kubeconfig(&options).await?,
            // Inside of a cluster, its service account.
            None => Config::infer().await?,
        };
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("no way to the API server")?;
        Ok(Self { client, access, namespace })
    }

    /// A cluster behind `client`, for tests.
    #[cfg(test)]
    pub(crate) fn of(client: Client, access: Access) -> Self {
        Self { client, access, namespace: "default".to_owned() }
    }

    /// The agents of the nodes that were chosen, by their nodes' names; at least one.
    ///
    /// # Errors
    /// When pods cannot be listed, there is no agent, or none on a node that was named.
    pub(crate) async fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        let wanted = &self.access.node;
        let mut agents = self.all_agents().await?;
        if let Some(node) = wanted.iter().find(|node| agents.iter().all(|agent| agent.node != **node)) {
            bail!(Missing(format!(
                "no agent on node {node}: there is no such node, or the DaemonSet does not select it"
            )));
        }
        agents.retain(|agent| wanted.is_empty() || wanted.contains(&agent.node));
        Ok(agents)
    }

    async fn all_agents(&self) -> anyhow::Result<Vec<Agent>> {
        let api: Api<Pod> = match &self.access.agent_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let pods = api.list(&ListParams::default().labels(LABEL)).await;
        let pods =
            pods.context("cannot list the agents' pods (with rights in one namespace only: --agent-namespace)")?;
        let agents: BTreeSet<_> = pods.items.iter().filter_map(Agent::of).collect();
        ensure!(!agents.is_empty(), "no agent in this cluster: no pod is labelled {LABEL}");
        Ok(agents.into_iter().collect())
    }

    /// The pod that `name` means, NAMESPACE/NAME, and the agent of its node.
    ///
    /// # Errors
    /// When there is no such pod, it has no node yet, or that has no agent.
    pub(crate) async fn agent_of(&self, name: &str) -> anyhow::Result<(String, Agent)> {
        let (namespace, name) = name.split_once('/').unwrap_or((&self.namespace, name));
        let pod = Api::<Pod>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        let path = format!("{namespace}/{name}");
        let pod = pod.with_context(|| format!("cannot read pod {path}"))?;
        let pod = pod.ok_or_else(|| Missing(format!("there is no pod {path}")))?;
        let node = pod.spec.and_then(|spec| spec.node_name);
        let node = node.ok_or_else(|| Missing(format!("pod {path} has no node yet, so nothing of it is held")))?;
        let agents = self.all_agents().await?;
        let agent = agents.into_iter().find(|agent| agent.node == node);
        let agent = agent.ok_or_else(|| Missing(format!("pod {path} is on node {node}, which has no agent")))?;
        Ok((path, agent))
    }
}

#[cfg(test)]
mod tests;
