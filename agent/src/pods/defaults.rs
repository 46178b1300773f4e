//! What a pod gets that says nothing: the node's default mode, and the namespaces for which it holds.
//!
//! Knows nothing of annotations, which always win, and nothing of where labels come from.

use conngate_common::gate::Mode;

use super::{label_selector, label_selector::BadSelector, no_gate::NotAsked, pod::Pod};

/// The label that the API server puts on every namespace (KEP-2161): it is known without asking.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The node's defaults.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The mode of pods without `conngate.io/mode`; `None`: off.
    pub mode: Option<Mode>,
    /// In which namespaces that mode holds; `None`: in all.
    pub namespaces: Option<NamespaceSelector>,
}

/// `--default-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DefaultMode {
    /// Only pods that ask are gated.
    Off,
    /// Nothing captured leaves before the proxy is ready.
    Hold,
    /// An attempt passes as soon as somebody listens.
    Retry,
    /// Nothing is held; what would have been is counted.
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
pub struct NamespaceSelector(kube::core::Selector);

impl Defaults {
    /// Whether labels of namespaces have to be known, for which the API server must be asked.
    #[must_use]
    pub fn needs_namespace_labels(&self) -> bool {
        self.mode.is_some() && self.namespaces.as_ref().is_some_and(NamespaceSelector::needs_labels)
    }

    /// The mode of `pod` if it says nothing.
    pub(super) fn mode_of(&self, pod: &Pod) -> Result<Mode, NotAsked> {
        let mode = self.mode.ok_or(NotAsked::Default)?;
        match self.namespaces.as_ref().map(|namespaces| namespaces.selects(pod)) {
            None | Some(Some(true)) => Ok(mode),
            Some(Some(false)) => Err(NotAsked::NamespaceNotSelected),
            Some(None) => Err(NotAsked::NamespaceUnknown),
        }
    }
}

impl NamespaceSelector {
    /// Whether more labels matter than the one that is known without asking.
    fn needs_labels(&self) -> bool {
        use kube::core::Expression;
        self.0.clone().into_iter().any(|expression| match expression {
            Expression::In(key, _)
            | Expression::NotIn(key, _)
            | Expression::Equal(key, _)
            | Expression::NotEqual(key, _)
            | Expression::Exists(key)
            | Expression::DoesNotExist(key) => key != NAME_LABEL,
        })
    }

    /// Whether the namespace of `pod` is selected; `None`: its labels are not known yet.
    fn selects(&self, pod: &Pod) -> Option<bool> {
        use kube::core::SelectorExt as _;
        let mut labels = match &pod.namespace_labels {
            Some(labels) => labels.clone(),
            None if self.needs_labels() => return None,
            None => super::pod::Labels::new(),
        };
        labels.insert(NAME_LABEL.to_owned(), pod.namespace.clone());
        Some(self.0.matches(&labels))
    }
}

impl std::str::FromStr for NamespaceSelector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        label_selector::parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::testing::pod;

    fn selected(selector: &str, labels: Option<&[(&str, &str)]>) -> Option<bool> {
        let mut pod = pod("shop", "web");
        pod.namespace_labels =
            labels.map(|labels| labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        selector.parse::<NamespaceSelector>().unwrap().selects(&pod)
    }

    #[test]
    fn selects_by_label_needs_the_labels() {
        assert_eq!(selected("mesh=on", Some(&[("mesh", "on")])), Some(true));
        assert_eq!(selected("mesh=on", Some(&[])), Some(false));
        assert_eq!(selected("!mesh", None), None);
    }

    #[test]
    fn selects_by_name_needs_no_labels() {
        assert_eq!(selected("kubernetes.io/metadata.name in (shop,bank)", None), Some(true));
        assert_eq!(selected("kubernetes.io/metadata.name notin (shop)", None), Some(false));
        assert_eq!(selected("kubernetes.io/metadata.name=shop,mesh", None), None);
    }

    #[test]
    fn needs_namespace_labels_only_where_the_default_is_a_mode() {
        let defaults = |mode, selector: &str| Defaults { mode, namespaces: Some(selector.parse().unwrap()) };
        assert!(defaults(Some(Mode::Hold), "mesh").needs_namespace_labels());
        assert!(!defaults(None, "mesh").needs_namespace_labels());
        assert!(!defaults(Some(Mode::Hold), "kubernetes.io/metadata.name=a").needs_namespace_labels());
        assert!(!Defaults::default().needs_namespace_labels());
    }
}
