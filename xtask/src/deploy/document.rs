//! YAML as JSON values: many documents in one text, and the places of a value.
//!
//! Knows nothing of Kubernetes.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The documents of `yaml`, without empty ones. `name` is for the error.
pub(crate) fn documents(name: &str, yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| anyhow::anyhow!("{error}")).context(name.to_owned())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The document of this kind.
pub(crate) fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Result<&'a Value> {
    documents.iter().find(|document| document["kind"] == kind).with_context(|| format!("no {kind} is rendered"))
}

/// The strings of an array; none where it is something else.
pub(crate) fn strings(array: &Value) -> impl Iterator<Item = String> {
    array.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned)
}

/// The paths (`a.b`) of all leaves below `value`; an empty object is one.
pub(crate) fn leaves(value: &Value) -> Vec<String> {
    let Some(object) = value.as_object().filter(|object| !object.is_empty()) else { return vec![String::new()] };
    let below = object.iter().flat_map(|(key, value)| leaves(value).into_iter().map(move |rest| (key, rest)));
    below.map(|(key, rest)| if rest.is_empty() { key.clone() } else { format!("{key}.{rest}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_of_many_are_all_there() {
        let yaml = "---\n# nothing\n---\nkind: A\nname: \"off\"\n---\nkind: B\nlist: [x, z]\n";
        let documents = documents("test", yaml).unwrap();
        assert_eq!(documents, [json!({"kind": "A", "name": "off"}), json!({"kind": "B", "list": ["x", "z"]})]);
        assert_eq!(strings(&of_kind(&documents, "B").unwrap()["list"]).collect::<Vec<_>>(), ["x", "z"]);
        assert!(of_kind(&documents, "C").is_err());
    }

    #[test]
    fn documents_of_no_yaml_names_the_text() {
        assert!(format!("{:#}", documents("job.yaml", "a: [b\n").unwrap_err()).contains("job.yaml"));
    }

    #[test]
    fn leaves_of_nested_objects_are_paths() {
        let value = json!({"a": {"b": 1, "c": [2]}, "d": {}, "e": ""});
        assert_eq!(leaves(&value), ["a.b", "a.c", "d", "e"]);
    }
}
