//! `conngate bugreport` of a node whose agent holds a connection: what is in it, and what is not when it is redacted.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use anyhow::{Context, Result};
use conngate_testbed::lab::{Agent, Node, Qos, Terminal};
use conngate_view::bundle::Bundle;
use serde_json::Value;

use crate::{
    agent_world::{holding, initializing},
    world::CAPTURED_V4,
};

/// The command, of this node.
fn command(agent: &Agent, node: &Node, arguments: &[&str]) -> Result<Command> {
    let mut command = agent.ask(&["bugreport"])?;
    command.arg("--cgroup-root").arg(node.cgroup().path()).arg("--bpffs").arg(node.bpffs()).args(arguments);
    Ok(command)
}

/// What it writes to stdout, with the whole tar as text.
fn written(agent: &Agent, node: &Node, arguments: &[&str]) -> Result<(Bundle, String)> {
    let output = command(agent, node, arguments)?.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let bundle = Bundle::read(output.stdout.as_slice())?;
    Ok((bundle, String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn json(bundle: &Bundle, path: &str) -> Result<Value> {
    serde_json::from_slice(bundle.file(path).with_context(|| path.to_owned())?).with_context(|| path.to_owned())
}

#[test]
fn bugreport_of_an_agent_that_holds_has_every_answer_the_log_and_who_is_attached() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, _client) = holding(world)?;
        let (bundle, _) = written(&agent, world.node, &[])?;
        let path = world.pod.path();
        assert_eq!(json(&bundle, "status.json")?["live"]["gates"][0]["pod"], path);
        let explained = json(&bundle, &format!("explain/{path}.json"))?;
        assert_eq!(explained["connections"][0]["destination"], CAPTURED_V4);
        let text = |file: &str| bundle.file(file).map(String::from_utf8_lossy).with_context(|| file.to_owned());
        for (file, words) in [
            ("events.json", "\"event\":\"held\""),
            ("report.html", "<!DOCTYPE html>"),
            ("report.json", "lives"),
            ("metrics.txt", "conngate_connections_held_total 1"),
            ("readyz.txt", "ok"),
            ("log.txt", "connection held"),
            ("check.json", "kubepods"),
            ("machine.json", "net.ipv4.tcp_syn_retries"),
            ("README.txt", "attachments.json"),
        ] {
            assert!(text(file)?.contains(words), "{file}: {}", text(file)?);
        }
        let attachments = json(&bundle, "attachments.json")?;
        let hooks = attachments["hooks"].as_array().context("hooks")?;
        let egress = hooks.iter().find(|hook| hook["hook"] == "cgroup_skb/egress").context("egress")?;
        let effective = egress["effective"].as_array().context("what runs")?;
        assert!(effective.iter().any(|program| program["ours"] == true && program["name"] == "egress"), "{egress:#}");
        Ok(())
    })
}

#[test]
fn bugreport_redacted_has_no_name_no_address_and_no_url_and_is_for_its_owner_alone() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, _client) = holding(world)?;
        let path = world.pod.path();
        let (namespace, name) = path.split_once('/').context("a namespace and a name")?;
        let (_, plain) = written(&agent, world.node, &[])?;
        let (bundle, redacted) = written(&agent, world.node, &["--redact"])?;
        for word in [name, namespace, "198.51.100.10", "http://127.0.0.1:"] {
            assert!(plain.contains(word), "it is there otherwise: {word}");
            let at =
                redacted.find(word).map(|at| redacted[at.saturating_sub(100)..].chars().take(200).collect::<String>());
            assert_eq!(at, None, "{word}");
        }
        let gate = json(&bundle, "status.json")?["live"]["gates"][0]["pod"].clone();
        let explained = format!("explain/{}.json", gate.as_str().context("a pod")?);
        assert_eq!(json(&bundle, &explained)?["gate"]["pod"], gate, "the same word for the same name");

        let file = world.node.home().join("report.tar");
        let arguments = ["-o", file.to_str().context("a path in UTF-8")?];
        assert!(command(&agent, world.node, &arguments)?.status()?.success());
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        Bundle::read(fs::File::open(&file)?)?;
        fs::remove_file(file)?;

        let terminal = Terminal::run(command(&agent, world.node, &[])?, 10, 100)?;
        terminal.wait("a refusal", |screen| screen.contains("refusing to write a tar to a terminal"))?;
        Ok(())
    })
}
