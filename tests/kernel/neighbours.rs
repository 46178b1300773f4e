//! Other people's programs up the tree, without BPF_F_ALLOW_MULTI: conngate leaves out the hooks that they have, holds by egress
//! alone where it must, and silences nobody.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{CgroupSkb, CgroupSockAddr, CgroupSockopt, SockOps, loaded_programs},
    sys::{Stats, enable_stats},
};
use conngate_testbed::{
    lab::{Agent, Cgroup, Gated, Node, Pod, Qos, agent, client},
    report::Connection,
};

use crate::{
    agent_world,
    world::{CAPTURED_V4, CAPTURED_V6, assert_reached, finish, initializing},
};

/// `BPF_PROG_ATTACH` in include/uapi/linux/bpf.h.
const PROG_ATTACH: libc::c_long = 8;
/// `BPF_PROG_DETACH`, likewise.
const PROG_DETACH: libc::c_long = 9;
/// Attach types, likewise.
const EGRESS: u32 = 1;
const SOCK_OPS: u32 = 3;
const INET4_CONNECT: u32 = 10;
const INET6_CONNECT: u32 = 11;
const SETSOCKOPT: u32 = 22;
/// Flags, likewise.
const FLAGLESS: u32 = 0;
const ALLOW_OVERRIDE: u32 = 1;

/// The part of `union bpf_attr` that BPF_PROG_ATTACH reads.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches some program of the hook to `cgroup`; it goes with the cgroup. Answers the kernel's number of it.
fn occupy(cgroup: &Cgroup, attach_type: u32, flags: u32) -> Result<u32> {
    // A copy of conngate's own, with maps of its own, in which nobody has said anything: it lets everything go.
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/bpf/object/conngate.bpf.o");
    let mut ebpf = Ebpf::load_file(object)?;
    let name = match attach_type {
        EGRESS => "egress",
        SOCK_OPS => "sock_ops",
        SETSOCKOPT => "setsockopt",
        INET4_CONNECT => "connect4",
        _ => "connect6",
    };
    let program = ebpf.program_mut(name).context(name)?;
    match attach_type {
        EGRESS => <&mut CgroupSkb>::try_from(&mut *program)?.load()?,
        SOCK_OPS => <&mut SockOps>::try_from(&mut *program)?.load()?,
        SETSOCKOPT => <&mut CgroupSockopt>::try_from(&mut *program)?.load()?,
        _ => <&mut CgroupSockAddr>::try_from(&mut *program)?.load()?,
    }
    let (id, program) = (program.info()?.id(), program.fd()?.try_clone()?);
    let directory = File::open(cgroup.path())?;
    let attach = Attach {
        target: directory.as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        attach_type,
        flags,
    };
    // SAFETY: the kernel reads `size_of::<Attach>()` bytes at `attach`, which lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result == 0 { Ok(id) } else { Err(io::Error::last_os_error()).context("cannot attach") }
}

/// Detaches what [`occupy`] has attached.
fn vacate(cgroup: &Cgroup, attach_type: u32) -> Result<()> {
    let directory = File::open(cgroup.path())?;
    let attach = Attach { target: directory.as_raw_fd().cast_unsigned(), program: 0, attach_type, flags: 0 };
    // SAFETY: as above.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_DETACH, &raw const attach, size_of::<Attach>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("cannot detach") }
}

/// What `conngate check` prints in `cgroup`, and whether it finds that connections can be held.
fn check(cgroup: &Cgroup) -> Result<(bool, String)> {
    let node = Node::new()?;
    let mut check = agent::check(&node)?;
    cgroup.join(&mut check)?;
    agent::checked(check)
}

/// A gated client below `cgroup`.
fn start(cgroup: Cgroup, pod: &Pod, destination: &str) -> Result<Gated> {
    let client = client::binary()?;
    let command = [client.to_str().context("a path in UTF-8")?, "connect", destination];
    Gated::start_in(cgroup, pod, &[], &command)
}

#[test]
fn connect_hook_held_by_another_connections_are_held_without_attribution() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let cgroup = Cgroup::new()?;
        occupy(&cgroup, INET4_CONNECT, FLAGLESS)?;
        let (can_hold, said) = check(&cgroup)?;
        assert!(can_hold, "a warning is no failure: {said}");
        let warns = |line: &&str| line.starts_with("warn") && line.contains("cgroup/connect4");
        // A finding's next lines are indented.
        let lines = said.lines().skip_while(|line| !warns(line)).take(3);
        let warning: Vec<_> = lines.flat_map(str::split_whitespace).collect();
        assert!(warning.join(" ").contains("not attributed"), "{said}");

        let mut gated = start(cgroup, pod, CAPTURED_V4)?;
        let held = gated.wait_for("held", 1)?;
        assert_eq!(held[0]["process"], serde_json::Value::Null, "nobody saw who connects");
        assert_eq!(held[0]["destination"], CAPTURED_V4);
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn connect_hook_that_ours_would_silence_goes_on_running() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let _statistics = enable_stats(Stats::RunTime)?;
        let cgroup = Cgroup::new()?;
        // IPv6: conngate itself, in the same cgroup, asks Envoy by IPv4.
        let id = occupy(&cgroup, INET6_CONNECT, ALLOW_OVERRIDE)?;
        let runs = || {
            let programs = loaded_programs().flatten();
            programs.filter(|program| program.id() == id).map(|program| program.run_count()).sum::<u64>()
        };
        let mut gated = start(cgroup, pod, CAPTURED_V6)?;
        assert_eq!(gated.wait_for("held", 1)?[0]["process"], serde_json::Value::Null);
        assert_eq!(runs(), 1, "the other program saw the connect()");
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V6);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn every_hook_but_egress_held_by_others_egress_alone_holds_and_releases() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let cgroup = Cgroup::new()?;
        for (hook, flags) in
            [(INET4_CONNECT, FLAGLESS), (INET6_CONNECT, ALLOW_OVERRIDE), (SOCK_OPS, FLAGLESS), (SETSOCKOPT, FLAGLESS)]
        {
            occupy(&cgroup, hook, flags)?;
        }
        let (can_hold, said) = check(&cgroup)?;
        assert!(can_hold, "warnings are no failure: {said}");
        let warnings = said.lines().filter(|line| line.starts_with("warn  neighbours")).count();
        assert_eq!(warnings, 4, "{said}");

        let mut gated = start(cgroup, pod, CAPTURED_V4)?;
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        assert_eq!(gated.events("ended")[0]["outcome"], "established", "its replay is its end: nobody tells another");
        Ok(())
    })
}

