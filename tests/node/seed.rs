//! What conngate was made for, on a real node with a real Istio that captures DNS: an application in a JVM fetches the configuration
//! of its logging by name in second 2, istiod is held back until after second 16, and the application starts at its first try.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use conngate_testbed::{
    cluster::pod::Container,
    lab::{resolver::java_itself, wait_until},
};
use serde_json::json;

use crate::{
    application::{Paused, gated, wait_held},
    install::installed,
    operate::inside,
    pods::{Namespace, PATIENCE, container, is_ready},
};

/// Compiled as it is started.
const SOURCE: &str = include_str!("../resolvers/LogConfig.java");

const LATE: Duration = Duration::from_secs(16);

/// The cluster's own nameserver, which Istio's rules keep from the application.
const DNS_OVER_TCP: &str = "10.96.0.10:53";

pub(crate) fn jvm_that_asks_by_name_in_second_2_starts_at_the_first_try_though_istio_is_ready_after_second_16()
-> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "seed", true)?;
    // Its only endpoint is the server outside of the cluster.
    cluster.apply(&service("seed").to_string())?;
    let java = java_itself()?;
    let home = java.ancestors().nth(2).context("Java is in a directory of its own")?;
    let conf = fs::canonicalize(home.join("conf/net.properties"))?;
    let conf = conf.parent().context("a file is in a directory")?;
    let volumes = [("java", home), ("conf", conf)];
    let program = format!("{} /program/LogConfig.java http://log-config-server:12345/", java.display());
    let mut mounts: Vec<_> =
        volumes.map(|(name, path)| json!({ "name": name, "mountPath": path, "readOnly": true })).into();
    mounts.push(json!({ "name": "program", "mountPath": "/program" }));
    let mut volumes: Vec<_> =
        volumes.map(|(name, path): (_, &Path)| json!({ "name": name, "hostPath": { "path": path } })).into();
    volumes.push(json!({ "name": "program", "configMap": { "name": "program" } }));
    let app =
        Container::script("app", &format!("{program} && exec sleep infinity; exit 1")).field("volumeMounts", mounts);
    let pod = gated(&namespace)
        .annotation("proxy.istio.io/config", r#"{"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true"}}"#)
        .container(app)
        .spec("volumes", volumes);
    namespace.create(pod)?;
    let paused = Paused::istiod(&cluster)?;
    let begun = Instant::now();
    // The C library waits no longer for an answer over UDP; its question over TCP is held for as long as it takes.
    wait_held(&namespace, "app", "app", DNS_OVER_TCP)?;
    wait_until(PATIENCE, "second 16 is over", || (begun.elapsed() > LATE).then_some(()))?;
    assert_eq!(namespace.log("app", "app", false)?, "started\n");
    drop(paused);
    let told = wait_until(PATIENCE, "the application has its configuration, or ends", || {
        namespace.log("app", "app", false).ok().filter(|said| said.lines().count() > 1)
    });
    let pod = namespace.wait("app", "is ready", is_ready)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0, "{told:?}");
    assert_eq!(told?, "started\nconfigured by 198.51.100.10:80\n");
    let events = inside(&cluster, &["events", "--pod", "seed/app"])?;
    assert!(events.contains("released (ready): held"), "{events}");
    Ok(())
}

/// The Service that the application asks, and its source as a file.
fn service(namespace: &str) -> serde_json::Value {
    let metadata = |name: &str| json!({ "name": name, "namespace": namespace });
    let mut slice = metadata("log-config-server");
    slice["labels"] = json!({ "kubernetes.io/service-name": "log-config-server" });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata("log-config-server"),
            "spec": { "ports": [{ "name": "http", "port": 12345 }] },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice,
            "addressType": "IPv4",
            "ports": [{ "name": "http", "port": 80 }],
            "endpoints": [{ "addresses": ["198.51.100.10"], "conditions": { "ready": true } }],
        },
        { "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("program"), "data": { "LogConfig.java": SOURCE } },
    ] })
}
