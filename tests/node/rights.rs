//! The chart's rights: the agent has them and no others, and says which one it lacks.
//!
//! The kubelet and the API server decide here. Which right is for what, docs/install.md says.

use anyhow::{Context, Result};
use conngate_testbed::cluster::{Cluster, pod::Pod};
use serde_json::{Value, json};

use crate::{
    install::{NAMESPACE, agent, install, installed, wait_readyz},
    pods::{Namespace, container},
    workload::{assert_gated, assert_not_restarted, eager, output, steady_agent, wait_agent_says},
};

/// Who the agent is.
const ACCOUNT: &str = "--as=system:serviceaccount:conngate-system:conngate";

/// The chart's capabilities, and their bits in linux/capability.h.
const CAPABILITIES: [(&str, u32); 8] = [
    ("BPF", 39),
    ("PERFMON", 38),
    ("NET_ADMIN", 12),
    ("NET_RAW", 13),
    ("SETUID", 7),
    ("SETGID", 6),
    ("SYS_ADMIN", 21),
    ("SYS_PTRACE", 19),
];

/// What every authenticated user may do (Kubernetes' bootstrap policy).
const EVERYBODYS: [&str; 3] = [
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
];

/// The rules that the agent's account has beyond everybody's: `resource [verbs]`, in order.
fn rights(cluster: &Cluster) -> Result<Vec<String>> {
    let list = cluster.kubectl(&["auth", "can-i", "--list", "--no-headers", ACCOUNT])?;
    let rules = list.lines().filter(|line| !line.starts_with(' '));
    let words = rules.map(|rule| rule.split_whitespace().collect::<Vec<_>>());
    let own = words.filter(|words| words.first().is_some_and(|resource| !EVERYBODYS.contains(resource)));
    let mut own: Vec<_> = own
        .map(|words| {
            let verbs = words.iter().skip_while(|word| !word.ends_with(']')).skip(2).copied();
            format!("{} {}", words[0], verbs.collect::<Vec<_>>().join(" "))
        })
        .collect();
    own.sort();
    Ok(own)
}

/// Takes the rule for `resource` from the agent's ClusterRole; gives the rules that there were.
pub(crate) fn take_away(cluster: &Cluster, resource: &str) -> Result<Value> {
    let role = cluster.json(&["get", "clusterrole", "conngate"])?;
    let rules = role["rules"].as_array().context("the role has rules")?;
    let left: Vec<_> = rules.iter().filter(|rule| rule["resources"] != json!([resource])).collect();
    assert_eq!(left.len() + 1, rules.len(), "one rule is for {resource}: {rules:?}");
    set_rules(cluster, &json!(left))?;
    Ok(role["rules"].clone())
}

/// Gives the agent's ClusterRole these rules.
fn set_rules(cluster: &Cluster, rules: &Value) -> Result<()> {
    let patch = json!({ "rules": rules }).to_string();
    cluster.kubectl(&["patch", "clusterrole", "conngate", "--type=merge", "--patch", &patch]).map(drop)
}

/// Starts the agent anew: what it once was told, it does not know.
pub(crate) fn replace_agent(cluster: &Cluster) -> Result<()> {
    let name = agent(cluster)?["metadata"]["name"].as_str().context("the agent's pod has a name")?.to_owned();
    cluster.kubectl(&["--namespace", NAMESPACE, "delete", "pod", &name]).map(drop)
}

pub(crate) fn agent_has_the_capabilities_of_the_chart_and_no_others() -> Result<()> {
    let cluster = installed()?;
    let agent = agent(&cluster)?;
    let added = &agent["spec"]["containers"][0]["securityContext"]["capabilities"]["add"];
    let added: Vec<_> = added.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(added.len(), CAPABILITIES.len(), "{added:?}");
    let bits = CAPABILITIES.iter().filter(|(name, _)| added.contains(name)).map(|(_, bit)| 1_u64 << bit);
    let expected: u64 = bits.sum();

    let mut shell = cluster.exec_in_node("sh")?;
    let output = shell.args(["-c", "cat /proc/$(pidof -s conngate)/status"]).output()?;
    let status = String::from_utf8(output.stdout)?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        let value = u64::from_str_radix(field(set).context("the agent runs")?, 16)?;
        assert_eq!(value, expected, "{set} {value:x}, not {expected:x}");
    }
    assert_eq!(field("NoNewPrivs:"), Some("1"));
    assert_eq!(field("Seccomp:"), Some("2"), "a filter: the runtime's default profile");
    Ok(())
}

