//! What a pod gets that says nothing: what its namespace says, then the first of the node's selections that it is in.
//!
//! Knows nothing of what values mean, and nothing of where labels come from. A pod's own annotations always win.

use std::{collections::BTreeMap, str::FromStr};

use conngate_common::gate::Mode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt as _};
use serde::Deserialize;

use super::{
    annotations::{MODE, ON_TIMEOUT, PROXY, TIMEOUT, is_allowed},
    label_selector,
    label_selector::BadSelector,
    pod::{Labels, Pod},
};

/// The label that the API server puts on every namespace (KEP-2161): it is known without asking.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The node's defaults.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Whether annotations of a namespace are its pods' defaults.
    pub namespace_annotations: bool,
    /// The first that selects a pod is for it.
    pub selections: Vec<Selection>,
}

/// Pods, and what they get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// How people call it.
    name: String,
    namespaces: Selector,
    pods: Selector,
    /// By the keys of annotations.
    values: BTreeMap<&'static str, String>,
}

/// What is not known yet decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// `--default-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DefaultMode {
    /// Only pods that opt in are gated.
    Off,
    /// Nothing captured leaves before the proxy is ready.
    Hold,
    /// An attempt passes as soon as something listens.
    Retry,
    /// Nothing is held; what would have been held is counted.
    Observe,
}

impl From<DefaultMode> for Option<Mode> {
    fn from(mode: DefaultMode) -> Self {
        match mode {
            DefaultMode::Off => None,
            DefaultMode::Hold => Some(Mode::Hold),
            DefaultMode::Retry => Some(Mode::Retry),
            DefaultMode::Observe => Some(Mode::Observe),
        }
    }
}

/// A Kubernetes label selector over namespaces, such as `mesh=on,tier in (a,b),!legacy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSelector(Selector);

impl FromStr for NamespaceSelector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        label_selector::parse(text).map(Self)
    }
}

impl Defaults {
    /// Whether namespaces have to be known, for which the API server must be asked.
    #[must_use]
    pub fn needs_namespaces(&self) -> bool {
        self.namespace_annotations || self.selections.iter().any(|selection| needs_labels(&selection.namespaces))
    }

    /// The selection that `pod` is in.
    pub(super) fn selection(&self, pod: &Pod) -> Result<Option<&Selection>, Unknown> {
        for selection in &self.selections {
            if selection.selects(pod)? {
                return Ok(Some(selection));
            }
        }
        Ok(None)
    }
}

impl Selection {
    /// All pods of these namespaces; of all, where there is no selector.
    #[must_use]
    pub fn of_mode(mode: Mode, namespaces: Option<NamespaceSelector>) -> Self {
        Self {
            name: "the node's default mode".to_owned(),
            namespaces: namespaces.map(|namespaces| namespaces.0).unwrap_or_default(),
            pods: Selector::default(),
            values: [(MODE, mode.word().to_owned())].into(),
        }
    }

    /// How people call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What its pods get for the annotation `key`.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn selects(&self, pod: &Pod) -> Result<bool, Unknown> {
        if !self.pods.matches(&pod.labels) {
            return Ok(false);
        }
        let mut labels = match &pod.namespace_meta {
            Some(meta) => meta.labels.clone(),
            None if needs_labels(&self.namespaces) => return Err(Unknown),
            None => Labels::new(),
        };
        labels.insert(NAME_LABEL.to_owned(), pod.namespace.clone());
        Ok(self.namespaces.matches(&labels))
    }
}

/// Whether more labels matter than the one that is known without asking.
fn needs_labels(selector: &Selector) -> bool {
    selector.clone().into_iter().any(|expression| match expression {
        Expression::In(key, _)
        | Expression::NotIn(key, _)
        | Expression::Equal(key, _)
        | Expression::NotEqual(key, _)
        | Expression::Exists(key)
        | Expression::DoesNotExist(key) => key != NAME_LABEL,
    })
}

/// Text that is no selection.
#[derive(Debug, thiserror::Error)]
pub enum BadSelection {
    /// It has another shape.
    #[error(
        "{0}; wanted is a JSON object of mode, and optionally name, namespaceSelector, podSelector (matchLabels, \
         matchExpressions), timeout, onTimeout, proxy"
    )]
    Shape(#[from] serde_json::Error),
    /// A selector has an operator or values that make no sense.
    #[error("{which}: {why}")]
    Selector {
        /// The field.
        which: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A value is not what the annotation takes.
    #[error("{key} takes no `{value}`")]
    Value {
        /// The annotation's key.
        key: &'static str,
        /// The value.
        value: String,
    },
}

impl FromStr for Selection {
    type Err = BadSelection;

    fn from_str(text: &str) -> Result<Self, BadSelection> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        struct Written {
            name: Option<String>,
            namespace_selector: Option<LabelSelector>,
            pod_selector: Option<LabelSelector>,
            mode: String,
            timeout: Option<String>,
            on_timeout: Option<String>,
            proxy: Option<String>,
        }
        let written: Written = serde_json::from_str(text)?;
        let selector = |which, selector: Option<LabelSelector>| {
            let read = selector.map(Selector::try_from).transpose();
            read.map(Option::unwrap_or_default).map_err(|why| BadSelection::Selector { which, why: why.to_string() })
        };
        let given = [
            (MODE, Some(written.mode)),
            (TIMEOUT, written.timeout),
            (ON_TIMEOUT, written.on_timeout),
            (PROXY, written.proxy),
        ];
        let values: BTreeMap<_, _> = given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        if let Some((key, value)) = values.iter().find(|(key, value)| !is_allowed(key, value)) {
            return Err(BadSelection::Value { key, value: value.clone() });
        }
        let namespaces = selector("namespaceSelector", written.namespace_selector)?;
        let pods = selector("podSelector", written.pod_selector)?;
        let shown = [("namespaces", &namespaces), ("pods", &pods)].map(|(what, selector)| {
            let selector = selector.to_string();
            (!selector.is_empty()).then(|| format!("{what} {selector}"))
        });
        let shown = shown.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let name = match (written.name, shown.is_empty()) {
            (Some(name), _) => format!("the default {name}"),
            (None, true) => "the default of all pods".to_owned(),
            (None, false) => format!("the default of {shown}"),
        };
        Ok(Self { name, namespaces, pods, values })
    }
}

#[cfg(test)]
mod tests;
