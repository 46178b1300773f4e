//! What follows for the core, and what is kept beside it.

use super::*;
use crate::pods::{pod::NamespaceMeta, testing};

const DEFAULTS: Defaults = Defaults { namespace_annotations: true, selections: Vec::new() };

fn annotated(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned())).collect()
}

/// A pod with these annotations of its namespace; `None`: they are not known yet.
fn pod(namespace: Option<&[(&str, &str)]>) -> Pod {
    let mut pod = testing::pod("shop", "web");
    pod.namespace_meta =
        namespace.map(|annotations| NamespaceMeta { annotations: annotated(annotations), ..NamespaceMeta::default() });
    pod
}

#[test]
fn pod_whose_namespace_is_not_known_yet_is_undecided_until_it_is() {
    assert_eq!(resolve(&pod(None), &DEFAULTS).core.ask, Ask::Undecided("its namespace is not known yet".to_owned()));
    assert!(matches!(resolve(&pod(Some(&[("mode", "hold")])), &DEFAULTS).core.ask, Ask::Gate(_)));
    assert!(matches!(resolve(&pod(Some(&[])), &DEFAULTS).core.ask, Ask::None(_)));
}

#[test]
fn origins_of_a_gate_are_named_without_the_prefix_and_there_are_none_without_a_gate() {
    let mut asking = pod(Some(&[("mode", "hold"), ("timeout", "90s")]));
    asking.annotations = annotated(&[("timeout", "5s")]);
    let origins = resolve(&asking, &DEFAULTS).origins;
    let origins: Vec<_> = origins.iter().map(|(key, origin)| (key.as_str(), origin.as_str())).collect();
    assert_eq!(origins, [("mode", "namespace shop"), ("timeout", "the pod")]);
    assert!(resolve(&pod(Some(&[("mode", "off")])), &DEFAULTS).origins.is_empty());
}

#[test]
fn pod_without_a_proxy_hears_of_it_where_it_asks_itself_and_not_where_its_namespace_does() {
    let mut asking = pod(Some(&[("mode", "hold")]));
    asking.sidecars.clear();
    let by_namespace = resolve(&asking, &DEFAULTS);
    assert_eq!((by_namespace.cannot, by_namespace.core.remarks), (Some((NoGate::NoProxy, AskedBy::Default)), vec![]));
    asking.annotations = annotated(&[("mode", "hold")]);
    let by_itself = resolve(&asking, &DEFAULTS);
    assert_eq!(by_itself.cannot, Some((NoGate::NoProxy, AskedBy::Annotation)));
    assert_eq!(by_itself.core.remarks, [Remark::NotGated(NoGate::NoProxy.explanation().to_owned())]);
}
