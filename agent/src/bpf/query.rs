//! Who else is attached: BPF_PROG_QUERY on a cgroup and its ancestors.
//!
//! Knows nothing of our own programs. Once something is attached below, a later flagless attach above is skipped there (old
//! Cilium).

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use aya::programs::loaded_programs;
use aya_obj::generated::{bpf_attach_type, bpf_cmd};
use conngate_common::counter::Program;

use super::syscall::{attributes, bpf};

/// An attach type of ours, by its UAPI number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `BPF_CGROUP_INET4_CONNECT`
    Connect4,
    /// `BPF_CGROUP_INET6_CONNECT`
    Connect6,
    /// `BPF_CGROUP_INET_EGRESS`
    Egress,
    /// `BPF_CGROUP_SOCK_OPS`
    SockOps,
    /// `BPF_CGROUP_SETSOCKOPT`
    SetSockOpt,
    /// `BPF_CGROUP_UDP4_SENDMSG`
    SendMsg4,
    /// `BPF_CGROUP_UDP6_SENDMSG`
    SendMsg6,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Connect4, Self::Connect6, Self::Egress, Self::SockOps, Self::SetSockOpt, Self::SendMsg4, Self::SendMsg6];

    /// Where `program` is attached.
    #[must_use]
    pub const fn of(program: Program) -> Self {
        match program {
            Program::Connect4 => Self::Connect4,
            Program::Connect6 => Self::Connect6,
            Program::Egress => Self::Egress,
            Program::SockOps | Program::Listen => Self::SockOps,
            Program::SetSockOpt => Self::SetSockOpt,
            Program::SendMsg4 => Self::SendMsg4,
            Program::SendMsg6 => Self::SendMsg6,
        }
    }

    /// Its name in bpf(2).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "cgroup/connect4",
            Self::Connect6 => "cgroup/connect6",
            Self::Egress => "cgroup_skb/egress",
            Self::SockOps => "sock_ops",
            Self::SetSockOpt => "cgroup/setsockopt",
            Self::SendMsg4 => "cgroup/sendmsg4",
            Self::SendMsg6 => "cgroup/sendmsg6",
        }
    }

    /// Its number, as bpf(2) wants it.
    #[must_use]
    pub const fn attach_type(self) -> bpf_attach_type {
        match self {
            Self::Connect4 => bpf_attach_type::BPF_CGROUP_INET4_CONNECT,
            Self::Connect6 => bpf_attach_type::BPF_CGROUP_INET6_CONNECT,
            Self::Egress => bpf_attach_type::BPF_CGROUP_INET_EGRESS,
            Self::SockOps => bpf_attach_type::BPF_CGROUP_SOCK_OPS,
            Self::SetSockOpt => bpf_attach_type::BPF_CGROUP_SETSOCKOPT,
            Self::SendMsg4 => bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG,
            Self::SendMsg6 => bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG,
        }
    }
}

/// Programs at one hook of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// The cgroup's directory.
    pub cgroup: PathBuf,
    /// Where they are attached.
    pub hook: Hook,
    /// Their ids.
    pub programs: Vec<u32>,
    /// Whether they admit others.
    pub sharing: Sharing,
}

/// What the flags of an attached program mean for one that is attached below it (`hierarchy_allows_attach` and
/// `compute_effective_progs` in kernel/bpf/cgroup.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// BPF_F_ALLOW_MULTI: both run.
    Shared,
    /// BPF_F_ALLOW_OVERRIDE: the lower one runs instead, and this one no longer does.
    Overridden,
    /// No flag: nothing may be attached below.
    Exclusive,
}

/// Bits of `attach_flags` in include/uapi/linux/bpf.h.
const ALLOW_OVERRIDE: u32 = 1 << 0;
const ALLOW_MULTI: u32 = 1 << 1;

