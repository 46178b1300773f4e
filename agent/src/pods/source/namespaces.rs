//! Labels and annotations of the namespaces, from the API server.
//!
//! Knows nothing of pods or selectors. Needs list and watch on namespaces; started only where they matter.

use std::convert::Infallible;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta};

use super::{
    SourceName,
    follow::{Follow, News},
    report::{Report, Reports, Source},
};
use crate::pods::pod::{self, NamespaceMeta};

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
            permission: "list and watch on namespaces (for their annotations and for selectors)",
            convert: meta,
            told,
            reports,
        };
        follow.run().await
    }
}

fn told(news: News<(String, NamespaceMeta)>) -> Report {
    match news {
        News::All(all) => Report::Namespaces(all.into_iter().collect()),
        News::Applied((name, meta)) => Report::Namespace(name, Some(meta)),
        News::Deleted((name, _)) => Report::Namespace(name, None),
    }
}

fn meta(namespace: PartialObjectMeta<Namespace>) -> Option<(String, NamespaceMeta)> {
    let metadata = namespace.metadata;
    let meta = NamespaceMeta {
        labels: pod::labels(metadata.labels.as_ref()),
        annotations: pod::annotations(metadata.annotations.as_ref()),
    };
    Some((metadata.name?, meta))
}
