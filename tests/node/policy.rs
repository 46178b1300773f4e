//! Opting in for others: annotations of a namespace, the node's defaults, and the admission policy, asked of the real API server.

use anyhow::{Context, Result, ensure};
use conngate_testbed::{cluster::Cluster, lab::wait_until};
use serde_json::{Map, Value, json};

use crate::{
    install::{NAMESPACE, agent, install, installed},
    pods::{Namespace, PATIENCE},
    workload::{eager, switched, wait_held},
};

/// The table that the agent's own parser is tested with.
const VALUES: &str = include_str!("../../agent/src/pods/annotation_values.json");

/// What the API server says to the creation of `object`, which is not made: whether it is admitted, and its words.
fn asked(cluster: &Cluster, object: &Value) -> Result<(bool, String)> {
    let mut kubectl = cluster.kubectl_command()?;
    kubectl.args(["create", "--dry-run=server", "--output=name", "-f", "-"]);
    let mut child = kubectl
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("stdin")?, object.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn pod(namespace: &Namespace, key: &str, value: &str) -> Value {
    eager(namespace, "asked").annotation(key, value).manifest()
}

pub(crate) fn admission_policy_refuses_each_bad_value_and_admits_each_good_one() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "judged", false)?;
    let bad = pod(&namespace, "conngate.io/mode", "hodl");
    install(&cluster, &["admissionPolicy.enabled=true"])?;
    let said = wait_until(PATIENCE, "the API server warns", || {
        asked(&cluster, &bad).ok().filter(|(admitted, said)| *admitted && said.contains("conngate.io/mode: allowed"))
    })?;
    assert!(said.1.contains("Warning: "), "{}", said.1);

    install(&cluster, &["admissionPolicy.enabled=true", "admissionPolicy.action=Deny"])?;
    wait_until(PATIENCE, "the API server refuses", || asked(&cluster, &bad).ok().filter(|(admitted, _)| !admitted))?;
    let table: Map<String, Value> = serde_json::from_str(VALUES)?;
    let mut wrong = Vec::new();
    for (key, values) in &table {
        for (kind, is_good) in [("good", true), ("bad", false)] {
            for value in values[kind].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let (admitted, said) = asked(&cluster, &pod(&namespace, key, value))?;
                let named = admitted || said.contains(&format!("{key}: allowed"));
                if admitted != is_good || !named {
                    wrong.push(format!("{key}: {value:?} admitted {admitted}: {said}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");

    let template = json!({ "metadata": { "labels": { "a": "b" }, "annotations": { "conngate.io/timeout": "1h" } },
        "spec": { "containers": [{ "name": "app", "image": "app" }], "restartPolicy": "Always" } });
    let selector = json!({ "matchLabels": { "a": "b" } });
    let of = |kind: &str, version: &str, spec: Value| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "asked", "namespace": "judged" }, "spec": spec });
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = "Never".into();
    for object in [
        of("Deployment", "apps/v1", json!({ "selector": selector, "template": template })),
        of("CronJob", "batch/v1", json!({ "schedule": "0 0 * * *", "jobTemplate": { "spec": { "template": job } } })),
        json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": "other", "annotations": { "conngate.io/timeout": "1h" } } }),
    ] {
        let (admitted, said) = asked(&cluster, &object)?;
        assert!(!admitted && said.contains("conngate.io/timeout: allowed"), "{}: {said}", object["kind"]);
    }
    install(&cluster, &[])
}

pub(crate) fn namespace_and_selected_defaults_hold_and_explain_says_whose_word_it_is() -> Result<()> {
    let cluster = installed()?;
    install(
        &cluster,
        &[
            "defaults[0].name=mesh",
            "defaults[0].mode=hold",
            "defaults[0].timeout=10m",
            "defaults[0].podSelector.matchLabels.asks=hold",
        ],
    )?;
    let explained = |pod: &str| -> Result<Value> {
        let agent = agent(&cluster)?;
        let name = agent["metadata"]["name"].as_str().context("a name")?;
        let said = cluster.kubectl(&[
            "--namespace",
            NAMESPACE,
            "exec",
            name,
            "--",
            "/conngate",
            "explain",
            pod,
            "-o",
            "json",
        ])?;
        serde_json::from_str(&said).context(said)
    };
    let namespace = Namespace::new(&cluster, "opted-in", true)?;
    cluster.kubectl(&["annotate", "namespace", "opted-in", "conngate.io/mode=hold"])?;
    let mut asking = switched(&namespace, "app").label("asks", "hold").manifest();
    for key in ["conngate.io/mode", "conngate.io/timeout"] {
        asking["metadata"]["annotations"].as_object_mut().context("annotations")?.remove(key);
    }
    cluster.apply(&asking.to_string())?;
    wait_held(&namespace, "app")?;
    let policy = explained("opted-in/app")?["policy"].clone();
    let origins = &policy["origins"];
    assert_eq!((&policy["mode"], &origins["mode"]), (&"hold".into(), &"namespace opted-in".into()), "{policy:#}");
    assert_eq!(
        (&policy["timeout_seconds"], &origins["timeout"]),
        (&600.0.into(), &"the default mesh".into()),
        "{policy:#}"
    );
    assert_eq!(origins["ready-url"], "the pod", "{policy:#}");

    cluster.kubectl(&["annotate", "namespace", "opted-in", "--overwrite", "conngate.io/mode=off"])?;
    wait_until(PATIENCE, "the running pod follows its namespace", || {
        let explained = explained("opted-in/app").ok()?;
        (explained["not_gated"] == "conngate.io/mode of its namespace is off").then_some(())
    })?;
    let held = explained("opted-in/app")?["gate"]["waiting"].clone();
    ensure!(held == 0, "what was held is let go: {held}");
    install(&cluster, &[])
}
