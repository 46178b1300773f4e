//! What an operator has on the real node: metrics in a real Prometheus, the command line inside of the DaemonSet, the log,
//! `helm test`.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use conngate_testbed::{
    cluster::{Cluster, NODE_V4},
    dashboard::{expressions, filled},
    lab::{process::Running, tool::feed, wait_until},
};
use serde_json::{Value, json};

use crate::{
    install::{NAMESPACE, agent, ask_at, install, installed, log},
    pods::{Namespace, PATIENCE, is_ready},
    shared::cluster,
    workload::{assert_gated, eager, switched, turn_on, wait_held},
};

/// Prometheus' directory on the node.
const DIRECTORY: &str = "/var/lib/prometheus-of-the-test";

/// Where it is asked there.
const PROMETHEUS: &str = "127.0.0.1:9090";

/// A Prometheus on the node that scrapes the agent every second. Ended when dropped.
struct Prometheus<'a> {
    cluster: &'a Cluster,
    _process: Running,
}

impl<'a> Prometheus<'a> {
    fn start(cluster: &'a Cluster) -> Result<Self> {
        let directory = cluster.file(DIRECTORY);
        // An earlier try's.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).context("Prometheus' directory")?;
        fs::write(directory.join("rules.yaml"), fs::read(chart("files/rules.yaml"))?)?;
        let target = format!("{NODE_V4}:9477");
        let labels =
            json!({ "node": "conngate-node", "namespace": NAMESPACE, "pod": agent(cluster)?["metadata"]["name"] });
        let configuration = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{
                "job_name": "conngate",
                "honor_labels": true,
                "static_configs": [{ "targets": [target], "labels": labels }],
            }],
        });
        // JSON is YAML.
        fs::write(directory.join("prometheus.yml"), configuration.to_string())?;
        let mut command = cluster.exec_in_node("prometheus")?;
        command.arg(format!("--config.file={DIRECTORY}/prometheus.yml"));
        command.arg(format!("--storage.tsdb.path={DIRECTORY}/data"));
        command.arg(format!("--web.listen-address={PROMETHEUS}")).arg("--log.level=warn");
        let started = Self { cluster, _process: Running::start(command)? };
        wait_until(PATIENCE, "Prometheus has scraped the agent", || {
            (!started.values("conngate_build_info").ok()?.is_empty()).then_some(())
        })?;
        Ok(started)
    }

    fn ask(&self, path: &str, parameters: &[String]) -> Result<Value> {
        let mut curl = self.cluster.exec_in_node("curl")?;
        curl.args(["--silent", "--get", "--max-time", "10"]);
        curl.args(parameters.iter().flat_map(|parameter| ["--data-urlencode", parameter]));
        let output = curl.arg(format!("http://{PROMETHEUS}/api/v1/{path}")).output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("Prometheus' answer")?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The values of an expression now, those that are no number left out.
    fn values(&self, expression: &str) -> Result<Vec<f64>> {
        let data = self.ask("query", &[format!("query={expression}")])?;
        let samples = data["result"].as_array().context("a vector")?;
        let values = samples.iter().filter_map(|sample| sample["value"][1].as_str()?.parse::<f64>().ok());
        Ok(values.filter(|value| !value.is_nan()).collect())
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // The process that was started here is the way in, and may leave the one inside.
        let _ = self.cluster.kill("prometheus");
        let _ = fs::remove_dir_all(self.cluster.file(DIRECTORY));
    }
}

/// A file of the chart.
fn chart(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/conngate").join(file)
}