impl Sharing {
    const fn of(flags: u32) -> Self {
        if flags & ALLOW_MULTI != 0 {
            Self::Shared
        } else if flags & ALLOW_OVERRIDE != 0 {
            Self::Overridden
        } else {
            Self::Exclusive
        }
    }
}

/// Who forbids a program of ours at `hook` of `gated`, or would no longer run beside it; `None`: nobody.
///
/// # Errors
/// As [`neighbours`].
pub fn conflict(gated: &Path, root: &Path, hook: Hook) -> io::Result<Option<String>> {
    let found = neighbours(gated, root, hook)?;
    let conflict = found.iter().find_map(|neighbour| {
        let what = match neighbour.sharing {
            Sharing::Shared => return None,
            Sharing::Overridden => "would no longer run",
            Sharing::Exclusive => "holds the hook exclusively",
        };
        Some(format!("another owner's program at {} of {} {what}", hook.name(), neighbour.cgroup.display()))
    });
    Ok(conflict)
}

/// What is attached at `hook` to `cgroup` and to each of its ancestors up to `root`, nearest first.
///
/// # Errors
/// When a cgroup cannot be opened or the kernel refuses the query (it needs CAP_NET_ADMIN).
pub fn neighbours(cgroup: &Path, root: &Path, hook: Hook) -> io::Result<Vec<Neighbours>> {
    let mut found = Vec::new();
    for cgroup in cgroup.ancestors().take_while(|ancestor| ancestor.starts_with(root)) {
        let (programs, flags) = attached(&File::open(cgroup)?, hook, 0)?;
        if !programs.is_empty() {
            found.push(Neighbours { cgroup: cgroup.to_owned(), hook, programs, sharing: Sharing::of(flags) });
        }
    }
    Ok(found)
}

/// The ids of the programs that run at `hook` for `cgroup`, those of its ancestors included, in the order in which they run.
///
/// # Errors
/// As [`neighbours`].
pub fn effective(cgroup: &Path, hook: Hook) -> io::Result<Vec<u32>> {
    attached(&File::open(cgroup)?, hook, BPF_F_QUERY_EFFECTIVE).map(|(programs, _)| programs)
}

/// In include/uapi/linux/bpf.h.
const BPF_F_QUERY_EFFECTIVE: u32 = 1 << 0;

/// The kernel admits no more at one hook of a cgroup (`BPF_CGROUP_MAX_PROGS`), and each ancestor may have as many.
const ROOM: usize = 1024;

/// Ids of the programs and attach flags at `hook` of one cgroup.
fn attached(cgroup: &File, hook: Hook, flags: u32) -> io::Result<(Vec<u32>, u32)> {
    let mut ids = vec![0_u32; ROOM];
    let mut attr = attributes();
    attr.query.__bindgen_anon_1.target_fd = cgroup.as_raw_fd().cast_unsigned();
    attr.query.attach_type = hook.attach_type() as u32;
    attr.query.query_flags = flags;
    attr.query.prog_ids = ids.as_mut_ptr() as u64;
    attr.query.__bindgen_anon_2.prog_cnt = u32::try_from(ids.len()).map_err(io::Error::other)?;
    match bpf(bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        // There are more than there is room for: those that come first are told.
        Err(error) if error.raw_os_error() != Some(nix::libc::ENOSPC) => return Err(error),
        Ok(_) | Err(_) => {}
    }
    // SAFETY: the kernel has filled in the query's part of the union.
    let query = unsafe { attr.query };
    // SAFETY: the count is an integer in both variants.
    let count = unsafe { query.__bindgen_anon_2.prog_cnt };
    ids.truncate(usize::try_from(count).unwrap_or(ROOM));
    Ok((ids, query.attach_flags))
}

/// The names of all programs that are loaded, by their ids; those that cannot be read are left out.
#[must_use]
pub fn names() -> BTreeMap<u32, String> {
    let named = loaded_programs().flatten();
    named.map(|program| (program.id(), String::from_utf8_lossy(program.name()).into_owned())).collect()
}
