//! Whoever crowds the agent's port, or leaves it no descriptors, keeps nobody from an answer and no gate from opening.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use anyhow::{Context, Result, bail};
use conngate_testbed::lab::{Agent, Qos, http, upstream::raise_file_limit, wait_until};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::{
    agent_world::{PATIENCE, holding, initializing},
    world::{CAPTURED_V4, assert_reached},
};

/// More than the port takes, and than a container has descriptors whose runtime gives it no more.
const CROWD: usize = 1_100;
pub(crate) const DESCRIPTORS: u64 = 1_024;

/// See `serve/connections.rs`.
const CONNECTIONS: usize = 64;

/// Lets the agent have so many descriptors from now on; `None`: as many as it may have, which it has from this process.
pub(crate) fn limit_descriptors(agent: &Agent, limit: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(agent.pid().as_raw()).context("a process")?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: limit.or(maximum), maximum })?;
    Ok(())
}

fn is_open(connection: &mut TcpStream) -> bool {
    // What was said before the end does not matter.
    let read = std::iter::repeat_with(|| connection.read(&mut [0; 1024])).find(|read| !matches!(read, Ok(1..)));
    matches!(read, Some(Err(error)) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn agent_whose_port_is_crowded_answers_everybody_else_and_opens_gates() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        raise_file_limit()?;
        let (agent, _app, mut client) = holding(world)?;
        limit_descriptors(&agent, Some(DESCRIPTORS))?;
        let mut crowd = Vec::new();
        for number in 0..CROWD {
            let mut connection = TcpStream::connect(agent.address())?;
            if number % 2 == 0 {
                // A head without end, whose connection may be ended already.
                let _ = connection.write_all(format!("GET /{}", "x".repeat(4_000)).as_bytes());
            }
            connection.set_nonblocking(true)?;
            crowd.push(connection);
        }
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(http::fetch(agent.address(), path)?.0, 200, "{path}");
        }
        assert!(agent.told(&["status"])?.contains("Connections: 1 waiting"));
        wait_until(PATIENCE, "the agent has ended all but the newest", || {
            (crowd.iter_mut().filter_map(|connection| is_open(connection).then_some(())).count() <= CONNECTIONS)
                .then_some(())
        })?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn agent_that_runs_out_of_descriptors_says_so_and_opens_gates_when_there_are_some() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        // The kernel gives the lowest free number, and the last eighth is for those who answer: of those below none is free.
        let is_open = |number: &u64| fs::symlink_metadata(format!("/proc/{}/fd/{number}", agent.pid())).is_ok();
        let limit = (0..).find(|number| !is_open(number)).context("a free number")? * 8 / 7;
        limit_descriptors(&agent, Some(limit))?;
        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        let words = format!("degraded: short of descriptors: limit {limit}, in use ");
        agent.wait_readyz("descriptors are short", |status, text| status == 200 && text.contains(&words))?;
        limit_descriptors(&agent, None)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        assert_eq!(agent.wait_for("gate opened", 1)?[0]["reason"], "ready");
        Ok(())
    })
}

#[test]
fn agent_raises_its_limit_of_descriptors_as_far_as_it_may() -> Result<()> {
    initializing(Qos::Burstable, |world| {
        let agent = Agent::start(world.node, &[])?;
        let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid()))?;
        let line = limits.lines().find(|line| line.starts_with("Max open files")).context("a limit")?;
        let [soft, hard] = line.split_whitespace().skip(3).take(2).collect::<Vec<_>>()[..] else { bail!("{line}") };
        assert_eq!(soft, hard, "{line}");
        assert_eq!(agent.metric("process_max_fds")?, soft.parse::<f64>()?);
        Ok(())
    })
}