pub(crate) fn prometheus_scrapes_the_agent_its_rules_hold_and_every_panel_has_data() -> Result<()> {
    let cluster = cluster()?;
    install(&cluster, &["service.enabled=true"])?;
    let prometheus = Prometheus::start(&cluster)?;
    let namespace = Namespace::new(&cluster, "scraped", true)?;
    assert_gated(&cluster, &namespace, "app")?;
    assert!(prometheus.values("conngate_kubernetes_events_total{result=\"sent\"}")?.iter().all(|sent| *sent >= 0.0));
    wait_until(PATIENCE, "Events were sent", || {
        let sent = prometheus.values("increase(conngate_kubernetes_events_total{result=\"sent\"}[5m])").ok()?;
        sent.iter().any(|sent| *sent > 0.0).then_some(())
    })?;

    let dashboard: Value = serde_json::from_slice(&fs::read(chart("files/dashboard.json"))?)?;
    let queries: BTreeSet<_> = expressions(&dashboard).iter().map(|query| filled(query, "5m")).collect();
    ensure!(queries.len() > 30, "the dashboard has panels");
    for query in &queries {
        wait_until(PATIENCE, &format!("data for {query}"), || {
            prometheus.values(query).ok().filter(|values| !values.is_empty())
        })?;
    }

    let rules = prometheus.ask("rules", &[])?;
    let rules: Vec<_> = rules["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    ensure!(rules.len() >= 9, "the rules are loaded: {rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_eq!(rule["state"], "inactive", "nothing is wrong: {rule}");
    }
    let (status, metrics) = ask_at(&cluster, NODE_V4, "/metrics")?;
    assert_eq!(status, 200);
    let mut promtool = cluster.exec_in_node("promtool")?;
    promtool.args(["check", "metrics"]);
    let said = feed(promtool, &metrics).context("promtool check metrics")?;
    assert_eq!(said, "", "names and help are as Prometheus wants them");
    Ok(())
}

/// What `/conngate ARGUMENTS` prints in the agent's container.
pub(crate) fn inside(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let exec = ["--namespace", NAMESPACE, "exec", "daemonset/conngate", "--", "/conngate"];
    cluster.kubectl(&[&exec[..], arguments].concat())
}

pub(crate) fn command_line_answers_inside_of_the_daemon_set() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "asked", true)?;
    namespace.create(switched(&namespace, "app"))?;
    let pod = wait_held(&namespace, "app")?;
    let status = inside(&cluster, &["status"])?;
    assert!(status.contains("on conngate-node: ready"), "{status}");
    assert!(status.lines().all(|line| line.chars().count() <= 100), "{status}");
    let row = status.lines().find(|line| line.contains("asked/app")).context("the pod's row")?;
    assert!(row.split_whitespace().any(|word| word == "holding"), "{status}");

    let explained: Value = serde_json::from_str(&inside(&cluster, &["explain", "asked/app", "-o", "json"])?)?;
    let held = &explained["connections"][0];
    assert_eq!((&held["container"], &held["process"]["name"]), (&"app".into(), &"bash".into()), "{explained:#}");
    assert_eq!(held["destination"], "198.51.100.10:80", "{explained:#}");
    assert_eq!(explained["waits_for"]["answer"], "503", "{explained:#}");

    let checked = inside(&cluster, &["check"])?;
    for subject in ["kernel", "program", "kubepods", "pins", "agent"] {
        let line = checked.lines().find(|line| line.split_whitespace().nth(1) == Some(subject));
        assert!(line.is_some_and(|line| line.starts_with("ok")), "{subject}: {checked}");
    }
    turn_on(&cluster, &pod)?;
    namespace.wait("app", "is ready", is_ready)?;
    // The application has no probe of its own: its pod may be ready before the agent has asked the proxy again.
    let events = wait_until(PATIENCE, "the gate is open", || {
        let events = inside(&cluster, &["events", "--pod", "asked/app"]).ok()?;
        events.contains("released (ready): held 1").then_some(events)
    })?;
    for words in ["holding (not-ready), mode hold", "container app is gated", "held ("] {
        assert!(events.contains(words), "{words}: {events}");
    }
    let page = inside(&cluster, &["report", "--file", "-"])?;
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("asked/app"), "{page}");
    Ok(())
}

pub(crate) fn agents_port_is_the_loopbacks_alone_unless_somebody_else_is_to_ask() -> Result<()> {
    let cluster = cluster()?;
    // curl's way to say that there was no answer.
    for (values, elsewhere) in [(&[][..], 0), (&["service.enabled=true"], 200)] {
        install(&cluster, values)?;
        assert_eq!(ask_at(&cluster, NODE_V4, "/readyz")?.0, elsewhere);
        assert_eq!(ask_at(&cluster, "127.0.0.1", "/readyz")?.0, 200 - elsewhere);
    }
    install(&cluster, &["hostNetwork=false"])?;
    let pod = agent(&cluster)?;
    let address = pod["status"]["podIP"].as_str().context("the agent has an address")?;
    assert!(!address.starts_with("192.0.2."), "{address}");
    assert_eq!(ask_at(&cluster, address, "/readyz")?.0, 200);
    assert_eq!(ask_at(&cluster, NODE_V4, "/readyz")?.0, 0);
    Ok(())
}

pub(crate) fn helm_test_asks_every_agent() -> Result<()> {
    let cluster = cluster()?;
    install(&cluster, &["service.enabled=true"])?;
    let said = cluster.helm(&["test", "conngate", "--namespace", NAMESPACE, "--logs", "--timeout", "120s"])?;
    assert!(said.contains("Succeeded") && said.contains(":9477 ready, "), "{said}");
    Ok(())
}

pub(crate) fn log_at_its_usual_level_has_one_line_for_each_gate() -> Result<()> {
    let cluster = installed()?;
    install(&cluster, &["log.filter=", "log.format=json"])?;
    let namespace = Namespace::new(&cluster, "logged", true)?;
    namespace.create(eager(&namespace, "app").annotation("conngate.io/mode", "hold"))?;
    namespace.wait("app", "is ready", is_ready)?;
    let said = log(&cluster)?;
    let lines = said.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>().context("JSON lines")?;
    let of_it: Vec<_> = lines.iter().filter(|line| line["pod"] == "logged/app").collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    assert_eq!((&of_it[0]["message"], &of_it[0]["level"]), (&"gate opened".into(), &"INFO".into()));
    assert_eq!((&of_it[0]["reason"], &of_it[0]["held"]), (&"ready".into(), &1.into()));
    Ok(())
}

pub(crate) fn gate_that_times_out_says_on_the_pod_what_was_not_ready() -> Result<()> {
    let cluster = installed()?;
    let namespace = Namespace::new(&cluster, "timed-out", true)?;
    namespace.create(switched(&namespace, "app").annotation("conngate.io/timeout", "5s"))?;
    namespace.wait_event("app", "GateTimedOut")?;
    let selector = "--field-selector=involvedObject.name=app,reason=GateTimedOut";
    let events = namespace.json(&["get", "events", selector])?;
    let note = events["items"][0]["message"].as_str().context("a note")?;
    assert!(note.contains("not ready after 5.") && note.contains("http://127.0.0.1:15999/"), "{note}");
    namespace.wait_event("app", "ConnectionsHeld")?;
    Ok(())
}
