//! The command line asks the agent as a person does: in a terminal, over a socket that nobody else may use, and whatever
//! pods and processes call themselves.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, PermissionsExt as _},
    },
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context, Result};
use conngate_common::{gate::GateState, reason::Reason};
use conngate_testbed::{
    lab::{
        Agent, Browser, Qos, Terminal,
        client::{self, Client},
        kubelet::Container,
        process::run_as,
        wait_until,
    },
    report::Connection,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    agent_world::{Kernel, PATIENCE, World, holding, initializing},
    world::{CAPTURED_V4, REFUSED, assert_reached},
};

/// A user that may do nothing.
const NOBODY: u32 = 65534;

/// What a pod calls itself that wants to be another, to move the cursor, or to run in a browser.
const HOSTILE_POD: &str = "\u{1b}[2J\u{202e}'\"}\n|<script>document.title='owned'</script>";

/// The same of a command, in the 15 bytes that the kernel keeps of a name.
const HOSTILE_COMMAND: &str = "\u{1b}[31m<b>&\"'}\n";

/// The client under the name [`HOSTILE_COMMAND`].
fn hostile_client(directory: &TempDir) -> Result<PathBuf> {
    let path = directory.path().join(OsStr::from_bytes(HOSTILE_COMMAND.as_bytes()));
    fs::copy(client::binary()?, &path).context("cannot copy the client")?;
    Ok(path)
}

/// A pod of a hostile name holds a connection of a hostile command, while the container lives.
fn hostile<'lab>(world: &mut World<'lab>, directory: &TempDir) -> Result<(Agent, Container<'lab>, Client)> {
    world.pod.manifest()["metadata"]["name"] = HOSTILE_POD.into();
    world.pod.tell()?;
    let agent = Agent::start(world.node, &[])?;
    let app = world.pod.container("app")?;
    let client = app.run(&hostile_client(directory)?, &["connect", CAPTURED_V4])?;
    agent.wait_for("connection held", 1)?;
    Ok((agent, app, client))
}

#[test]
fn agent_status_in_a_terminal_shows_a_gate_from_its_closing_to_its_opening() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let path = world.pod.path();
        let watch = agent.ask(&["status", "--watch", "--interval", "100ms"])?;
        let terminal = Terminal::run(watch, 40, 100)?;
        let gate = |screen: &str, words: &[&str]| {
            let row = screen.lines().find(|line| line.contains(&path)).unwrap_or_default().to_owned();
            words.iter().all(|word| row.split_whitespace().any(|there| there == *word))
        };
        let screen = terminal.wait("the closed gate", |screen| gate(screen, &["holding", "not-ready", "hold", "0"]))?;
        for words in ["ready, for", "egress", "cgroup_skb/egress", "pods from file up", "Pods: 1 holding, 0 open"] {
            assert!(screen.contains(words), "{words}: {screen}");
        }
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        terminal.wait("the held connection", |screen| {
            gate(screen, &["holding", "1"]) && screen.contains("Connections: 1 waiting")
        })?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        let screen = terminal.wait("the open gate", |screen| gate(screen, &["open", "ready"]))?;
        assert!(screen.contains("Connections: 0 waiting, 1 held so far"), "{screen}");
        assert!(agent.told(&["status"])?.lines().all(|line| line.chars().count() <= 100));
        Ok(())
    })
}

