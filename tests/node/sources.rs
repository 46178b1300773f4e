//! Where pods come from, and what is lost while that is away: the kubelet, the API server, both.
//!
//! The rights that they take are in `rights`.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use conngate_testbed::{cluster::Cluster, lab::wait_until};
use serde_json::Value;

use crate::{
    install::{agent, install, installed, wait_readyz},
    pods::{Namespace, PATIENCE, container},
    rights::{replace_agent, take_away},
    workload::{assert_gated, output, said, steady_agent, switched, turn_on, wait_agent_says, wait_held},
};

/// The kubelet's own certificate, as the kubelet signs it.
const PINNED: &str = "kubelet.certificate=/var/lib/kubelet/pki/kubelet.crt";

/// The cluster's CA, as every pod has it.
const CA: &str = "kubelet.ca=/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Starts the kubelet with the certificate of the cluster's CA, until it is dropped.
struct Signed<'a> {
    cluster: &'a Cluster,
    path: PathBuf,
    before: String,
}

impl<'a> Signed<'a> {
    fn start(cluster: &'a Cluster) -> Result<Self> {
        let path = cluster.file("/etc/kubernetes/kubelet.yaml");
        let before = fs::read_to_string(&path).context("the kubelet's configuration")?;
        let mut signed: Value = serde_json::from_str(&before)?;
        signed["tlsCertFile"] = "/etc/kubernetes/kubelet.crt".into();
        signed["tlsPrivateKeyFile"] = "/etc/kubernetes/kubelet.key".into();
        cluster.stop_component("kubelet")?;
        let started = Self { cluster, path, before };
        fs::write(&started.path, signed.to_string())?;
        cluster.start_component("kubelet")?;
        Ok(started)
    }
}

impl Drop for Signed<'_> {
    fn drop(&mut self) {
        let restore = || {
            self.cluster.stop_component("kubelet")?;
            fs::write(&self.path, &self.before)?;
            self.cluster.start_component("kubelet")
        };
        if let Err(error) = restore() {
            eprintln!("the kubelet is not as it was: {error:#}");
        }
    }
}

pub(crate) fn kubelet_with_a_pinned_certificate_tells_of_pods_and_another_one_is_named() -> Result<()> {
    let cluster = installed()?;
    install(&cluster, &["podSource=kubelet", PINNED])?;
    let namespace = Namespace::new(&cluster, "kubelet-pinned", true)?;
    assert_gated(&cluster, &namespace, "app")?;
    cluster.stop_component("kubelet")?;
    let away = wait_readyz(&cluster, "the kubelet is away", |status, body| {
        status == 503 && body.contains("pods: kubelet: ") && body.contains("is it running")
    });
    cluster.start_component("kubelet")?;
    away?;
    wait_readyz(&cluster, "the kubelet is back", |status, body| status == 200 && body == "ok\n")?;
    let _signed = Signed::start(&cluster)?;
    wait_readyz(&cluster, "another certificate is named", |status, body| {
        status == 503 && body.contains("is not trusted") && body.contains("does not present the pinned certificate")
    })?;
    steady_agent(&cluster).map(drop)
}

pub(crate) fn kubelet_of_the_clusters_ca_tells_of_pods_and_without_the_right_says_which() -> Result<()> {
    let cluster = installed()?;
    let _signed = Signed::start(&cluster)?;
    install(&cluster, &["podSource=kubelet", CA])?;
    let namespace = Namespace::new(&cluster, "kubelet-ca", true)?;
    assert_gated(&cluster, &namespace, "app")?;
    // The kubelet remembers for minutes who may ask it; a new agent has a new token.
    take_away(&cluster, "nodes/pods")?;
    replace_agent(&cluster)?;
    wait_readyz(&cluster, "the right is named", |status, body| {
        status == 503 && body.contains("the kubelet refused nodes/pods") && body.contains("grant `get` on nodes/pods")
    })?;
    steady_agent(&cluster)?;
    install(&cluster, &["podSource=apiserver"])?;
    Ok(())
}

