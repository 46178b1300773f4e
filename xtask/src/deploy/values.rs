//! Every value of the chart: that it does something when it is set, and that a wrong one is refused.
//!
//! Knows nothing of the agent's command line but the options written here.
//! Invariant: a value in values.yaml that no row sets is a finding.

use std::fs;

use anyhow::{Context as _, Result};

use super::{
    document::{documents, leaves},
    tools::{CHART, Tools},
};
use crate::workspace::root;

/// A value, another one than its default, and what only then is rendered.
const SET: [(&str, &str, &str); 66] = [
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
    (
        "defaults",
        r#"[{"mode":"hold","namespaceSelector":{"matchLabels":{"istio-injection":"enabled"}},"timeout":"90s"}]"#,
        r#"- "--default={\"mode\":\"hold\",\"namespaceSelector\":{\"matchLabels\":{\"istio-injection\":\"enabled\"}},\"timeout\":\"90s\"}""#,
    ),
    ("admissionPolicy.enabled", "true", "kind: ValidatingAdmissionPolicy\n"),
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
    ("startupTaint.enabled", "true", "--startup-taint=conngate.io/agent-not-ready"),
    ("startupTaint.enabled", "true", "resources: [nodes]\n    verbs: [get, patch]"),
    ("startupTaint.enabled", "true", "validationActions: [Deny]"),
    ("capabilities.sysResource", "true", "- SYS_RESOURCE"),
    ("probeBudget", "2000000", "- --probe-budget=2000000"),
    ("listen.address", r#""::""#, "--listen=[::]:9477"),
    ("listen.port", "80", "containerPort: 80"),
    ("log.format", r#""json""#, "- --log-format=json"),
    ("log.filter", r#""conngate=debug""#, "- name: CONNGATE_LOG\n              value: \"conngate=debug\""),
    ("podMetrics.enabled", "false", "- --pod-metrics=off"),
    ("podMetrics.limit", "7", "- --pod-metrics-limit=7"),
    ("podMonitor.enabled", "true", "kind: PodMonitor"),
    ("serviceMonitor.enabled", "true", "kind: ServiceMonitor"),
    ("prometheusRule.enabled", "true", "- alert: ConngateGatesTimingOut"),
    ("grafanaDashboard.enabled", "true", "grafana_dashboard: \"1\""),
    ("service.enabled", "true", "kind: Service\n"),
    ("service.enabled", "true", "--listen=[$(HOST_IP)]:9477"),
    ("podMonitor.enabled", "true", "--listen=[$(HOST_IP)]:9477"),
    ("serviceMonitor.enabled", "true", "--listen=[$(HOST_IP)]:9477"),
    ("extraArgs", r#"["--x"]"#, r#"- "--x""#),
    ("extraEnv", r#"[{"name":"X","value":"y"}]"#, "- name: X\n              value: \"y\""),
    ("hostNetwork", "false", "--listen=[::]:9477"),
    ("listen.address", r#""::1""#, "host: \"::1\""),
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
    ("securityContextConstraints.enabled", "true", "- system:serviceaccount:conngate-system:conngate"),
    ("resourceQuota.enabled", "true", "pods: \"10000\""),
];

/// What a NetworkPolicy takes.
const POLICY: &str = "networkPolicy.enabled,hostNetwork=false";

/// Switches (`true`, unless they say what), a value that does something only with them, and what then is rendered.
const SET_WITH: [(&str, &str, &str, &str); 27] = [
    ("podMonitor.enabled", "podMonitor.labels", r#"{"release":"p"}"#, "release: p"),
    ("podMonitor.enabled", "podMonitor.interval", r#""7s""#, "interval: 7s"),
    ("podMonitor.enabled", "podMonitor.scrapeTimeout", r#""6s""#, "scrapeTimeout: 6s"),
    (
        "podMonitor.enabled",
        "podMonitor.relabelings",
        r#"[{"targetLabel":"x"}]"#,
        "relabelings:\n        - targetLabel: x",
    ),
    (
        "podMonitor.enabled",
        "podMonitor.metricRelabelings",
        r#"[{"action":"drop"}]"#,
        "metricRelabelings:\n        - action: drop",
    ),
    ("serviceMonitor.enabled", "serviceMonitor.labels", r#"{"release":"p"}"#, "release: p"),
    ("serviceMonitor.enabled", "serviceMonitor.interval", r#""7s""#, "interval: 7s"),
    ("serviceMonitor.enabled", "serviceMonitor.scrapeTimeout", r#""6s""#, "scrapeTimeout: 6s"),
    (
        "serviceMonitor.enabled",
        "serviceMonitor.relabelings",
        r#"[{"targetLabel":"x"}]"#,
        "relabelings:\n        - targetLabel: x",
    ),
    (
        "serviceMonitor.enabled",
        "serviceMonitor.metricRelabelings",
        r#"[{"action":"drop"}]"#,
        "metricRelabelings:\n        - action: drop",
    ),
    ("prometheusRule.enabled", "prometheusRule.labels", r#"{"release":"p"}"#, "release: p"),
    ("grafanaDashboard.enabled", "grafanaDashboard.labels", r#"{"dashboards":"yes"}"#, "dashboards: \"yes\""),
    (
        "grafanaDashboard.enabled",
        "grafanaDashboard.annotations",
        r#"{"grafana_folder":"Mesh"}"#,
        "annotations:\n    grafana_folder: Mesh",
    ),
    ("hostNetwork=false", "networkPolicy.enabled", "true", "- namespaceSelector: {}"),
    (POLICY, "networkPolicy.from", r#"[{"ipBlock":{"cidr":"192.0.2.0/24"}}]"#, "cidr: 192.0.2.0/24"),
    (POLICY, "networkPolicy.from", r#"[{"ipBlock":{"cidr":"192.0.2.0/24"}}]"#, "app.kubernetes.io/name: conngate-test"),
    (POLICY, "networkPolicy.egress", r#"[{"ports":[{"port":53}]}]"#, "- Egress\n"),
    (POLICY, "networkPolicy.egress", r#"[{"ports":[{"port":53}]}]"#, "egress:\n    - ports:"),
    (POLICY, "listen.port", "80", "- protocol: TCP\n          port: 80"),
    ("service.enabled", "listen.port", "80", "  port: 80\n      targetPort: http"),
    ("admissionPolicy.enabled", "admissionPolicy.action", r#""Deny""#, "validationActions: [Deny]"),
    ("startupTaint.enabled", "startupTaint.key", r#""x/y""#, "--startup-taint=x/y"),
    ("startupTaint.enabled", "startupTaint.key", r#""x/y""#, "taint.key != 'x/y'"),
    ("resourceQuota.enabled", "resourceQuota.pods", "7", "pods: \"7\""),
    ("resourceQuota.enabled", "priorityClassName", r#""high""#, "values: [high]"),
    ("securityContextConstraints.enabled", "capabilities.sysResource", "true", "\n  - SYS_RESOURCE"),
    ("securityContextConstraints.enabled", "hostNetwork", "false", "allowHostPorts: false"),
];

/// A value that takes something away, and what then is not rendered any more.
const UNSET: [(&str, &str, &str); 10] = [
    ("priorityClassName", r#""""#, "priorityClassName"),
    ("namespaceAnnotations", "false", "--namespace-annotations"),
    ("namespaceAnnotations", "false", "resources: [namespaces]"),
    ("podSource", r#""apiserver""#, "nodes/pods"),
    ("podSource", r#""kubelet""#, "resources: [pods]"),
    ("hostNetwork", "false", "hostNetwork: true"),
    ("hostNetwork", "false", "host: \"127.0.0.1\""),
    ("serviceAccount.create", "false", "kind: ServiceAccount\nmetadata"),
    ("rbac.create", "false", "kind: ClusterRole"),
    ("seLinuxOptions", "null", "seLinuxOptions"),
];

/// A wrong value, and the place that Helm's message names.
const REFUSED: [(&str, &str, &str); 43] = [
    ("defaultMod", r#""hold""#, "'defaultMod' not allowed"),
    ("image.tagg", r#""x""#, "'tagg' not allowed"),
    ("image.tag", "1.5", "/image/tag"),
    ("image.digest", r#""sha256:0""#, "/image/digest"),
    ("image.pullPolicy", r#""Sometimes""#, "/image/pullPolicy"),
    ("defaultMode", r#""on""#, "/defaultMode"),
    ("defaultMode", "true", "/defaultMode"),
    ("namespaceSelector", r#"{"a":"b"}"#, "/namespaceSelector"),
    ("namespaceAnnotations", r#""on""#, "/namespaceAnnotations"),
    ("defaults", r#"[{"timeout":"9s"}]"#, "/defaults/0"),
    ("defaults", r#"[{"mode":"hold","selector":"a=b"}]"#, "'selector' not allowed"),
    ("admissionPolicy.action", r#""Block""#, "/admissionPolicy/action"),
    ("podSource", r#""cri""#, "/podSource"),
    ("podSource", r#""file""#, "/podManifests"),
    ("podManifests", r#""pods.yaml""#, "/podManifests"),
    ("kubelet.url", r#""10.0.0.1:10250""#, "/kubelet/url"),
    ("kubelet.certificate", r#""kubelet.crt""#, "/kubelet/certificate"),
    ("kubelet.insecure", r#""yes""#, "/kubelet/insecure"),
    ("cgroupRoot", r#""/kubepods""#, "/cgroupRoot"),
    ("bpffs", r#""""#, "/bpffs"),
    ("detachOnExit", r#""true""#, "/detachOnExit"),
    ("startupTaint.key", r#""a'b""#, "/startupTaint/key"),
    ("startupTaint.key", r#""""#, "/startupTaint/key"),
    ("probeBudget", "0", "/probeBudget"),
    ("listen.port", "70000", "/listen/port"),
    ("listen.address", r#""localhost""#, "/listen/address"),
    ("log.format", r#""xml""#, "/log/format"),
    ("podMetrics.enabled", r#""off""#, "/podMetrics/enabled"),
    ("podMetrics.limit", "0", "/podMetrics/limit"),
    ("service.enabled", r#""no""#, "/service/enabled"),
    ("podMonitor.labels", r#"{"a":1}"#, "/podMonitor/labels/a"),
    ("podMonitor.interval", "30", "/podMonitor/interval"),
    ("serviceMonitor.interval", r#""30 seconds""#, "/serviceMonitor/interval"),
    ("serviceMonitor.relabelings", "{}", "/serviceMonitor/relabelings"),
    ("prometheusRule.alerts", "{}", "'alerts' not allowed"),
    ("grafanaDashboard.labels", r#"{"a":1}"#, "/grafanaDashboard/labels/a"),
    ("networkPolicy.from", r#"["192.0.2.0/24"]"#, "/networkPolicy/from/0"),
    ("networkPolicy.egress", "{}", "/networkPolicy/egress"),
    ("extraArgs", r#""--x""#, "/extraArgs"),
    ("livenessProbe.httpGet", "{}", "/livenessProbe"),
    ("podAnnotations", r#"{"a":false}"#, "/podAnnotations/a"),
    ("securityContextConstraints.create", "true", "'create' not allowed"),
    ("resourceQuota.pods", r#""10""#, "/resourceQuota/pods"),
];

/// Values that are right alone and wrong together, and what Helm's message says.
const REFUSED_TOGETHER: [([(&str, &str); 2], &str); 3] = [
    (
        [("resourceQuota.enabled", "true"), ("priorityClassName", r#""""#)],
        "resourceQuota.enabled needs priorityClassName",
    ),
    ([("podMonitor.enabled", "true"), ("serviceMonitor.enabled", "true")], "both would scrape every agent twice"),
    ([("networkPolicy.enabled", "true"), ("hostNetwork", "true")], "networkPolicy.enabled needs hostNetwork=false"),
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
    for (switch, path, json, expected) in SET_WITH {
        let mut values: Vec<_> = switch.split(',').map(|one| one.split_once('=').unwrap_or((one, "true"))).collect();
        let without = tools.render(&values)?;
        values.push((path, json));
        let rendering = tools.render(&values)?;
        if without.matches(expected).count() >= rendering.matches(expected).count() {
            found.push(format!("{path}={json} beside {switch} does not render {expected:?}"));
        }
    }
    for (path, json, gone) in UNSET {
        if !default.contains(gone) || tools.render(&[(path, json)])?.contains(gone) {
            found.push(format!("{path}={json} does not take {gone:?} away"));
        }
    }
    for (path, json, named) in REFUSED {
        found.extend(not_refused(tools, &[(path, json)], named));
    }
    for (values, named) in REFUSED_TOGETHER {
        found.extend(not_refused(tools, &values, named));
    }
    if tools.render(&[("defaultMode", "false")])? != default {
        found.push("defaultMode=false, as YAML reads an unquoted off, is not off".to_owned());
    }
    Ok(found)
}

/// What is wrong with the refusal of `values`, whose message contains `named`.
fn not_refused(tools: &Tools, values: &[(&str, &str)], named: &str) -> Option<String> {
    let spelt = values.iter().map(|(path, json)| format!("{path}={json}")).collect::<Vec<_>>().join(" ");
    match tools.render(values) {
        Ok(_) => Some(format!("{spelt} is not refused")),
        Err(error) if !format!("{error:#}").contains(named) => {
            Some(format!("{spelt} is refused without naming {named}: {error:#}"))
        }
        Err(_) => None,
    }
}

/// The values that no row touches.
fn untouched() -> Result<Vec<String>> {
    let path = format!("{CHART}/values.yaml");
    let values = documents(&path, &fs::read_to_string(root().join(&path)).context(path.clone())?)?;
    let rows: Vec<_> = SET.iter().chain(&UNSET).map(|row| row.0).chain(SET_WITH.iter().map(|row| row.1)).collect();
    let is_set = |leaf: &str| rows.iter().any(|row| leaf == *row || leaf.starts_with(&format!("{row}.")));
    let leaves = values.iter().flat_map(leaves).filter(|leaf| !is_set(leaf));
    Ok(leaves.map(|leaf| format!("{path}: no check sets {leaf}")).collect())
}
