//! `conngate check`: what it says of this machine, and of a node that it is told, whoever else is there.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use conngate_testbed::lab::{self, Agent, Node, agent::check, gated, kubelet::KUBEPODS};
use serde_json::Value;

/// Exit code and findings.
fn findings(mut check: Command) -> Result<(Option<i32>, Vec<Value>)> {
    let output = check.args(["-o", "json"]).output().context("conngate cannot be started")?;
    let json: Value = serde_json::from_slice(&output.stdout).context("it prints JSON")?;
    assert_eq!(json["version"], 1);
    Ok((output.status.code(), json["findings"].as_array().context("findings")?.clone()))
}

/// The level and the words of what was found of `subject`.
fn of<'a>(findings: &'a [Value], subject: &str) -> Result<(&'a str, &'a str)> {
    let finding = findings.iter().find(|finding| finding["subject"] == subject).context("no such finding")?;
    Ok((finding["level"].as_str().context("a level")?, finding["found"].as_str().context("what was found")?))
}

#[test]
fn check_finds_this_machine_fit_and_prints_the_same_as_lines_and_as_json() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let found = check(&node)?.output()?;
        let lines = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(found.status.code(), Some(0), "{lines}");
        let heads = || lines.lines().filter(|line| !line.starts_with(' '));
        assert!(heads().all(|line| line.starts_with("ok ") || line.starts_with("warn ")), "{lines}");
        assert!(lines.lines().all(|line| line.len() <= 100 || line.contains("https://")), "{lines}");
        let (_, findings) = findings(check(&node)?)?;
        assert_eq!(findings.len(), heads().count());
        for finding in &findings {
            assert!(finding["link"].as_str().is_some_and(|link| link.starts_with("https://")), "{finding}");
            assert_eq!(finding["level"] == "ok", finding["hint"].is_null(), "{finding}");
        }
        let root = node.cgroup().path().join(KUBEPODS).display().to_string();
        assert_eq!(of(&findings, "kubepods")?, ("ok", root.as_str()));
        assert_eq!(of(&findings, "pins")?, ("ok", "none"));
        assert_eq!(of(&findings, "agent")?, ("ok", format!("none at {}", node.socket().display()).as_str()));
        Ok(())
    })
}

#[test]
fn check_of_a_node_finds_its_agent_and_what_that_has_pinned() -> Result<()> {
    lab::run(|| {
        let node = Node::new()?;
        let agent = Agent::start(&node, &[])?;
        let (code, found) = findings(check(&node)?)?;
        let (pins, said) = (of(&found, "pins")?, of(&found, "agent")?);
        // Degraded where the kernel lacks something.
        assert!((code, pins.0) == (Some(0), "ok") && ["ok", "warn"].contains(&said.0), "{found:?}");
        assert!(pins.1.contains(" programs, ") && said.1.starts_with("ready"), "{found:?}");
        let neighbours = found.iter().filter(|finding| finding["subject"] == "neighbours");
        let kubepods =
            neighbours.filter_map(|finding| finding["found"].as_str()).find(|found| found.starts_with("kubepods: "));
        assert_eq!(kubepods, Some("kubepods: no other programs"), "its own are not counted: {found:?}");
        agent.kill()?;
        let (code, found) = findings(check(&node)?)?;
        assert_eq!((code, of(&found, "agent")?.0), (Some(1), "fail"), "{found:?}");
        Ok(())
    })
}

#[test]
fn check_of_two_roots_of_pods_names_both_unless_it_is_told_one() -> Result<()> {
    lab::run(|| {
        // The other one is there in every test.
        let node = Node::new()?;
        let at = |root: Option<&Path>| {
            let mut check = Command::new(gated::binary()?);
            check.arg("check").arg("--socket").arg(node.socket()).arg("--bpffs").arg(node.bpffs());
            check.args(root.map(|root| format!("--cgroup-root={}", root.display())));
            findings(check)
        };
        let root = node.cgroup().path().join(KUBEPODS);
        let (code, found) = at(None)?;
        let (level, several) = of(&found, "kubepods")?;
        assert_eq!((code, level), (Some(0), "warn"), "`conngate run` works: {found:?}");
        let words = ["more than one kubepods directory", &root.display().to_string(), "--cgroup-root"];
        assert!(words.iter().all(|words| several.contains(words)), "{several}");
        for chosen in [root.as_path(), node.cgroup().path()] {
            let (code, found) = at(Some(chosen))?;
            assert_eq!((code, of(&found, "kubepods")?), (Some(0), ("ok", root.display().to_string().as_str())));
        }
        let (code, found) = at(Some(&root.join("burstable")))?;
        let (level, none) = of(&found, "kubepods")?;
        assert_eq!((code, level), (Some(1), "fail"), "an agent told so would wait for it");
        assert!(none.contains("neither a kubepods directory"), "{none}");
        Ok(())
    })
}
