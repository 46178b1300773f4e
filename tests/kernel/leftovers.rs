//! What the laboratory leaves behind is named while it is there; what other users of the machine do is none of it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use conngate_testbed::lab::{self, Agent, Cgroup, Leftovers, Namespace, Node, gated, process, wait_until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

#[test]
fn leftovers_cgroup_and_process_are_named_while_they_are_there() -> Result<()> {
    lab::run(|| {
        let before = Leftovers::now()?;
        let cgroup = Cgroup::new()?;
        let namespace = Namespace::new()?;
        let mut sleeper = namespace.command("sleep");
        sleeper.arg("600");
        cgroup.join(&mut sleeper)?;
        let mut sleeper = sleeper.spawn()?;
        let left = Leftovers::now()?.beyond(&before);
        assert!(left.contains(&format!("cgroup {}", cgroup.path().display())), "{left:?}");
        assert!(left.contains(&format!("process {} sleep", sleeper.id())), "{left:?}");
        drop(cgroup);
        sleeper.wait()?;
        before.assert_unchanged()
    })
}

#[test]
fn leftovers_mount_is_named_and_the_machine_does_not_see_it() -> Result<()> {
    lab::run(|| {
        let before = Leftovers::now()?;
        let directory = TempDir::new()?;
        let at = directory.path().to_str().context("a path in UTF-8")?;
        let run = |program: &str, arguments: &[&str]| {
            ensure!(Command::new(program).args(arguments).status()?.success(), "{program} {arguments:?}");
            Ok(())
        };
        run("mount", &["-t", "tmpfs", "none", at])?;
        assert!(Leftovers::now()?.beyond(&before).contains(&format!("mount {at}")));
        // Of the process's first thread, which is where the machine's mounts are.
        assert!(!fs::read_to_string("/proc/self/mountinfo")?.contains(at));
        run("umount", &[at])?;
        before.assert_unchanged()
    })
}

#[test]
fn leftovers_of_another_user_of_the_machine_are_none_of_the_laboratorys() -> Result<()> {
    lab::run(|| {
        let elsewhere = lab::cgroup::own()?.parent().context("the session's cgroup is in one")?.to_owned();
        // `conngate run -- sleep`, and whether its programs, its process and its cgroup are named while it runs.
        let named = |outside: bool| {
            let before = Leftovers::now()?;
            let mut run = Command::new("sh");
            let at = if outside { elsewhere.clone() } else { lab::cgroup::own()? };
            run.args([
                "-c",
                "echo 0 > \"$1/cgroup.procs\" && exec \"$2\" run -- sh -c 'echo runs; exec sleep 600'",
                "sh",
            ]);
            run.arg(at).arg(gated::binary()?).stdin(Stdio::null()).stdout(Stdio::piped());
            if !outside {
                process::mark(&mut run);
            }
            let mut run = run.spawn()?;
            let runs = run.stdout.take().map(|said| BufReader::new(said).lines().next());
            let mut left = Vec::new();
            let _ = wait_until(Duration::from_secs(if outside { 10 } else { 0 }), "nothing is ours", || {
                left = Leftovers::now().ok()?.beyond(&before);
                left.is_empty().then_some(())
            });
            kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGTERM)?;
            run.wait()?;
            assert!(matches!(runs.flatten(), Some(Ok(_))), "it did not run");
            before.assert_unchanged()?;
            let kinds = ["program", "process", "cgroup"].map(|kind| left.iter().any(|line| line.starts_with(kind)));
            Ok::<_, anyhow::Error>((kinds, left))
        };
        let (kinds, left) = named(false)?;
        assert_eq!(kinds, [true; 3], "{left:?}");
        let (_, left) = named(true)?;
        assert_eq!(left, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn leftovers_of_an_agent_elsewhere_are_its_own_also_while_only_its_pins_are_there() -> Result<()> {
    lab::run(|| {
        let (node, before) = (Node::new()?, Leftovers::now()?);
        let agent = Agent::start(&node, &[])?;
        let programs = |left: Vec<String>| left.iter().filter(|line| line.starts_with("program ")).count();
        assert!(programs(Leftovers::now()?.beyond(&before)) >= 5);
        agent.kill()?;
        // They hang on a cgroup of ours. Seen from one beside it, they are that one's.
        assert!(programs(Leftovers::now()?.beyond(&before)) >= 5);
        let aside = Cgroup::new()?;
        let home = lab::cgroup::own()?;
        let join = |cgroup: &Path| fs::write(cgroup.join("cgroup.procs"), "0");
        join(aside.path())?;
        let left = Leftovers::now().map(|now| programs(now.beyond(&before)));
        join(&home)?;
        assert_eq!(left?, 0);
        drop((aside, node));
        before.assert_unchanged()
    })
}