/// The API server goes away while a connection is held, and comes back after its gate has opened.
fn api_server_goes_and_comes(name: &'static str, values: &[&str], away: impl Fn(u16, &str) -> bool) -> Result<()> {
    let cluster = installed()?;
    install(&cluster, values)?;
    let namespace = Namespace::new(&cluster, name, true)?;
    namespace.create(switched(&namespace, "known"))?;
    let pod = wait_held(&namespace, "known")?;
    let before = steady_agent(&cluster)?;
    cluster.stop_component("kube-apiserver")?;
    let outcome = (|| {
        wait_readyz(&cluster, "the API server's absence is named", away)?;
        turn_on(&cluster, &pod)?;
        wait_agent_says(&cluster, &before, "the gate opens", |text| said(text, "gate opened", &pod))?;
        wait_until(PATIENCE, "the application is connected", || {
            output(&cluster, &pod, "app").ok()?.contains("connected").then_some(())
        })
    })();
    cluster.start_component("kube-apiserver")?;
    outcome?;
    assert_gated(&cluster, &namespace, "new")?;
    wait_readyz(&cluster, "the API server is back", |status, body| status == 200 && body == "ok\n")?;
    let pod = namespace.wait("known", "is known again", |_| true)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(steady_agent(&cluster)?["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}

pub(crate) fn api_server_that_goes_and_comes_is_named_and_changes_nothing_for_known_pods() -> Result<()> {
    api_server_goes_and_comes("api-away", &["podSource=apiserver"], |status, body| {
        status == 503 && body.contains("pods: apiserver: the API server cannot be reached")
    })
}

pub(crate) fn api_server_that_goes_and_comes_beside_a_trusted_kubelet_only_degrades() -> Result<()> {
    api_server_goes_and_comes("api-beside", &["podSource=auto", PINNED], |status, body| {
        status == 200 && body.contains("degraded: apiserver: the API server cannot be reached")
    })
}

pub(crate) fn watch_whose_version_has_expired_is_begun_anew() -> Result<()> {
    let cluster = installed()?;
    let agent = agent(&cluster)?;
    // What happens while the agent is stopped gets versions that the agent has not seen. The API server, started anew,
    // has no earlier ones; and the agent finds its watch ended and the API server there.
    cluster.pause("conngate")?;
    let outcome = Namespace::new(&cluster, "expired", true).and_then(|namespace| {
        cluster.stop_component("kube-apiserver")?;
        cluster.start_component("kube-apiserver")?;
        // It takes its endpoint back when it ends; pods reach it once kube-proxy knows of the new one.
        wait_until(PATIENCE, "the API server's Service answers", || {
            let mut curl = cluster.exec_in_node("curl").ok()?;
            let curl = curl.args(["--silent", "--fail", "--insecure", "--max-time", "2", "https://10.96.0.1/livez"]);
            curl.output().ok()?.status.success().then_some(())
        })?;
        Ok(namespace)
    });
    cluster.resume("conngate")?;
    let namespace = outcome?;
    wait_agent_says(&cluster, &agent, "the version has expired", |text| text.contains("(410)"))?;
    assert_gated(&cluster, &namespace, "app")?;
    let same = steady_agent(&cluster)?;
    assert_eq!(same["metadata"]["uid"], agent["metadata"]["uid"]);
    wait_readyz(&cluster, "nothing is missing", |status, body| status == 200 && body == "ok\n").map(drop)
}

pub(crate) fn kubelet_and_containerd_started_anew_change_nothing_for_pods_and_new_ones_are_gated() -> Result<()> {
    let cluster = installed()?;
    let before = steady_agent(&cluster)?;
    let namespace = Namespace::new(&cluster, "restarts", true)?;
    assert_gated(&cluster, &namespace, "before")?;
    for name in ["kubelet", "containerd"] {
        cluster.stop_component(name)?;
        cluster.start_component(name)?;
        assert_gated(&cluster, &namespace, if name == "kubelet" { "after-kubelet" } else { "after-containerd" })?;
    }
    let pod = namespace.wait("before", "is still there", |_| true)?;
    assert_eq!(container(&pod, "app")["restartCount"], 0);
    assert_eq!(steady_agent(&cluster)?["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}
