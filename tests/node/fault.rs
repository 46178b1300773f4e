//! The fault that conngate removes, on a real node with a real Istio: a connection that is made before the proxy
//! listens is refused, and the application that ends because of it is restarted.

use anyhow::Result;
use conngate_testbed::cluster::{Cluster, pod::Container};

use crate::{
    pods::{NATIVE_SIDECAR, Namespace, container, is_ready},
    shared::cluster,
};

/// Connects in its first millisecond, and ends when it is refused.
const HASTY: &str = "exec 3<>/dev/tcp/198.51.100.10/80 || exit 1; exec sleep infinity";

/// Creates the pod `app`: the hasty application, and a sidecar that starts beside it.
fn create_hasty<'a>(cluster: &'a Cluster, name: &'static str) -> Result<Namespace<'a>> {
    let namespace = Namespace::new(cluster, name, true)?;
    let pod = namespace.pod("app").annotation(NATIVE_SIDECAR, "false").container(Container::script("app", HASTY));
    namespace.create(pod)?;
    Ok(namespace)
}

pub(crate) fn application_that_connects_at_once_is_refused_and_restarts() -> Result<()> {
    let cluster = cluster()?;
    let namespace = create_hasty(&cluster, "hasty")?;
    let restarted = |pod: &serde_json::Value| container(pod, "app")["restartCount"].as_u64() > Some(0);
    let pod = namespace.wait("app", "is restarted and then ready", |pod| restarted(pod) && is_ready(pod))?;
    assert_eq!(container(&pod, "app")["lastState"]["terminated"]["exitCode"], 1);
    let said = namespace.log("app", "app", true)?;
    assert!(said.contains("Connection refused"), "{said}");
    Ok(())
}

pub(crate) fn proxy_of_a_paused_istiod_is_not_ready_until_it_is_resumed() -> Result<()> {
    let cluster = cluster()?;
    let namespace = create_hasty(&cluster, "paused")?;
    cluster.pause("istiod")?;
    let refused = namespace.wait("app", "is refused while the proxy runs", |pod| {
        container(pod, "app")["restartCount"].as_u64() > Some(0)
            && container(pod, "istio-proxy")["state"]["running"].is_object()
    });
    let unready = refused.as_ref().is_ok_and(|pod| container(pod, "istio-proxy")["ready"] == false);
    cluster.resume("istiod")?;
    refused?;
    assert!(unready, "a proxy has no listener before istiod has answered");
    namespace.wait("app", "is ready", is_ready).map(drop)
}