pub(crate) fn agents_account_has_the_rights_of_the_chart_and_no_others() -> Result<()> {
    let cluster = installed()?;
    assert_eq!(
        rights(&cluster)?,
        ["events.events.k8s.io [create]", "namespaces [list watch]", "nodes/pods [get]", "pods [list watch]"]
    );
    for denied in [
        ["get", "secrets", "--all-namespaces"],
        ["create", "pods", "--all-namespaces"],
        ["create", "pods/exec", "--all-namespaces"],
        ["patch", "events.events.k8s.io", "--all-namespaces"],
        ["patch", "namespaces", ""],
        ["get", "nodes/proxy", ""],
        ["create", "nodes/exec", ""],
    ] {
        let words = denied.iter().copied().filter(|word| !word.is_empty());
        let mut can = cluster.kubectl_command()?;
        let answer = can.args(["auth", "can-i", ACCOUNT]).args(words).output()?;
        assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "no", "{denied:?}");
    }
    install(&cluster, &["podSource=apiserver", "namespaceAnnotations=false", "startupTaint.enabled=true"])?;
    assert_eq!(rights(&cluster)?, ["events.events.k8s.io [create]", "nodes [get patch]", "pods [list watch]"]);
    install(&cluster, &["podSource=apiserver", "namespaceAnnotations=false"])?;
    assert_eq!(rights(&cluster)?, ["events.events.k8s.io [create]", "pods [list watch]"]);
    Ok(())
}

/// Takes capabilities from the agent, which begins anew.
fn without(cluster: &Cluster, taken: &[&str]) -> Result<()> {
    let left: Vec<_> = CAPABILITIES.iter().map(|(name, _)| *name).filter(|name| !taken.contains(name)).collect();
    let path = "/spec/template/spec/containers/0/securityContext/capabilities/add";
    let patch = json!([{ "op": "replace", "path": path, "value": left }]).to_string();
    cluster.kubectl(&["-n", NAMESPACE, "patch", "daemonset", "conngate", "--type=json", "--patch", &patch]).map(drop)
}

pub(crate) fn capability_that_is_missing_is_named_by_an_agent_that_does_all_else() -> Result<()> {
    let cluster = installed()?;
    for (missing, _) in CAPABILITIES {
        without(&cluster, &[missing])?;
        let named = format!("capabilities: missing CAP_{missing} (to ");
        wait_readyz(&cluster, &format!("CAP_{missing} is all that is missing"), |status, body| {
            status == 503 && body.starts_with(&named) && body.lines().count() == 1
        })?;
        let said = output(&cluster, &steady_agent(&cluster)?, "agent")?;
        assert!(said.contains(&format!("missing CAP_{missing}")), "{said}");
    }
    Ok(())
}

/// SYS_ADMIN alone lets the kernel load programs too (bpf_capable() in include/linux/capability.h).
pub(crate) fn agent_that_may_not_load_programs_says_what_the_kernel_refuses_and_lives_on() -> Result<()> {
    let cluster = installed()?;
    without(&cluster, &["BPF", "SYS_ADMIN"])?;
    wait_readyz(&cluster, "the refusal is named", |status, body| {
        let both = body.contains("CAP_BPF (to ") && body.contains("CAP_SYS_ADMIN (to ");
        status == 503 && both && body.contains("programs: the kernel refuses the eBPF")
    })?;
    steady_agent(&cluster).map(drop)
}

