//! What is promised beyond the chart: kustomizations and examples that render, versions that agree, a test of the release that
//! is none of its agents, and a document that names every right that the agent asks for, no more and no less.
//!
//! Knows nothing of values.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    document::{documents, of_kind, strings},
    tools::{CHART, Tools},
};
use crate::workspace::root;

/// Where the rights are explained.
const DOCUMENT: &str = "docs/install.md";
/// Values with which the agent asks for every right that there is.
const ALL_RIGHTS: [(&str, &str); 2] = [("namespaceSelector", r#""mesh=yes""#), ("startupTaint.enabled", "true")];
/// Examples, and whether they are what their name says.
const EXAMPLES: [(&str, &str); 2] =
    [("deploy/examples/deployment.yaml", "Deployment"), ("deploy/examples/job.yaml", "Job")];

/// One line for each promise that is not kept; `default` is the chart's rendering without any value.
pub(crate) fn broken(tools: &Tools, default: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    found.extend(of_documents(default, &tools.render(&ALL_RIGHTS)?, &read(DOCUMENT)?)?);

    found.extend(of_test(&tools.render(&[("service.enabled", "true")])?, &tools.render_tests()?)?);

    let chart = documents("Chart.yaml", &read(&format!("{CHART}/Chart.yaml"))?)?;
    for key in ["version", "appVersion"] {
        if chart.iter().all(|chart| chart[key] != env!("CARGO_PKG_VERSION")) {
            found.push(format!("{CHART}/Chart.yaml: {key} is not the crates' version, {}", env!("CARGO_PKG_VERSION")));
        }
    }

    let base = documents("the kustomize base", &tools.kustomize("deploy/kustomize/base")?)?;
    let agent = &of_kind(&base, "DaemonSet")?["spec"]["template"]["spec"]["containers"][0];
    let cleanup = documents("the kustomization cleanup", &tools.kustomize("deploy/kustomize/cleanup")?)?;
    let cleaner = &of_kind(&cleanup, "DaemonSet")?["spec"]["template"]["spec"]["initContainers"][0];
    for part in ["image", "securityContext", "volumeMounts"] {
        if agent[part].is_null() || agent[part] != cleaner[part] {
            found.push(format!("deploy/kustomize/cleanup: {part} is not the agent's"));
        }
    }

    for (path, kind) in EXAMPLES {
        let example = documents(path, &read(path)?)?;
        if of_kind(&example, kind)?["spec"]["template"]["metadata"]["annotations"]["conngate.io/mode"] != "hold" {
            found.push(format!("{path}: its pods do not ask for mode hold"));
        }
    }
    Ok(found)
}

/// What the document and the rendering do not both say.
fn of_documents(default: &str, with_all_rights: &str, document: &str) -> Result<Vec<String>> {
    let default = documents("the chart", default)?;
    let pod = &of_kind(&default, "DaemonSet")?["spec"]["template"]["spec"];
    let capabilities = strings(&pod["containers"][0]["securityContext"]["capabilities"]["add"]).collect();
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    let mounts = volumes.filter_map(|volume| volume["hostPath"]["path"].as_str()).map(str::to_owned).collect();
    let rendered = documents("the chart", with_all_rights)?;
    let rules = of_kind(&rendered, "ClusterRole")?["rules"].as_array().into_iter().flatten();
    let rights = rules.flat_map(right).collect();

    let asked: [(&str, BTreeSet<String>); 3] = [("capabilities", capabilities), ("rights", rights), ("mounts", mounts)];
    let mut found = Vec::new();
    for (what, asked) in asked {
        let explained = explained(document, what);
        found.extend(asked.difference(&explained).map(|one| format!("{DOCUMENT}: {what}: {one} is not explained")));
        found.extend(explained.difference(&asked).map(|one| format!("{DOCUMENT}: {what}: {one} is not asked for")));
    }
    Ok(found)
}

/// What is wrong with the pod of `helm test`: agents' selectors find it, or it asks for more than to connect.
fn of_test(chart: &str, test: &str) -> Result<Vec<String>> {
    let (chart, test) = (documents("the chart", chart)?, documents("the chart's test", test)?);
    let (service, pod) = (of_kind(&chart, "Service")?, of_kind(&test, "Pod")?);
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    let agent = &of_kind(&chart, "DaemonSet")?["spec"]["template"];
    let selector = service["spec"]["selector"].as_object().context("the Service selects by labels")?;
    let wrong = [
        (selector.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value), "is selected as an agent"),
        (container["image"] != agent["spec"]["containers"][0]["image"], "has another image than the agent"),
        (spec["automountServiceAccountToken"] != false, "has a token"),
        (container["securityContext"]["runAsNonRoot"] != true, "is root"),
        (container["securityContext"]["capabilities"] != json!({ "drop": ["ALL"] }), "has capabilities"),
        (pod["metadata"]["labels"]["sidecar.istio.io/inject"] != "false", "gets a sidecar"),
    ];
    Ok(wrong.iter().filter(|(wrong, _)| *wrong).map(|(_, what)| format!("the pod of `helm test` {what}")).collect())
}

/// `resource: verb, verb` of each resource of a rule.
fn right(rule: &Value) -> Vec<String> {
    let verbs = strings(&rule["verbs"]).collect::<Vec<_>>().join(", ");
    strings(&rule["resources"]).map(|resource| format!("{resource}: {verbs}")).collect()
}

/// The first cells of the table after `<!-- name -->`, without their backticks.
fn explained(document: &str, name: &str) -> BTreeSet<String> {
    let table = document.split_once(&format!("<!-- {name} -->\n")).map_or("", |(_, rest)| rest);
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.filter_map(|row| row.split('|').nth(1)).map(|cell| cell.trim().replace('`', "")).collect()
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON_SET: &str = "kind: DaemonSet\nspec: {template: {spec: {\
        containers: [{securityContext: {capabilities: {add: [BPF]}}}], volumes: [{hostPath: {path: /sys/fs/bpf}}]}}}\n";
    const ROLE: &str = "kind: ClusterRole\nrules: [{resources: [pods], verbs: [list, watch]}]\n";
    const TABLES: &str = "<!-- capabilities -->\n| c | for |\n|---|---|\n| `BPF` | x |\n\n\
        <!-- rights -->\n| r | for |\n|---|---|\n| `pods`: list, watch | x |\n\n\
        <!-- mounts -->\n| m | for |\n|---|---|\n| `/sys/fs/bpf` | x |\n";

    #[test]
    fn of_documents_same_on_both_sides_is_empty() {
        assert!(of_documents(DAEMON_SET, ROLE, TABLES).unwrap().is_empty());
    }

    #[test]
    fn of_test_every_wrong_is_named() {
        let agents = "kind: Service\nspec: {selector: {a: b}}\n---\nkind: DaemonSet\nspec: {template: {spec: {\
            containers: [{image: i}]}}}\n";
        let good = "kind: Pod\nmetadata: {labels: {a: c, sidecar.istio.io/inject: \"false\"}}\nspec: {\
            automountServiceAccountToken: false, containers: [{image: i, securityContext: {runAsNonRoot: true, \
            capabilities: {drop: [ALL]}}}]}\n";
        assert!(of_test(agents, good).unwrap().is_empty());
        assert_eq!(of_test(agents, "kind: Pod\nmetadata: {labels: {a: b}}\n").unwrap().len(), 6);
    }

    #[test]
    fn of_documents_one_sided_right_is_named() {
        let more = DAEMON_SET.replace("[BPF]", "[BPF, SYS_MODULE]");
        let found = of_documents(&more, ROLE, TABLES).unwrap();
        assert_eq!(found, ["docs/install.md: capabilities: SYS_MODULE is not explained"]);
        let less = ROLE.replace("[list, watch]", "[list]");
        assert_eq!(of_documents(DAEMON_SET, &less, TABLES).unwrap().len(), 2);
    }
}
