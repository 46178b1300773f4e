//! What a machine may lack: conngate holds all the same, or says what is missing and what to do.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context, Result};
use conngate_testbed::{
    kernel_version,
    lab::{Agent, Cgroup, Gated, KubePod, Node, Pod, Qos, agent, client},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
};

use crate::{
    agent_world,
    world::{CAPTURED_V4, assert_reached, finish, initializing},
};

/// Hides the kernel's BTF from `command` alone.
fn hide_btf(command: &mut Command) {
    let hide = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let (none, flags) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, flags, none)?;
        mount(none, "/sys/kernel/btf", Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(())
    };
    // SAFETY: runs between fork and exec; plain system calls, with strings that need no memory to be passed on.
    unsafe { command.pre_exec(hide) };
}

/// Lets `command` lock 64 KiB of memory, and keeps it from raising that.
fn limit_locked_memory(command: &mut Command) {
    let limit = || {
        const CAP_SYS_RESOURCE: libc::c_ulong = 24;
        const LIMIT: u64 = 64 << 10;
        setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT, LIMIT)?;
        // SAFETY: a plain system call.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_RESOURCE, 0, 0, 0) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // Root gets at exec what is left of the bounding set.
        prctl::set_no_new_privs()?;
        Ok(())
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(limit) };
}

/// Refuses inotify to `command` alone, as where its instances are used up.
#[expect(clippy::cast_possible_truncation, reason = "the kernel's codes and numbers are small")]
fn refuse_inotify(command: &mut Command) {
    let refuse = || {
        const LOAD: libc::c_uint = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let statement = |code: libc::c_uint, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let mut program = [
            // The system call's number is the first field of seccomp_data.
            statement(LOAD, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_inotify_init1 as u32, 1),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EMFILE.cast_unsigned(), 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: a plain system call; the kernel copies the program before it returns.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: runs between fork and exec; a plain system call, and nothing allocates or locks.
    unsafe { command.pre_exec(refuse) };
}

fn start(pod: &Pod, prepare: impl FnOnce(&mut Command)) -> Result<Gated> {
    let client = client::binary()?;
    let command = [client.to_str().context("a path in UTF-8")?, "connect", CAPTURED_V4];
    Gated::start_prepared(Cgroup::new()?, pod, &[], &command, prepare)
}

/// The line of `conngate check` about something that is not to be had.
fn check(what: &str, prepare: impl FnOnce(&mut Command)) -> Result<Option<String>> {
    let node = Node::new()?;
    let mut check = agent::check(&node)?;
    prepare(&mut check);
    let (_, said) = agent::checked(check)?;
    anyhow::ensure!(said.contains("ok    program     egress"), "{said}");
    let begin = format!("lacks       {what}, ");
    Ok(said.lines().find(|line| line.contains(&begin)).map(ToOwned::to_owned))
}

#[test]
fn kernel_without_btf_connections_are_held_and_budgets_left_alone() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let said = check("syn budget", hide_btf)?.context("check is silent")?;
        assert!(said.contains("no BTF") && said.contains("TCP_SYNCNT is left alone"), "{said}");
        assert_eq!(check("syn budget", |_| {})?, None);
        let mut gated = start(pod, hide_btf)?;
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn locked_memory_of_64_kib_is_enough_since_5_11_and_before_that_said_with_the_remedy() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let mut gated = start(pod, limit_locked_memory)?;
        if kernel_version()? < (5, 11) {
            gated.finish()?;
            let error = gated.events("error")[0]["error"].to_string();
            for word in ["locked memory", "RLIMIT_MEMLOCK", "65536 bytes", "CAP_SYS_RESOURCE"] {
                assert!(error.contains(word), "{word}: {error}");
            }
            return Ok(());
        }
        gated.wait_for("held", 1)?;
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}

#[test]
fn agent_without_inotify_finds_pods_by_walking_and_says_so() -> Result<()> {
    agent_world::initializing(Qos::Burstable, |world| {
        let agent = Agent::begin_prepared(world.node, &[], refuse_inotify)?;
        agent.wait_readyz("degraded", |status, text| {
            status == 200 && text.contains("no inotify") && text.contains("fs.inotify.max_user_instances")
        })?;
        let pod = KubePod::new(world.node, world.netns, Qos::Burstable)?;
        pod.tell()?;
        let app = pod.container("app")?;
        let mut client = app.connect(CAPTURED_V4, &[])?;
        agent.wait_for("connection held", 1)?;
        world.control_plane.release();
        assert_reached(&client.report()?, CAPTURED_V4);
        Ok(())
    })
}
