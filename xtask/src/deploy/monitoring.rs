//! Alerts and dashboard of the chart: that they name only metrics that exist, and what promtool says of them.
//!
//! Knows nothing of a Prometheus. Where promtool is not installed, that is said, and under CI it is a finding.

use std::{env, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use conngate_testbed::dashboard::{expressions, filled};
use serde_json::{Value, json};

use super::{
    alerts::{self, rules},
    document::documents,
    metrics::{Declared, names},
};
use crate::{
    process::{find, output},
    workspace::root,
};

const RULES: &str = "deploy/helm/conngate/files/rules.yaml";
const DASHBOARD: &str = "deploy/helm/conngate/files/dashboard.json";
/// What makes each alert fire, for promtool.
const RULES_TEST: &str = "deploy/prometheus/rules.test.yaml";
/// The reference of metrics.
const METRICS: &str = "docs/metrics.md";
const RUNBOOK: &str = "docs/runbook.md";

/// One line for each thing that does not hold.
pub(crate) fn broken() -> Result<Vec<String>> {
    let read = |path: &str| fs::read_to_string(root().join(path)).with_context(|| path.to_owned());
    let rule_file = documents(RULES, &read(RULES)?)?.into_iter().next().unwrap_or_default();
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)?).context(DASHBOARD)?;

    let mut found = alerts::broken(&rule_file, &read(RUNBOOK)?);
    let declared = Declared::of(&read(METRICS)?);
    let of_alerts = rules(&rule_file).filter_map(|rule| rule["expr"].as_str()).map(str::to_owned).collect();
    let of_panels = expressions(&dashboard);
    for (path, expressions) in [(RULES, &of_alerts), (DASHBOARD, &of_panels)] {
        found.extend(undeclared(&declared, expressions).map(|line| format!("{path}: {METRICS} does not have {line}")));
    }
    match find("promtool") {
        Some(promtool) => found.extend(refused(&promtool, &of_panels)?),
        None if env::var("CI").is_ok_and(|value| value == "true") => {
            found.push("promtool is not installed (Debian: prometheus)".to_owned());
        }
        None => println!("promtool is not installed (Debian: prometheus): alerts and PromQL are not tried"),
    }
    Ok(found)
}

/// A line for each series that is not declared.
fn undeclared(declared: &Declared, expressions: &[String]) -> impl Iterator<Item = String> {
    let named = expressions.iter().flat_map(move |text| names(text).into_iter().map(move |name| (name, text)));
    named.filter(|(name, _)| !declared.has(name)).map(|(name, text)| format!("{name}, of {text}"))
}

/// What promtool does not take.
fn refused(promtool: &Path, expressions: &[String]) -> Result<Vec<String>> {
    let panels = env::temp_dir().join(format!("conngate-panels-{}.json", std::process::id()));
    fs::write(&panels, recorded(expressions).to_string()).context("the panels' expressions")?;
    let mut promtools = [["check", "rules"], ["test", "rules"], ["check", "rules"]].map(|verb| {
        let mut command = Command::new(promtool);
        command.current_dir(root()).args(verb);
        command
    });
    promtools[0].args(["--lint=all", "--lint-fatal", RULES]);
    promtools[1].arg(RULES_TEST);
    promtools[2].args(["--lint=none"]).arg(&panels);
    let refused = promtools.iter_mut().filter_map(|command| output(command).err().map(|error| format!("{error:#}")));
    let refused = refused.collect();
    fs::remove_file(&panels).context("the panels' expressions")?;
    Ok(refused)
}

/// A rule file (JSON is YAML) with each expression in a rule of its own.
fn recorded(expressions: &[String]) -> Value {
    let rules = expressions.iter().map(|text| json!({ "record": "panel", "expr": filled(text, "5m") }));
    json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undeclared_series_is_named_with_its_expression() {
        let declared = Declared::of("| `a` | gauge |\n");
        let expressions = ["sum(a) + up".to_owned(), "rate(b_total[5m])".to_owned()];
        assert_eq!(undeclared(&declared, &expressions).collect::<Vec<_>>(), ["b_total, of rate(b_total[5m])"]);
    }
}
