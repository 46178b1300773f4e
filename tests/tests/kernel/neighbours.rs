//! Another program up the tree that holds a connect hook for itself, as old Cilium does: conngate leaves the connect hooks
//! out, and holds all the same.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result};
use aya::{Ebpf, programs::CgroupSockAddr};
use conngate_tests::lab::{Cgroup, Gated, Node, agent::check, client};

use crate::world::{CAPTURED_V4, assert_reached, finish, initializing};

/// `BPF_PROG_ATTACH` in include/uapi/linux/bpf.h.
const PROG_ATTACH: libc::c_long = 8;
/// `BPF_CGROUP_INET4_CONNECT`, likewise.
const INET4_CONNECT: u32 = 10;

/// The part of `union bpf_attr` that BPF_PROG_ATTACH reads.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches some connect4 program to `cgroup` without flags; it goes with the cgroup.
fn occupy(cgroup: &Cgroup) -> Result<()> {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/src/kernel/object/conngate.bpf.o");
    let mut ebpf = Ebpf::load_file(object)?;
    let program: &mut CgroupSockAddr = ebpf.program_mut("connect4").context("connect4")?.try_into()?;
    program.load()?;
    let directory = File::open(cgroup.path())?;
    let attach = Attach {
        target: directory.as_raw_fd().cast_unsigned(),
        program: program.fd()?.as_fd().as_raw_fd().cast_unsigned(),
        attach_type: INET4_CONNECT,
        flags: 0,
    };
    // SAFETY: the kernel reads `size_of::<Attach>()` bytes at `attach`, which lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()).context("cannot attach without flags") }
}

#[test]
fn connect_hook_held_by_another_connections_are_held_without_attribution() -> Result<()> {
    initializing(|pod, control_plane, _| {
        let cgroup = Cgroup::new()?;
        occupy(&cgroup)?;

        let node = Node::new()?;
        let mut check = check(&node)?;
        cgroup.join(&mut check)?;
        let check = check.output()?;
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success(), "a warning is no failure: {said}");
        let warns = |line: &&str| line.starts_with("warn") && line.contains("cgroup/connect4");
        let warning = said.lines().find(warns).with_context(|| said.clone())?;
        assert!(warning.contains("not attributed"), "{warning}");

        let client = client::binary()?;
        let command = [client.to_str().context("a path in UTF-8")?, "connect", CAPTURED_V4];
        let mut gated = Gated::start_in(cgroup, pod, &[], &command)?;
        let held = gated.wait_for("held", 1)?;
        assert_eq!(held[0]["process"], serde_json::Value::Null, "nobody saw who connects");
        assert_eq!(held[0]["destination"], CAPTURED_V4);
        control_plane.release();
        assert_reached(&gated.client().report()?, CAPTURED_V4);
        assert_eq!(finish(&mut gated)?, 0);
        Ok(())
    })
}
