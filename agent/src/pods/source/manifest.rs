//! Pod manifests: YAML documents or JSON, each a Pod or a list of pods.
//!
//! Knows nothing of files. One wrong document makes the whole text wrong: half of a manifest is not what somebody meant.
//! A pod needs `metadata.uid`, since its cgroup is named after it; a namespace that is left out is `default`.

use serde::Deserialize as _;
use serde_json::Value;

use crate::pods::{
    bad::printable,
    object::PodObject,
    pod::{Pod, PodError},
};

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Neither YAML nor JSON, or beyond the parser's budget.
    #[error("it is neither YAML nor JSON: {0}")]
    Syntax(String),
    /// Something else than a pod.
    #[error("document {document} is a `{kind}`; allowed are Pod, PodList and List")]
    Kind {
        /// Counted from 1.
        document: usize,
        /// What it says it is.
        kind: String,
    },
    /// Fields of other types than a pod's.
    #[error("document {document} is not a pod")]
    Shape {
        /// Counted from 1.
        document: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A pod that cannot be told from others.
    #[error("document {document}")]
    Pod {
        /// Counted from 1.
        document: usize,
        /// Why.
        #[source]
        source: PodError,
    },
}

/// The pods of a manifest.
///
/// # Errors
/// For the first document that is not a Pod, a PodList, or a List of pods.
pub fn parse(text: &[u8]) -> Result<Vec<Pod>, ManifestError> {
    let documents: Vec<Value> = match serde_json::from_slice(text) {
        Ok(json) => vec![json],
        Err(_) => serde_saphyr::from_slice_multiple(text).map_err(|error| ManifestError::Syntax(error.to_string()))?,
    };
    let mut pods = Vec::new();
    for (document, value) in (1..).zip(documents) {
        if value.is_null() {
            continue;
        }
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let items = match kind {
            "Pod" => vec![value],
            "PodList" | "List" => match value.get("items") {
                Some(Value::Array(items)) => items.clone(),
                _ => Vec::new(),
            },
            other => return Err(ManifestError::Kind { document, kind: printable(other) }),
        };
        for item in items {
            let mut pod = PodObject::deserialize(item).map_err(|source| ManifestError::Shape { document, source })?;
            pod.metadata.namespace.get_or_insert_with(|| "default".to_owned());
            pods.push(Pod::try_from(&pod).map_err(|source| ManifestError::Pod { document, source })?);
        }
    }
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pods::testing::{json_list, json_pod, uid};

    const YAML: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
  uid: 0a1b2c3d-4e5f-6071-8293-a4b5c6d7e801
  annotations: {conngate.io/mode: hold}
spec:
  containers: [{name: app}]
";

    #[test]
    fn parse_several_documents_are_several_pods() {
        let two = format!("# a comment\n---\n{YAML}\n---\n{}\n---\n", YAML.replace("e801", "e802"));
        let pods = parse(two.as_bytes()).unwrap();
        assert_eq!(pods.iter().map(Pod::path).collect::<Vec<_>>(), ["default/web", "default/web"]);
        assert_eq!(pods[1].uid.to_string(), uid(2));
        assert_eq!(pods[0].annotations["conngate.io/mode"], "hold");
    }

    #[test]
    fn parse_lists_and_json_are_understood() {
        let list = json_list(&[json_pod("a", "x", &uid(1)), json_pod("a", "y", &uid(2))]);
        assert_eq!(parse(list.to_string().as_bytes()).unwrap().len(), 2);
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn parse_what_is_wrong_is_named() {
        let error = |text: &str| super::super::explain::chain(&parse(text.as_bytes()).unwrap_err());
        assert!(error("kind: Deployment").contains("document 1 is a `Deployment`; allowed are Pod"));
        assert!(error(&format!("{YAML}---\n3")).contains("document 2"));
        assert!(error("a: [").contains("neither YAML nor JSON"));
        assert!(error(&YAML.replace("  uid", "  other")).contains("default/web has no metadata.uid"));
        assert!(error(&YAML.replace("[{name: app}]", "app")).contains("document 1 is not a pod"));
        assert!(error(&YAML.replace("0a1b", "host")).contains("is not a pod UID"));
    }

    #[test]
    fn parse_of_a_billion_laughs_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(matches!(parse(text.as_bytes()), Err(ManifestError::Syntax(_))));
    }

    proptest! {
        #[test]
        fn parse_of_anything_does_not_panic(text in "(kind: (Pod|List|x)\n)?(items|metadata|spec): ?[\\PC\n]{0,60}") {
            let _ = parse(text.as_bytes());
        }
    }
}
