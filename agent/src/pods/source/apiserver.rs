//! Pods of this node from the API server: a watch with the field selector spec.nodeName.
//!
//! Knows nothing of other sources. Needs list and watch on pods. An object that is no pod of ours is logged and skipped.

use std::{convert::Infallible, time::Duration};

use kube::{Api, Client};

use super::{
    SourceName,
    explain::chain,
    follow::{Follow, News},
    report::{Report, Reports, Source},
};
use crate::pods::{object::PodObject, pod::Pod};

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

#[derive(Clone)]
pub(super) struct ApiServer {
    pub(super) client: Client,
    pub(super) node: String,
}

impl Source for ApiServer {
    const NAME: SourceName = SourceName::ApiServer;

    async fn run(self, reports: Reports) -> Infallible {
        let follow = Follow {
            api: Api::all(self.client),
            fields: Some(format!("spec.nodeName={}", self.node)),
            permission: "list and watch on pods",
            convert: known,
            told,
            reports,
        };
        follow.run().await
    }
}

fn told(news: News<Pod>) -> Report {
    match news {
        News::All(pods) => Report::Listed { pods, asked: Vec::new(), fault: None },
        News::Applied(pod) => Report::Applied(Box::new(pod)),
        News::Deleted(pod) => Report::Deleted { uid: pod.uid, api_uid: pod.api_uid },
    }
}

fn known(pod: PodObject) -> Option<Pod> {
    Pod::try_from(&pod)
        .inspect_err(|error| tracing::warn!(why = %chain(error), "ignoring a pod from the API server"))
        .ok()
}

#[cfg(test)]
mod tests;
