//! Every value of the chart: that it does something when it is set, and that a wrong one is refused.
//!
//! Knows nothing of the agent's command line but the options written here.
//! Invariant: a value in values.yaml that no row of [`SET`] sets is a finding.

use std::fs;

use anyhow::{Context as _, Result};

use super::{
    document::{documents, leaves},
    tools::{CHART, Tools},
};
use crate::workspace::root;

/// A value, another one than its default, and what only then is rendered.
const SET: [(&str, &str, &str); 49] = [
    ("nameOverride", r#""gate""#, "app.kubernetes.io/name: gate"),
    ("fullnameOverride", r#""gate""#, "name: gate"),
    ("image.repository", r#""example.org/c""#, "image: example.org/c:"),
    ("image.tag", r#""v9""#, "image: ghcr.io/conngate/conngate:v9"),
    (
        "image.digest",
        r#""sha256:0000000000000000000000000000000000000000000000000000000000000000""#,
        "conngate@sha256:0",
    ),
    ("image.pullPolicy", r#""Always""#, "imagePullPolicy: Always"),
    ("imagePullSecrets", r#"[{"name":"pull"}]"#, "imagePullSecrets:\n        - name: pull"),
    ("defaultMode", r#""hold""#, "- --default-mode=hold"),
    ("defaultMode", r#""retry""#, "- --default-mode=retry"),
    ("defaultMode", r#""observe""#, "- --default-mode=observe"),
    ("namespaceSelector", r#""a=b,c!=d""#, "--namespace-selector=a=b,c!=d"),
    ("namespaceSelector", r#""a=b""#, "resources: [namespaces]\n    verbs: [list, watch]"),
    ("podSource", r#""apiserver""#, "- --pod-source=apiserver"),
    ("podSource", r#""kubelet""#, "- --pod-source=kubelet"),
    ("kubelet.url", r#""https://$(HOST_IP):1""#, "--kubelet-url=https://$(HOST_IP):1"),
    ("kubelet.ca", r#""/ca""#, "--kubelet-ca=/ca"),
    ("kubelet.certificate", r#""/k.crt""#, "--kubelet-certificate=/k.crt"),
    ("kubelet.certificate", r#""/k.crt""#, "path: /k.crt\n            type: File"),
    ("kubelet.insecure", "true", "- --kubelet-insecure"),
    ("podManifests", r#""/m""#, "--pod-manifests=/m"),
    ("podManifests", r#""/m""#, "mountPath: /m\n              readOnly: true"),
    ("cgroupRoot", r#""/sys/fs/cgroup/k""#, "--cgroup-root=/sys/fs/cgroup/k"),
    ("bpffs", r#""/run/bpf""#, "--bpffs=/run/bpf"),
    ("bpffs", r#""/run/bpf""#, "path: /run/bpf"),
    ("detachOnExit", "true", "- --detach-on-exit"),
    ("probeBudget", "2000000", "- --probe-budget=2000000"),
    ("listen.address", r#""::""#, "--listen=[::]:9477"),
    ("listen.port", "80", "containerPort: 80"),
    ("log.format", r#""json""#, "- --log-format=json"),
    ("log.filter", r#""conngate=debug""#, "- name: CONNGATE_LOG\n              value: \"conngate=debug\""),
    ("extraArgs", r#"["--x"]"#, r#"- "--x""#),
    ("extraEnv", r#"[{"name":"X","value":"y"}]"#, "- name: X\n              value: \"y\""),
    ("hostNetwork", "true", "hostNetwork: true"),
    ("hostNetwork", "true", "host: 127.0.0.1"),
    ("priorityClassName", r#""high""#, "priorityClassName: high"),
    ("nodeSelector", r#"{"mesh":"yes"}"#, "mesh: \"yes\""),
    ("tolerations", r#"[{"key":"x"}]"#, "- key: x"),
    ("affinity", r#"{"nodeAffinity":{}}"#, "affinity:\n        nodeAffinity"),
    ("updateStrategy", r#"{"type":"OnDelete"}"#, "type: OnDelete"),
    ("terminationGracePeriodSeconds", "9", "terminationGracePeriodSeconds: 9"),
    ("resources", r#"{"limits":{"memory":"1Gi"}}"#, "memory: 1Gi"),
    ("startupProbe", r#"{"failureThreshold":99}"#, "failureThreshold: 99"),
    ("livenessProbe", r#"{"failureThreshold":99}"#, "failureThreshold: 99"),
    ("readinessProbe", r#"{"failureThreshold":99}"#, "failureThreshold: 99"),
    ("podLabels", r#"{"team":"mesh"}"#, "team: mesh"),
    ("podAnnotations", r#"{"team":"mesh"}"#, "team: mesh"),
    ("seLinuxOptions", r#"{"type":"other_t"}"#, "type: other_t"),
    ("serviceAccount.name", r#""other""#, "serviceAccountName: other"),
    ("serviceAccount.annotations", r#"{"x":"y"}"#, "annotations:\n    x: \"y\""),
];

/// A value that takes something away, and what then is not rendered any more.
const UNSET: [(&str, &str, &str); 6] = [
    ("priorityClassName", r#""""#, "priorityClassName"),
    ("podSource", r#""apiserver""#, "nodes/pods"),
    ("podSource", r#""kubelet""#, "resources: [pods]"),
    ("serviceAccount.create", "false", "kind: ServiceAccount\nmetadata"),
    ("rbac.create", "false", "kind: ClusterRole"),
    ("seLinuxOptions", "null", "seLinuxOptions"),
];

/// A wrong value, and the place that Helm's message names.
const REFUSED: [(&str, &str, &str); 24] = [
    ("defaultMod", r#""hold""#, "'defaultMod' not allowed"),
    ("image.tagg", r#""x""#, "'tagg' not allowed"),
    ("image.tag", "1.5", "/image/tag"),
    ("image.digest", r#""sha256:0""#, "/image/digest"),
    ("image.pullPolicy", r#""Sometimes""#, "/image/pullPolicy"),
    ("defaultMode", r#""on""#, "/defaultMode"),
    ("defaultMode", "true", "/defaultMode"),
    ("namespaceSelector", r#"{"a":"b"}"#, "/namespaceSelector"),
    ("podSource", r#""cri""#, "/podSource"),
    ("podSource", r#""file""#, "/podManifests"),
    ("podManifests", r#""pods.yaml""#, "/podManifests"),
    ("kubelet.url", r#""10.0.0.1:10250""#, "/kubelet/url"),
    ("kubelet.certificate", r#""kubelet.crt""#, "/kubelet/certificate"),
    ("kubelet.insecure", r#""yes""#, "/kubelet/insecure"),
    ("cgroupRoot", r#""/kubepods""#, "/cgroupRoot"),
    ("bpffs", r#""""#, "/bpffs"),
    ("detachOnExit", r#""true""#, "/detachOnExit"),
    ("probeBudget", "0", "/probeBudget"),
    ("listen.port", "70000", "/listen/port"),
    ("listen.address", r#""localhost""#, "/listen/address"),
    ("log.format", r#""xml""#, "/log/format"),
    ("extraArgs", r#""--x""#, "/extraArgs"),
    ("livenessProbe.httpGet", "{}", "/livenessProbe"),
    ("podAnnotations", r#"{"a":false}"#, "/podAnnotations/a"),
];

/// One line for each promise of the chart's values that is not kept; `default` is the rendering without any value.
pub(crate) fn broken(tools: &Tools, default: &str) -> Result<Vec<String>> {
    let mut found = untouched()?;
    for (path, json, expected) in SET {
        let rendering = tools.render(&[(path, json)])?;
        if default.matches(expected).count() >= rendering.matches(expected).count() {
            found.push(format!("{path}={json} does not render {expected:?}"));
        }
    }
    for (path, json, gone) in UNSET {
        if !default.contains(gone) || tools.render(&[(path, json)])?.contains(gone) {
            found.push(format!("{path}={json} does not take {gone:?} away"));
        }
    }
    for (path, json, named) in REFUSED {
        match tools.render(&[(path, json)]) {
            Ok(_) => found.push(format!("{path}={json} is not refused")),
            Err(error) if !format!("{error:#}").contains(named) => {
                found.push(format!("{path}={json} is refused without naming {named}: {error:#}"));
            }
            Err(_) => {}
        }
    }
    if tools.render(&[("defaultMode", "false")])? != default {
        found.push("defaultMode=false, as YAML reads an unquoted off, is not off".to_owned());
    }
    Ok(found)
}

/// The values that no row touches.
fn untouched() -> Result<Vec<String>> {
    let path = format!("{CHART}/values.yaml");
    let values = documents(&path, &fs::read_to_string(root().join(&path)).context(path.clone())?)?;
    let rows: Vec<_> = SET.iter().chain(&UNSET).map(|row| row.0).collect();
    let is_set = |leaf: &str| rows.iter().any(|row| leaf == *row || leaf.starts_with(&format!("{row}.")));
    let leaves = values.iter().flat_map(leaves).filter(|leaf| !is_set(leaf));
    Ok(leaves.map(|leaf| format!("{path}: no check sets {leaf}")).collect())
}
