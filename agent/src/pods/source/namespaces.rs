//! Labels of the namespaces, from the API server.
//!
//! Knows nothing of pods or selectors. Needs list and watch on namespaces; started only where labels matter.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta, runtime::watcher::watcher as watch};

use super::{
    SourceName,
    follow::{News, follow, watch_config},
    report::{Report, Reports, Source},
};
use crate::pods::pod::Labels;

pub(super) struct Namespaces {
    pub(super) client: Client,
}

impl Source for Namespaces {
    const NAME: SourceName = SourceName::Namespaces;

    async fn run(self, reports: Reports) {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client);
        let begin = || watch(namespaces.clone(), watch_config());
        follow(begin, told, "list and watch on namespaces (for --namespace-selector)", &reports).await;
    }
}

fn told(news: News<PartialObjectMeta<Namespace>>) -> Option<Report> {
    match news {
        News::All(all) => Some(Report::Namespaces(all.into_iter().filter_map(labels).collect())),
        News::Applied(one) => labels(one).map(|(name, labels)| Report::Namespace(name, Some(labels))),
        News::Deleted(one) => one.metadata.name.map(|name| Report::Namespace(name, None)),
    }
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> Option<(String, Labels)> {
    Some((namespace.metadata.name?, namespace.metadata.labels.unwrap_or_default()))
}
