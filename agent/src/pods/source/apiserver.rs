//! Pods of this node from the API server: a watch with the field selector spec.nodeName.
//!
//! Knows nothing of other sources. Needs list and watch on pods. An object that is no pod of ours is logged and skipped.

use std::time::Duration;

use kube::{
    Api, Client,
    runtime::{watcher, watcher::watcher as watch},
};

use super::{
    SourceName,
    explain::chain,
    follow::{News, follow, watch_config},
    report::{Report, Reports, Source},
};
use crate::pods::{
    object::PodObject,
    pod::{Pod, PodError},
};

/// The longest that connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// There is no client for the API server.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Neither a service account's files nor a kubeconfig.
    #[error("no way to the API server is configured: neither KUBECONFIG nor a service account's token and CA")]
    Config(#[source] kube::config::InferConfigError),
    /// What is configured does not make a client.
    #[error("the API server's configuration cannot be used")]
    Client(#[source] kube::Error),
}

/// A client for the API server from KUBECONFIG or the service account. Its token is read again as it changes.
///
/// # Errors
/// When nothing usable is configured; that the server is there is not checked.
pub async fn client() -> Result<Client, ApiError> {
    let mut config = kube::Config::infer().await.map_err(ApiError::Config)?;
    config.connect_timeout = Some(CONNECT);
    Client::try_from(config).map_err(ApiError::Client)
}

pub(super) struct ApiServer {
    pub(super) client: Client,
    pub(super) node: String,
}

impl Source for ApiServer {
    const NAME: SourceName = SourceName::ApiServer;

    async fn run(self, reports: Reports) {
        let pods: Api<PodObject> = Api::all(self.client);
        let config: watcher::Config = watch_config().fields(&format!("spec.nodeName={}", self.node));
        follow(|| watch(pods.clone(), config.clone()), told, "list and watch on pods", &reports).await;
    }
}

fn told(news: News<PodObject>) -> Option<Report> {
    match news {
        News::All(pods) => {
            Some(Report::Listed { pods: pods.iter().filter_map(known).collect(), asked: Vec::new(), fault: None })
        }
        News::Applied(pod) => known(&pod).map(|pod| Report::Applied(Box::new(pod))),
        News::Deleted(pod) => known(&pod).map(|pod| Report::Deleted { uid: pod.uid, api_uid: pod.api_uid }),
    }
}

fn known(pod: &PodObject) -> Option<Pod> {
    pod.try_into()
        .inspect_err(|error: &PodError| tracing::warn!(why = %chain(error), "a pod of the API server is ignored"))
        .ok()
}

#[cfg(test)]
#[path = "apiserver_tests.rs"]
mod tests;
