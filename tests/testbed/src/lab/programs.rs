//! The eBPF programs of which nobody else is known to have them.
//!
//! Knows nothing of who loaded them: a program has no owner. It is somebody else's while a process that is none of the
//! laboratory's has it or its link open (an agent, `conngate run`), and while it hangs on a cgroup that is not below ours (what
//! an agent has pinned).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::Result;

use super::{cgroup, process};

/// `BPF_PROG_TYPE_CGROUP_DEVICE` in include/uapi/linux/bpf.h: the rules of containers and units, of which their makers hold
/// nothing open. conngate has none.
const DEVICE_RULES: u32 = 15;

/// `BPF_LINK_GET_FD_BY_ID`, likewise.
const LINK_GET_FD_BY_ID: libc::c_long = 30;

/// "id name" of each.
pub(super) fn unclaimed() -> Result<Vec<String>> {
    // One that is unloaded between its listing and its asking is not left behind.
    let loaded = aya::programs::loaded_programs().flatten();
    let loaded = loaded.filter(|program| program.program_type() as u32 != DEVICE_RULES);
    let name = |program: &aya::programs::ProgramInfo| program.name_as_str().unwrap_or("?").to_owned();
    let mut unclaimed: BTreeMap<u32, String> = loaded.map(|program| (program.id(), name(&program))).collect();
    if !unclaimed.is_empty() {
        for process in process::others() {
            open(&process).into_iter().for_each(|program| drop(unclaimed.remove(&program)));
        }
    }
    if !unclaimed.is_empty() {
        let others = cgroup::others()?;
        for link in aya::programs::loaded_links().flatten() {
            let program = link.program_id();
            if unclaimed.contains_key(&program) && hangs_on(link.id()).is_some_and(|at| others.contains(&at)) {
                unclaimed.remove(&program);
            }
        }
    }
    Ok(unclaimed.into_iter().map(|(id, name)| format!("{id} {name}")).collect())
}

/// The programs that the process in /proc/`process` has open, themselves or by their links.
fn open(process: &Path) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(process.join("fdinfo")).into_iter().flatten().flatten();
    let said = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    said.filter_map(|said| number(&said, "prog_id")).filter_map(|id| u32::try_from(id).ok()).collect()
}

/// The id of the cgroup on which a link hangs; none: it is gone, or hangs on nothing.
fn hangs_on(link: u32) -> Option<u64> {
    let link = open_link(link).ok()?;
    let said = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", link.as_raw_fd())).ok()?;
    number(&said, "cgroup_id").filter(|id| *id != 0)
}

fn open_link(id: u32) -> io::Result<OwnedFd> {
    // The part of `union bpf_attr` that the command reads: the id, the next one, flags.
    let attributes = [id, 0, 0];
    // SAFETY: the kernel reads `size_of_val(&attributes)` bytes at `attributes`, which lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LINK_GET_FD_BY_ID, attributes.as_ptr(), size_of_val(&attributes)) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number after `name:` in a text as in /proc/PID/fdinfo.
fn number(said: &str, name: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_link_is_found_by_its_whole_name() {
        let said = "pos:\t0\nflags:\t02000002\nlink_type:\tcgroup\nlink_id:\t12\nprog_tag:\t0011223344556677\n\
            prog_id:\t345\ncgroup_id:\t6789\nattach_type:\tcgroup_inet_egress\n";
        assert_eq!((number(said, "prog_id"), number(said, "cgroup_id")), (Some(345), Some(6789)));
        assert_eq!(number(said, "prog"), None);
    }
}
