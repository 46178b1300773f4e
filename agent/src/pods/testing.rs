//! Pods for tests, as an API server would send them.

use serde_json::{Value, json};

use super::pod::Pod;

/// UIDs that differ in one digit.
pub(crate) fn uid(n: u8) -> String {
    format!("0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8{n:02x}")
}

/// A pod with one application container and an Istio sidecar.
pub(crate) fn json_pod(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": "1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "app"}, {"name": "istio-proxy"}]},
    })
}

/// The same, parsed.
pub(crate) fn pod(namespace: &str, name: &str) -> Pod {
    parsed(json_pod(namespace, name, &uid(1)))
}

/// A pod from JSON.
pub(crate) fn parsed(json: Value) -> Pod {
    let pod: super::object::PodObject = serde_json::from_value(json).unwrap();
    Pod::try_from(&pod).unwrap()
}

/// `pods` as a PodList.
pub(crate) fn json_list(pods: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": pods})
}
