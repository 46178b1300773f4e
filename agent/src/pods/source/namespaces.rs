//! Labels of the namespaces, from the API server.
//!
//! Knows nothing of pods or selectors. Needs list and watch on namespaces; started only where labels matter.

use std::convert::Infallible;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta};

use super::{
    SourceName,
    follow::{Follow, News},
    report::{Report, Reports, Source},
};
use crate::pods::pod::Labels;

#[derive(Clone)]
pub(super) struct Namespaces {
    pub(super) client: Client,
}

impl Source for Namespaces {
    const NAME: SourceName = SourceName::Namespaces;

    async fn run(self, reports: Reports) -> Infallible {
        let follow = Follow {
            api: Api::all(self.client),
            fields: None,
            permission: "list and watch on namespaces (for --namespace-selector)",
            convert: labels,
            told,
            reports,
        };
        follow.run().await
    }
}

fn told(news: News<(String, Labels)>) -> Report {
    match news {
        News::All(all) => Report::Namespaces(all.into_iter().collect()),
        News::Applied((name, labels)) => Report::Namespace(name, Some(labels)),
        News::Deleted((name, _)) => Report::Namespace(name, None),
    }
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> Option<(String, Labels)> {
    Some((namespace.metadata.name?, namespace.metadata.labels.unwrap_or_default()))
}