#[test]
fn agent_explain_names_the_process_the_destination_and_what_is_waited_for() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let (agent, _app, mut client) = holding(world)?;
        let (path, pid) = (world.pod.path(), client.process().pid().as_raw());
        let name = path.split('/').next_back().context("a name")?.to_owned();
        let explained = wait_until(PATIENCE, "the proxy was asked", || {
            let explained = agent.told_json(&["explain", &name]).ok()?;
            explained["waits_for"]["answer"].as_str()?.starts_with("503").then_some(explained)
        })?;
        let held = &explained["connections"][0];
        assert_eq!((&explained["version"], &explained["gate"]["pod"]), (&1.into(), &path.clone().into()));
        assert_eq!((&held["destination"], &held["container"]), (&CAPTURED_V4.into(), &"app".into()), "{explained:#}");
        assert_eq!(held["process"]["pid"], pid, "{explained:#}");
        assert_ne!(held["reason"], "unclassified", "its container is identified by now: {explained:#}");
        assert_eq!(explained["waits_for"]["answer"], "503 INITIALIZING");
        let text = agent.told(&["explain", &path])?;
        for words in ["Gate:      holding (not-ready)", "app -> 198.51.100.10:80", "pid ", "Decisions:", "identified"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let refused = agent.ask(&["explain", "nobody"])?.output()?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("no pod `nobody` on this node"));

        world.pod.annotate("mode", Some("hodl"));
        world.pod.tell()?;
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED);
        let explained = agent.told_json(&["explain", &name])?;
        let why = explained["not_gated"].as_str().unwrap_or_default();
        assert!(why.contains("conngate.io/mode") && why.contains("hodl"), "{explained:#}");
        Ok(())
    })
}

#[test]
fn agent_open_lets_go_at_once_is_counted_and_refuses_what_has_no_gate() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.annotate("timeout", Some("10m"));
        let (agent, _app, mut client) = holding(world)?;
        let follow = agent.ask(&["events", "--follow"])?;
        let events = Terminal::run(follow, 40, 200)?;
        events.wait("the held connection", |screen| screen.contains("held (unclassified): app"))?;
        assert_eq!(agent.told(&["open", "--all"])?, format!("{}: opened, 1 connections released\n", world.pod.path()));
        assert_eq!(client.report::<Connection>()?.outcome, REFUSED, "nobody listens: as without conngate");
        events.wait("the opening and the end", |screen| {
            screen.contains("released (operator): held 1") && screen.contains("refused after")
        })?;
        assert_eq!(Kernel(world.node).gate(&world.pod)?, Some((GateState::Open, Reason::Operator)));
        assert_eq!(agent.metric("conngate_gates_opened_total{reason=\"operator\"}")?, 1.0);
        assert_eq!(agent.logged("an operator opens a gate").len(), 1);
        assert_eq!(agent.told(&["open", "--all"])?, "no gate was closed\n");
        assert_eq!(agent.told(&["open", &world.pod.path()])?, format!("{}: was already open\n", world.pod.path()));
        world.pod.annotate("mode", None);
        world.pod.tell()?;
        wait_until(PATIENCE, "it has no gate", || {
            let refused = agent.ask(&["open", &world.pod.path()]).ok()?.output().ok()?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            (refused.status.code() == Some(1) && said.contains("has no gate: neither it nor its namespace has"))
                .then_some(())
        })
    })
}

#[test]
fn agent_socket_is_for_its_own_user_alone_and_goes_with_the_agent() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let socket = world.node.socket();
        let metadata = fs::metadata(&socket)?;
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        for directory in socket.ancestors().skip(1).take(2) {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
        let mut other = agent.ask(&["status"])?;
        run_as(&mut other, NOBODY);
        let refused = other.output()?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(125), "{said}");
        assert!(said.contains("Permission denied") && said.contains("--socket"), "{said}");
        // A second agent does not take its place.
        let second = Agent::begin(world.node, &[])?;
        let warned = second.wait_for("the command line cannot ask this agent", 1)?;
        assert!(warned[0]["error"].as_str().unwrap_or_default().contains("another agent answers"), "{warned:?}");
        second.kill()?;
        assert!(agent.told(&["status"])?.contains(": ready"));
        agent.stop()?;
        assert!(!socket.exists());
        Ok(())
    })
}