#[test]
fn sock_ops_held_by_another_a_hold_lasts_as_long_as_on_a_dead_line() -> Result<()> {
    initializing(|pod, _, _| {
        pod.set_sysctl("ipv4/tcp_syn_retries", "1")?;
        let mut far = pod.command("iptables");
        far.args(["-A", "OUTPUT", "-d", "203.0.113.98", "-j", "DROP"]);
        anyhow::ensure!(far.status()?.success(), "no rule that drops");
        let dead = client::connect(pod, "203.0.113.98:80", &[])?;
        assert_eq!(dead.outcome, "ETIMEDOUT");

        let cgroup = Cgroup::new()?;
        occupy(&cgroup, SOCK_OPS, FLAGLESS)?;
        let mut gated = start(cgroup, pod, CAPTURED_V4)?;
        let held: Connection = gated.client().report()?;
        assert_eq!(held.outcome, "ETIMEDOUT");
        // Both are the kernel's own timers. With drops at its half-second cadence, which a raised budget goes with, the hold
        // would end after half of the time.
        assert!(held.seconds > 0.8 * dead.seconds, "{held:?} {dead:?}");
        finish(&mut gated)?;
        Ok(())
    })
}

#[test]
fn egress_held_by_another_nothing_is_started_and_it_says_who() -> Result<()> {
    initializing(|pod, _, _| {
        for flags in [FLAGLESS, ALLOW_OVERRIDE] {
            let cgroup = Cgroup::new()?;
            occupy(&cgroup, EGRESS, flags)?;
            let (can_hold, said) = check(&cgroup)?;
            let fails = |line: &str| line.starts_with("fail") && line.contains("cgroup_skb/egress");
            assert!(!can_hold && said.lines().any(fails), "{said}");
            let path = cgroup.path().display().to_string();
            let mut gated = start(cgroup, pod, CAPTURED_V4)?;
            gated.finish()?;
            let error = gated.events("error")[0]["error"].to_string();
            assert!(error.contains(&path) && error.contains("cgroup_skb/egress"), "{error}");
        }
        Ok(())
    })
}

#[test]
fn hooks_that_others_take_later_are_left_to_them_and_taken_again_once_they_have_gone() -> Result<()> {
    agent_world::initializing(Qos::Burstable, |world| {
        let _statistics = enable_stats(Stats::RunTime)?;
        world.pod.tell()?;
        let agent = Agent::start(world.node, &[])?;
        let above = world.node.cgroup();
        let theirs = [(INET4_CONNECT, FLAGLESS), (SOCK_OPS, ALLOW_OVERRIDE), (SETSOCKOPT, FLAGLESS)];
        let ids: Vec<_> = theirs.iter().map(|(hook, flags)| occupy(above, *hook, *flags)).collect::<Result<_>>()?;
        let path = above.path().display().to_string();
        let named = |text: &str| {
            let hooks = [
                "connect4: another owner's program",
                "sock_ops: another owner's program",
                "setsockopt: another owner's program",
            ];
            text.contains(&path) && hooks.iter().all(|hook| text.contains(hook))
        };
        agent.wait_readyz("degraded, and by whom", |status, text| status == 200 && named(text))?;

        let app = world.pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        let runs = |id: u32| {
            let programs = loaded_programs().flatten();
            programs.filter(|program| program.id() == id).map(|program| program.run_count()).sum::<u64>()
        };
        assert!(runs(ids[0]) > 0 && runs(ids[1]) > 0, "theirs saw the connection");

        for (hook, _) in theirs {
            vacate(above, hook)?;
        }
        agent.wait_readyz("nothing is left out", |status, text| status == 200 && !text.contains(&path))?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);

        occupy(above, EGRESS, ALLOW_OVERRIDE)?;
        agent.wait_readyz("nothing can be held", |status, text| {
            status == 503 && text.contains("programs: ") && text.contains("cgroup_skb/egress") && text.contains(&path)
        })?;
        vacate(above, EGRESS)?;
        agent.wait_readyz("it holds again", |status, _| status == 200)?;
        Ok(())
    })
}
