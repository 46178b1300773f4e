//! `conngate run` is transparent: CMD gets what it would get without it, and ends as it would.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result};
use conngate_testbed::lab::{Gated, Namespace, client, gated};
use nix::sys::signal::{Signal, kill};

use crate::world::{CAPTURED_V4, finish, initializing};

fn conngate(arguments: &[&str]) -> Result<Command> {
    let namespace = Namespace::new()?;
    let mut conngate = namespace.command(gated::binary()?);
    conngate.args(arguments);
    Ok(conngate)
}

fn output(arguments: &[&str]) -> Result<Output> {
    conngate(arguments)?.output().context("conngate cannot be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn command_gets_the_callers_environment_directory_identity_and_signals() -> Result<()> {
    conngate_testbed::lab::run(|| {
        // What a process can see of itself; the last variable that the shell itself changes is left out.
        let script = "env -u _ -u SHLVL | sort; pwd; id; umask; ulimit -n; tty; \
            grep -E '^(Sig(Blk|Ign|Cgt)|NoNewPrivs|Cap)' /proc/self/status; ls -l /proc/self/fd | wc -l";
        let shell = ["sh", "-c", script];
        let run = |mut command: Command| {
            let command = command.env("GATED", "yes").current_dir("/").env_remove("LD_LIBRARY_PATH");
            Ok::<_, anyhow::Error>(text(&command.stdin(Stdio::null()).output()?.stdout))
        };
        let namespace = Namespace::new()?;
        let mut plain = namespace.command(shell[0]);
        plain.args(&shell[1..]);
        assert_eq!(run(conngate(&[&["run", "--"], &shell[..]].concat())?)?, run(plain)?);
        Ok(())
    })
}

#[test]
fn command_where_no_cgroup2_file_system_is_seen_has_its_scope_all_the_same() -> Result<()> {
    conngate_testbed::lab::run(|| {
        let namespace = Namespace::new()?;
        // What `ip netns exec` does before it starts a program.
        let hidden = "mount --make-rslave / && umount --lazy /sys && mount -t sysfs none /sys && ! ls /sys/fs/cgroup/cgroup.procs";
        let script = format!("{hidden} && exec '{}' run -- cat /proc/self/cgroup", gated::binary()?.display());
        let output = namespace.command("unshare").args(["--mount", "sh", "-c", &script]).output()?;
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        let scope =
            said.lines().find_map(|line| line.strip_prefix("0::")).with_context(|| format!("{said}{errors}"))?;
        assert!(scope.contains("/conngate-run-") && output.status.success(), "{said}{errors}");
        let unified = conngate_testbed::lab::Cgroup::new()?;
        let mount = unified
            .path()
            .ancestors()
            .find(|path| !path.join("cgroup.events").exists() && path.join("cgroup.procs").exists());
        let left = mount.context("the hierarchy")?.join(scope.trim_start_matches('/'));
        assert!(!left.exists(), "nothing is left behind: {}", left.display());
        Ok(())
    })
}

#[test]
fn command_ignores_what_its_caller_ignores() -> Result<()> {
    conngate_testbed::lab::run(|| {
        let namespace = Namespace::new()?;
        let ignored = |prefix: &str| {
            let script = format!("trap '' HUP USR1; exec {prefix} grep SigIgn /proc/self/status");
            Ok::<_, anyhow::Error>(text(&namespace.command("sh").args(["-c", &script]).output()?.stdout))
        };
        let conngate = gated::binary()?;
        assert_eq!(ignored(&format!("'{}' run --", conngate.display()))?, ignored("")?);
        Ok(())
    })
}

#[test]
fn command_gets_stdin_and_gives_its_status() -> Result<()> {
    conngate_testbed::lab::run(|| {
        let mut running = conngate(&["run", "--", "sh", "-c", "read line; echo \"got $line\"; echo err >&2; exit 7"])?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        running.stdin.take().context("a pipe")?.write_all(b"hello\n")?;
        let output = running.wait_with_output()?;
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("got hello\n".into(), "err\n".into()));
        assert_eq!(output.status.code(), Some(7));
        for (command, code) in [(["sh", "-c", "kill -9 $$"], 128 + 9), (["sh", "-c", "kill -15 $$"], 128 + 15)] {
            assert_eq!(output_code(&command)?, Some(code));
        }
        assert_eq!(output_code(&["/nonexistent"])?, Some(127));
        assert_eq!(output_code(&["/"])?, Some(126));
        Ok(())
    })
}

fn output_code(command: &[&str]) -> Result<Option<i32>> {
    Ok(output(&[&["run", "--"], command].concat())?.status.code())
}

#[test]
fn signals_to_conngate_reach_the_command() -> Result<()> {
    conngate_testbed::lab::run(|| {
        // Not INT, QUIT or HUP: whoever starts the tests in the background may have them ignored, and so would CMD.
        for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2] {
            let name = signal.as_str().trim_start_matches("SIG");
            let script = format!("trap 'echo {name}; exit 5' {name}; echo ready; while :; do read x; done");
            let namespace = Namespace::new()?;
            let mut gated = Gated::start_command(&namespace, &[], &["bash", "-c", &script])?;
            assert_eq!(gated.client().line()?, "ready");
            kill(gated.client().process().pid(), signal)?;
            assert_eq!(gated.client().line()?, name);
            assert_eq!(finish(&mut gated)?, 5);
        }
        Ok(())
    })
}

#[test]
fn release_says_how_many_how_long_and_until_what() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let client = client::binary()?;
        let mut conngate = pod.command(gated::binary()?);
        conngate.args(["run", "--"]).arg(client).args(["connect", CAPTURED_V4]);
        let running = conngate.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        conngate_testbed::lab::wait_until(std::time::Duration::from_secs(60), "a held connection", || {
            let table = pod.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).ok()?;
            // State 02 is SYN_SENT.
            table.lines().any(|line| line.split_whitespace().nth(3) == Some("02")).then_some(())
        })?;
        control_plane.release();
        let said = text(&running.wait_with_output()?.stderr);
        let rest = said.strip_prefix("conngate: held 1 connection for ").with_context(|| said.clone())?;
        let (seconds, until) = rest.split_once(" s, ").context("a duration in seconds")?;
        assert!(seconds.parse::<f64>()? > 0.0);
        assert_eq!(until, "until http://127.0.0.1:15000/ready answered 2xx (ready)\n");
        Ok(())
    })
}
