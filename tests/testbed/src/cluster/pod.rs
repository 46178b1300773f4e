//! Manifests of pods, for tests.
//!
//! Knows nothing of the cluster: it makes JSON that the API server understands. What is not said is Kubernetes' default,
//! except that nobody waits thirty seconds for a test's pod to leave.

use serde_json::{Map, Value, json};

use super::APP;

/// A pod's manifest that is being written.
#[derive(Clone, Debug)]
pub struct Pod(Value);

/// A container's manifest that is being written.
#[derive(Clone, Debug)]
pub struct Container(Value);

impl Pod {
    /// A pod called `name` in `namespace`.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace, "annotations": {}, "labels": { "app": name } },
            "spec": { "terminationGracePeriodSeconds": 1, "containers": [], "initContainers": [] },
        }))
    }

    /// With an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// With a label. `app` is the pod's name.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = value.into();
        self
    }

    /// With an application container.
    #[must_use]
    pub fn container(self, container: Container) -> Self {
        self.add("containers", container)
    }

    /// With an init container, after those that there are.
    #[must_use]
    pub fn init_container(self, container: Container) -> Self {
        self.add("initContainers", container)
    }

    /// With another field of the PodSpec, such as `restartPolicy` or `hostNetwork`.
    #[must_use]
    pub fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["spec"][field] = value.into();
        self
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(self) -> Value {
        self.0
    }

    fn add(mut self, kind: &str, container: Container) -> Self {
        if let Some(containers) = self.0["spec"][kind].as_array_mut() {
            containers.push(container.0);
        }
        self
    }
}

impl Container {
    /// A container called `name` of the image [`APP`] that runs `command`.
    #[must_use]
    pub fn new(name: &str, command: &[&str]) -> Self {
        Self(json!({ "name": name, "image": APP, "command": command }))
    }

    /// A container that runs `script` by bash.
    #[must_use]
    pub fn script(name: &str, script: &str) -> Self {
        Self::new(name, &["bash", "-c", script])
    }

    /// Of another image.
    #[must_use]
    pub fn image(self, reference: &str) -> Self {
        self.field("image", reference)
    }

    /// With these environment variables.
    #[must_use]
    pub fn env(self, variables: &[(&str, &str)]) -> Self {
        let variables: Vec<_> = variables.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.field("env", variables)
    }

    /// As user and group `id`.
    #[must_use]
    pub fn user(self, id: u32) -> Self {
        self.field("securityContext", json!({ "runAsUser": id, "runAsGroup": id }))
    }

    /// With another field of the Container, such as `lifecycle`, `restartPolicy` or `securityContext`.
    #[must_use]
    pub fn field(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }
}

/// A namespace's manifest; `injected`: its pods get a sidecar.
#[must_use]
pub fn namespace(name: &str, injected: bool) -> Value {
    let mut labels = Map::new();
    if injected {
        labels.insert("istio-injection".into(), "enabled".into());
    }
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_of_two_containers_has_them_in_order() {
        let pod = Pod::new("shop", "cart")
            .annotation("a/b", "c")
            .init_container(Container::new("init", &["true"]).user(7))
            .container(Container::script("one", "exit 0").env(&[("X", "1")]))
            .container(Container::script("two", "exit 1").image("other.test/x:1"))
            .spec("hostNetwork", true)
            .manifest();
        assert_eq!(pod["metadata"]["annotations"]["a/b"], "c");
        assert_eq!(pod["spec"]["initContainers"][0]["securityContext"]["runAsGroup"], 7);
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "X");
        assert_eq!(pod["spec"]["containers"][0]["command"], json!(["bash", "-c", "exit 0"]));
        assert_eq!(pod["spec"]["containers"][1]["image"], "other.test/x:1");
        assert_eq!(pod["spec"]["hostNetwork"], true);
    }
}