#[test]
fn agent_hostile_names_break_no_table_no_json_no_log_and_no_metrics() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let directory = TempDir::new()?;
        let (agent, _app, _client) = hostile(world, &directory)?;
        let uid = agent.told_json(&["status"])?["live"]["gates"][0]["uid"].as_str().context("a uid")?.to_owned();
        let status = agent.told(&["status"])?;
        let events = agent.told(&["events"])?;
        let explained = agent.told(&["explain", &format!("shop/{HOSTILE_POD}")])?;
        for text in [&status, &explained, &events] {
            assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
            assert!(!text.contains('\u{202e}') && text.contains("\\u{202e}"), "what is not seen is written: {text:?}");
        }
        assert!(explained.contains(r"\u{1b}[31m<b>&"), "{explained}");
        assert!(status.lines().all(|line| line.chars().count() <= 100), "{status}");
        let row = status.lines().find(|line| line.contains("<script>")).context("a row")?;
        assert!(row.split_whitespace().any(|word| word == "holding"), "one row of one pod: {status}");

        let explained = agent.told_json(&["explain", &format!("shop/{HOSTILE_POD}")])?;
        assert_eq!(explained["gate"]["pod"], format!("shop/{HOSTILE_POD}"), "JSON keeps it as it is");
        let command = explained["connections"][0]["process"]["name"].as_str().context("a name")?;
        assert_eq!(command, HOSTILE_COMMAND);
        assert_eq!(explained["gate"]["uid"], uid);
        let lines = agent.told(&["events", "-o", "json"])?;
        let held = lines.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        assert!(held.iter().any(|event| event["event"] == "held"), "each event is a line: {lines}");

        let metrics = agent.metrics()?;
        let of_it: Vec<_> = metrics.keys().filter(|sample| sample.contains("<script>")).collect();
        assert_eq!(of_it.len(), 3, "one sample of each family: {of_it:?}");
        // The agent's log is JSON here: a line that is none is kept as text.
        assert!(agent.logged("connection held")[0]["pod"] == format!("shop/{HOSTILE_POD}"));
        Ok(())
    })
}

#[test]
fn agent_report_in_a_browser_shows_what_was_held_and_runs_nothing_of_hostile_names() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let directory = TempDir::new()?;
        let (agent, _app, mut client) = hostile(world, &directory)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        agent.wait_for("connection ended", 1)?;
        let page = directory.path().join("report.html");
        let path = page.to_str().context("a path")?;
        let mut report = agent.ask(&["report", "--file", path])?;
        assert!(report.stdout(Stdio::null()).status()?.success());

        let browser = Browser::open(&page, 1100, 900)?;
        let text = browser.text()?;
        assert_ne!(browser.ask("return document.title")?, "owned", "a name is no script");
        assert_eq!(browser.ask("return document.scripts.length")?, 0);
        assert_eq!(browser.ask("return document.querySelectorAll('b').length")?, 0);
        for words in ["<script>document.title='owned'</script>", r"\u{202e}", r"\u{1b}[31m<b>&", "198.51.100.10:80"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.contains("ready") && text.contains("established"), "{text}");
        let bars = browser.ask(
            "return [...document.querySelectorAll('svg rect')].map(rect => rect.getBoundingClientRect())\
             .filter(box => box.width > 20 && box.height > 2 && box.right <= innerWidth).length",
        )?;
        assert!(bars.as_u64() >= Some(1), "a bar can be seen: {bars}");
        let requests = browser.ask("return performance.getEntriesByType('resource').length")?;
        assert_eq!(requests, 0, "the page asks nobody for anything");
        let overflow = browser.ask("return document.documentElement.scrollWidth <= innerWidth")?;
        assert_eq!(overflow, true, "nothing is cut off");
        assert!(browser.screenshot()?.len() > 5_000, "the window is not empty");
        Ok(())
    })
}

#[test]
fn agent_words_of_the_programs_arrive_in_the_same_log() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &["--bpf-log", "4"])?;
        let app = world.pod.container("app")?;
        let _client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        let words = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            event["target"] == "conngate::egress" && message.starts_with("syn to port 15001: verdict")
        };
        let said = wait_until(PATIENCE, "egress speaks", || agent.logged_as(words).into_iter().next())?;
        assert_eq!(said["level"], "DEBUG", "{said}");
        Ok(())
    })
}
