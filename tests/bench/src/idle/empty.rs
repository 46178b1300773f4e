//! Programs that do nothing, at the same hooks: what the hooks cost, whatever is attached to them.
//!
//! Knows nothing of conngate's own.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_cmd;
use conngate::bpf::{
    link::Link,
    query::Hook,
    syscall::{attributes, bpf},
    verifier::program_type,
};
use conngate_common::counter::Program;
use conngate_testbed::lab::Cgroup;

use super::programs::PROGRAMS;

/// `r0 = 1; exit`, two instructions.
const GO_ON: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];

/// A program that lets everything go on.
pub(super) struct Empty(OwnedFd);

impl Empty {
    pub(super) fn load(program: Program) -> Result<Self> {
        let mut attr = attributes();
        attr.__bindgen_anon_3.prog_type = program_type(program) as u32;
        attr.__bindgen_anon_3.expected_attach_type = Hook::of(program).attach_type() as u32;
        attr.__bindgen_anon_3.insns = GO_ON.as_ptr() as u64;
        attr.__bindgen_anon_3.insn_cnt = 2;
        attr.__bindgen_anon_3.license = c"GPL".as_ptr() as u64;
        // The same name as conngate's own, by which the kernel's statistics are told apart.
        let mut name = [0; 16];
        name.iter_mut().zip(program.word().bytes()).for_each(|(to, from)| *to = from.cast_signed());
        attr.__bindgen_anon_3.prog_name = name;
        let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).context("the kernel refuses an empty program")?;
        // SAFETY: a new descriptor, which nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Attached where conngate's programs would be, until the links are dropped.
    pub(super) fn attach(cgroup: &Cgroup) -> Result<Vec<Link>> {
        let directory = File::open(cgroup.path())?;
        let links = PROGRAMS.into_iter().map(|program| {
            let empty = Self::load(program)?;
            Ok(Link::create(&directory, empty.as_fd(), Hook::of(program).attach_type())?)
        });
        links.collect()
    }
}

impl AsFd for Empty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Nanoseconds of one run of an egress program on a packet of an established connection (BPF_PROG_TEST_RUN), as the kernel
/// counts them: `repeat` runs, and whatever it does around each.
pub(super) fn test_run(egress: impl AsFd, repeat: u32) -> Result<u32> {
    // An Ethernet header, which the kernel takes off, IPv4 and TCP with ACK.
    let mut packet = [0u8; 14 + 20 + 20];
    packet[12..14].copy_from_slice(&[0x08, 0x00]);
    packet[14] = 0x45;
    packet[14 + 9] = 6;
    packet[14 + 16] = 127;
    packet[14 + 20 + 12..14 + 20 + 14].copy_from_slice(&[0x50, 0x10]);
    let mut attr = attributes();
    attr.test.prog_fd = egress.as_fd().as_raw_fd().cast_unsigned();
    attr.test.data_in = packet.as_ptr() as u64;
    attr.test.data_size_in = u32::try_from(packet.len())?;
    attr.test.repeat = repeat;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr).context("the kernel does not run the program")?;
    // SAFETY: the kernel has filled in the test's part of the union, plain integers.
    Ok(unsafe { attr.test }.duration)
}
