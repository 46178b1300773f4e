//! Alerts: each with what whoever is woken by it needs, and a chapter of the runbook.
//!
//! Knows nothing of PromQL, nor of files.

use std::collections::BTreeSet;

use serde_json::Value;

/// Where the runbook is on the web; an alert's chapter follows.
const RUNBOOK: &str = "https://github.com/conngate/conngate/blob/main/docs/runbook.md#";
/// What a severity can be.
const SEVERITIES: [&str; 2] = ["critical", "warning"];

/// The rules of a Prometheus rule file.
pub(crate) fn rules(file: &Value) -> impl Iterator<Item = &Value> {
    let groups = file["groups"].as_array().into_iter().flatten();
    groups.flat_map(|group| group["rules"].as_array().into_iter().flatten())
}

/// One line for each alert of a rule file that lacks something; `runbook` is a Markdown page.
pub(crate) fn broken(file: &Value, runbook: &str) -> Vec<String> {
    let chapters: BTreeSet<_> = runbook.lines().filter_map(anchor).collect();
    let mut found = Vec::new();
    for rule in rules(file) {
        let Some(alert) = rule["alert"].as_str() else { continue };
        let chapter = alert.to_lowercase();
        if !chapters.contains(&chapter) {
            found.push(format!("{alert}: the runbook has no heading with the anchor {chapter}"));
        }
        let annotations = &rule["annotations"];
        if annotations["runbook_url"] != format!("{RUNBOOK}{chapter}") {
            found.push(format!("{alert}: runbook_url is not {RUNBOOK}{chapter}"));
        }
        for annotation in ["summary", "description"] {
            if annotations[annotation].as_str().is_none_or(str::is_empty) {
                found.push(format!("{alert}: no {annotation}"));
            }
        }
        if !SEVERITIES.iter().any(|severity| rule["labels"]["severity"] == *severity) {
            found.push(format!("{alert}: severity is none of {}", SEVERITIES.join(", ")));
        }
    }
    found
}

/// The anchor that GitHub gives a line, if that is a heading: lower case, blanks as `-`, without punctuation.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?.trim();
    let kept = heading.chars().filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(rule: &Value) -> Value {
        json!({ "groups": [{ "rules": [rule, { "record": "a:b", "expr": "a" }] }] })
    }

    #[test]
    fn broken_of_an_alert_with_everything_is_empty() {
        let rule = json!({
            "alert": "ConngateX", "labels": { "severity": "warning" },
            "annotations": { "summary": "s", "description": "d", "runbook_url": format!("{RUNBOOK}conngatex") },
        });
        assert!(broken(&file(&rule), "# Runbook\n\n### `ConngateX`\n").is_empty());
    }

    #[test]
    fn broken_of_a_bare_alert_names_everything() {
        let found = broken(&file(&json!({ "alert": "ConngateX", "expr": "x" })), "# ConngateXY\nConngateX\n");
        for part in ["no heading with the anchor conngatex", "runbook_url", "no summary", "no description", "severity"]
        {
            assert!(
                found.iter().any(|line| line.starts_with("ConngateX: ") && line.contains(part)),
                "{part}: {found:?}"
            );
        }
    }

    #[test]
    fn anchor_of_a_heading_is_githubs() {
        assert_eq!(anchor("## What it asks for, and why").as_deref(), Some("what-it-asks-for-and-why"));
        assert_eq!(anchor("#hashtag"), None);
        assert_eq!(anchor("text"), None);
    }
}
