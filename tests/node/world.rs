//! The node as a machine: its namespaces, its outside, its components.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use conngate_testbed::cluster::{NODE, NODE_V4};

use crate::shared::cluster;

fn output(mut command: Command, arguments: &[&str]) -> Result<String> {
    let output = command.args(arguments).output()?;
    anyhow::ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

pub(crate) fn node_has_its_own_name_network_and_files() -> Result<()> {
    let cluster = cluster()?;
    let shell = |script: &str| output(cluster.exec_in_node("sh")?, &["-c", script]);
    assert_eq!(shell("hostname")?.trim(), NODE);
    assert!(shell("ip -oneline address show eth0")?.contains(NODE_V4));
    assert_eq!(shell("cat /proc/1/comm")?.trim(), "conngate-test-n");
    shell("test -S /run/containerd/containerd.sock && test -f /var/lib/kubelet/pki/kubelet.crt")?;
    assert_eq!(shell("stat -f -c %T /sys/fs/bpf")?.trim(), "bpf_fs");
    assert!(cluster.file("/var/lib/kubelet/pki/kubelet.crt").exists(), "a file of the node is seen from here");
    assert_eq!(cluster.exec_in_node("sh")?.args(["-c", "exit 7"]).status()?.code(), Some(7));
    assert_eq!(cluster.exec_in_node("sh")?.args(["-c", "kill -9 $$"]).status()?.code(), Some(128 + 9));
    Ok(())
}

pub(crate) fn outside_of_the_node_is_the_upstream() -> Result<()> {
    let cluster = cluster()?;
    let addresses = output(cluster.command_outside("ip")?, &["-oneline", "address"])?;
    assert!(addresses.contains("198.51.100.10") && addresses.contains("192.0.2.1/"), "{addresses}");
    let body = output(cluster.exec_in_node("curl")?, &["--silent", "--fail", "http://198.51.100.10/any"])?;
    assert_eq!(body, "198.51.100.10:80\n");
    Ok(())
}

pub(crate) fn component_stopped_and_started_serves_again() -> Result<()> {
    let cluster = cluster()?;
    let pods = || cluster.kubectl(&["get", "pods", "--all-namespaces"]);
    for name in ["kubelet", "containerd", "kube-apiserver"] {
        assert!(cluster.is_running(name), "{name}");
        cluster.stop_component(name)?;
        assert!(!cluster.is_running(name), "{name}");
        assert_eq!(pods().is_ok(), name != "kube-apiserver");
        cluster.start_component(name)?;
        pods()?;
    }
    assert!(!fs::read_to_string(cluster.log("kubelet"))?.is_empty(), "what it said is kept");
    let error = cluster.stop_component("dockerd").err().context("there is no such component")?;
    assert!(error.to_string().contains("dockerd"), "{error}");
    Ok(())
}