pub(crate) fn connection_is_held_and_goes_on_without_the_right_to_replay() -> Result<()> {
    let cluster = installed()?;
    without(&cluster, &["NET_RAW"])?;
    wait_readyz(&cluster, "only the capability is missing", |_, body| {
        body.starts_with("capabilities: missing CAP_NET_RAW") && body.lines().count() == 1
    })?;
    let namespace = Namespace::new(&cluster, "no-replay", true)?;
    assert_gated(&cluster, &namespace, "app")?;
    wait_agent_says(&cluster, &steady_agent(&cluster)?, "no replay, and why", |said| said.contains("no raw socket"))
}

pub(crate) fn right_to_pods_that_is_missing_is_named_with_its_remedy() -> Result<()> {
    let cluster = installed()?;
    let rules = take_away(&cluster, "pods")?;
    replace_agent(&cluster)?;
    let forbidden = wait_readyz(&cluster, "the right is named", |status, body| {
        status == 503 && body.contains("list and watch on pods: apply the chart's ClusterRole")
    });
    let before = steady_agent(&cluster)?;
    set_rules(&cluster, &rules)?;
    assert!(forbidden?.contains("cannot list resource"), "the API server's own words");
    wait_readyz(&cluster, "the right is back", |status, body| status == 200 && body == "ok\n")?;
    assert_eq!(steady_agent(&cluster)?["metadata"]["uid"], before["metadata"]["uid"]);
    Ok(())
}

pub(crate) fn right_to_events_that_is_missing_is_said_once_and_nothing_else_suffers() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "no-events", true)?;
    let bad = |name: &str| -> Pod {
        eager(&namespace, name).label("sidecar.istio.io/inject", "false").annotation("conngate.io/mode", "never")
    };
    let rules = take_away(&cluster, "events")?;
    let agent = agent(&cluster)?;
    let outcome = (|| {
        for name in ["bad-1", "bad-2"] {
            namespace.create(bad(name))?;
        }
        wait_agent_says(&cluster, &agent, "both pods are refused", |said| said.matches("not gated").count() >= 2)?;
        assert_gated(&cluster, &namespace, "app")?;
        wait_agent_says(&cluster, &agent, "the right is named", |said| {
            said.contains("the service account needs create on events (events.k8s.io)")
        })
    })();
    set_rules(&cluster, &rules)?;
    outcome?;
    namespace.create(bad("bad-3"))?;
    namespace.wait_event("bad-3", "InvalidAnnotation")?;
    let said = output(&cluster, &agent, "agent")?;
    assert_eq!(said.matches("Kubernetes Events cannot be sent").count(), 1, "{said}");
    wait_readyz(&cluster, "nothing is missing", |status, body| status == 200 && body == "ok\n").map(drop)
}

pub(crate) fn right_to_namespaces_that_is_missing_is_named_and_annotated_pods_are_held() -> Result<()> {
    let cluster = installed()?;
    install(&cluster, &["defaultMode=hold", "namespaceSelector=istio-injection=enabled"])?;
    let all = ["events.events.k8s.io [create]", "namespaces [list watch]", "nodes/pods [get]", "pods [list watch]"];
    assert_eq!(rights(&cluster)?, all);
    let rules = take_away(&cluster, "namespaces")?;
    replace_agent(&cluster)?;
    let namespace = Namespace::new(&cluster, "no-labels", true)?;
    let outcome = (|| {
        wait_readyz(&cluster, "the right is named", |status, body| {
            status == 200 && body.contains("degraded: ") && body.contains("list and watch on namespaces")
        })?;
        assert_gated(&cluster, &namespace, "annotated")
    })();
    set_rules(&cluster, &rules)?;
    outcome?;
    wait_readyz(&cluster, "the right is back", |status, body| status == 200 && body == "ok\n")?;
    namespace.create(eager(&namespace, "plain"))?;
    assert_not_restarted(&cluster, &namespace, "plain")?;
    assert_eq!(container(&steady_agent(&cluster)?, "agent")["restartCount"], 0);
    Ok(())
}
