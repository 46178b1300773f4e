//! Which pods a selection is for, and what it takes to know.

use super::*;
use crate::pods::{pod::NamespaceMeta, testing::pod};

fn labels(given: &[(&str, &str)]) -> Labels {
    given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn in_namespace(given: Option<&[(&str, &str)]>) -> Pod {
    let mut pod = pod("shop", "web");
    pod.namespace_meta = given.map(|given| NamespaceMeta { labels: labels(given), ..NamespaceMeta::default() });
    pod
}

fn selected(selector: &str, given: Option<&[(&str, &str)]>) -> Result<bool, Unknown> {
    Selection::of_mode(Mode::Hold, Some(selector.parse().unwrap())).selects(&in_namespace(given))
}

#[test]
fn selects_by_label_needs_the_labels() {
    assert_eq!(selected("mesh=on", Some(&[("mesh", "on")])), Ok(true));
    assert_eq!(selected("mesh=on", Some(&[])), Ok(false));
    assert_eq!(selected("!mesh", None), Err(Unknown));
}

#[test]
fn selects_by_name_needs_no_labels() {
    assert_eq!(selected("kubernetes.io/metadata.name in (shop,bank)", None), Ok(true));
    assert_eq!(selected("kubernetes.io/metadata.name notin (shop)", None), Ok(false));
    assert_eq!(selected("kubernetes.io/metadata.name=shop,mesh", None), Err(Unknown));
}

#[test]
fn selection_is_the_first_that_the_pod_is_in_and_what_is_unknown_before_it_decides_nothing() {
    let by_label =
        r#"{"name":"injected","namespaceSelector":{"matchLabels":{"istio-injection":"enabled"}},"mode":"hold"}"#;
    let by_revision =
        r#"{"namespaceSelector":{"matchExpressions":[{"key":"istio.io/rev","operator":"Exists"}]},"mode":"retry"}"#;
    let by_pod =
        r#"{"podSelector":{"matchExpressions":[{"key":"tier","operator":"In","values":["web"]}]},"mode":"observe"}"#;
    let parse = |text: &str| text.parse::<Selection>().unwrap();
    let defaults =
        Defaults { namespace_annotations: false, selections: vec![parse(by_label), parse(by_revision), parse(by_pod)] };
    assert!(defaults.needs_namespaces());
    let of = |pod: &Pod| defaults.selection(pod).map(|found| found.map(|found| found.name().to_owned()));
    let mut pod = in_namespace(Some(&[("istio.io/rev", "stable")]));
    assert_eq!(of(&pod), Ok(Some("the default of namespaces istio.io/rev".to_owned())));
    pod = in_namespace(Some(&[("istio-injection", "enabled"), ("istio.io/rev", "stable")]));
    assert_eq!(of(&pod), Ok(Some("the default injected".to_owned())), "the first one");
    pod = in_namespace(Some(&[]));
    assert_eq!(of(&pod), Ok(None));
    pod.labels = labels(&[("tier", "web")]);
    assert_eq!(of(&pod), Ok(Some("the default of pods tier in (web)".to_owned())));
    pod.namespace_meta = None;
    assert_eq!(of(&pod), Err(Unknown), "one that comes before it may be for it");
}

#[test]
fn selection_of_other_text_is_refused_with_what_is_wanted() {
    for (text, words) in [
        ("mode=hold", "wanted is a JSON object"),
        ("{}", "missing field `mode`"),
        (r#"{"mode":"hold","selector":{}}"#, "unknown field `selector`"),
        (r#"{"mode":"on"}"#, "conngate.io/mode takes no `on`"),
        (r#"{"mode":"hold","timeout":"1h"}"#, "conngate.io/timeout takes no `1h`"),
        (r#"{"mode":"hold","onTimeout":"drop"}"#, "conngate.io/on-timeout takes no `drop`"),
        (r#"{"mode":"hold","proxy":"other"}"#, "conngate.io/proxy takes no `other`"),
        (r#"{"mode":"hold","podSelector":{"matchExpressions":[{"key":"a","operator":"Has"}]}}"#, "podSelector: "),
    ] {
        let error = text.parse::<Selection>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn needs_namespaces_only_where_they_decide_something() {
    let selections = |selector: &str| Defaults {
        namespace_annotations: false,
        selections: vec![Selection::of_mode(Mode::Hold, Some(selector.parse().unwrap()))],
    };
    assert!(selections("mesh").needs_namespaces());
    assert!(!selections("kubernetes.io/metadata.name=a").needs_namespaces());
    assert!(!Defaults::default().needs_namespaces());
    assert!(Defaults { namespace_annotations: true, selections: Vec::new() }.needs_namespaces());
}
