//! The kernel's verifier: what it says of a program that it refuses, and what one that it accepts has cost it.
//!
//! Knows nothing of attaching.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use aya::{Ebpf, EbpfError, programs::ProgramError};
use aya_obj::{
    Object as Parsed,
    generated::{bpf_cmd, bpf_insn, bpf_prog_type},
};
use conngate_common::counter::Program as Name;

use super::{
    features::Features,
    load::{self, LoadError, Options},
    maps::descriptor,
    object::Object,
    query::Hook,
    syscall::{attributes, bpf},
};
use crate::errors::error_chain;

/// `BPF_LOG_STATS` in include/linux/bpf_verifier.h (5.2): the figures alone.
const STATISTICS: u32 = 4;

/// What it took to verify a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions that the verifier went through, each as often as it did.
    pub instructions: u32,
    /// Bytes of stack.
    pub stack: u32,
}

/// The last line in which the verifier says what is wrong; the system call's own error where it says nothing.
#[must_use]
pub fn last_words(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error_chain(error) };
    let log = verifier_log.to_string();
    let statistics = ["processed ", "verification time ", "stack depth "];
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.find(|line| !statistics.iter().any(|begin| line.starts_with(begin)));
    line.map_or_else(|| io_error.to_string(), ToOwned::to_owned)
}

/// What each program costs the verifier, where the programs log nothing; those that it refuses are left out.
///
/// # Errors
/// When the object or a map is refused.
pub fn costs(object: &Object, features: &Features) -> Result<BTreeMap<Name, Cost>, LoadError> {
    let ebpf = load::maps(object, &Options::default(), features, &BTreeMap::new())?;
    // aya gives no log of a program that is accepted: the programs are loaded here, with its maps.
    let parsed = relocated(object, features, &ebpf).map_err(|error| LoadError::Refused(Box::new(error)))?;
    let costs = Name::ALL.iter().filter_map(|&name| {
        let program = parsed.programs.get(name.word())?;
        let function = parsed.functions.get(&program.function_key())?;
        Some((name, cost(&log(name, &program.license, &function.instructions)?)?))
    });
    Ok(costs.collect())
}

/// The object with this kernel's constants and these maps.
fn relocated(object: &Object, features: &Features, ebpf: &Ebpf) -> Result<Parsed, EbpfError> {
    let mut parsed = Parsed::parse(object.bytes())?;
    let constants = load::constants(features).map(|(name, value)| (name, value.to_ne_bytes()));
    parsed.patch_map_data(constants.iter().map(|(name, value)| (*name, (&value[..], true))).collect())?;
    let texts = parsed.functions.keys().map(|(section, _)| *section).collect();
    let maps = parsed.maps.clone();
    let maps =
        maps.iter().filter_map(|(name, map)| Some((name.as_str(), descriptor(ebpf.map(name)?)?.as_raw_fd(), map)));
    parsed.relocate_maps(maps, &texts)?;
    parsed.relocate_calls(&texts)?;
    Ok(parsed)
}

/// Has the program verified, and gives the verifier's figures; `None`: it is refused. It is gone again when this returns.
fn log(name: Name, license: &CStr, instructions: &[bpf_insn]) -> Option<String> {
    let mut log = vec![0u8; 1 << 16];
    let mut attr = attributes();
    attr.__bindgen_anon_3.prog_type = program_type(name) as u32;
    attr.__bindgen_anon_3.expected_attach_type = Hook::of(name).attach_type() as u32;
    attr.__bindgen_anon_3.insns = instructions.as_ptr() as u64;
    attr.__bindgen_anon_3.insn_cnt = u32::try_from(instructions.len()).ok()?;
    attr.__bindgen_anon_3.license = license.as_ptr() as u64;
    attr.__bindgen_anon_3.log_level = STATISTICS;
    attr.__bindgen_anon_3.log_buf = log.as_mut_ptr() as u64;
    attr.__bindgen_anon_3.log_size = u32::try_from(log.len()).ok()?;
    let program = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr).ok()?;
    // SAFETY: a new descriptor, which nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(program) });
    Some(CStr::from_bytes_until_nul(&log).ok()?.to_string_lossy().into_owned())
}

/// The kernel's type of a program.
#[must_use]
pub const fn program_type(name: Name) -> bpf_prog_type {
    match name {
        Name::Connect4 | Name::Connect6 | Name::SendMsg4 | Name::SendMsg6 => {
            bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCK_ADDR
        }
        Name::Egress => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SKB,
        Name::SockOps | Name::Listen => bpf_prog_type::BPF_PROG_TYPE_SOCK_OPS,
        Name::SetSockOpt => bpf_prog_type::BPF_PROG_TYPE_CGROUP_SOCKOPT,
    }
}

/// The figures of a log: `processed 38831 insns (limit 1000000) …`, and `stack depth 280`; of several functions `48+16`, since
/// 7.2 or so `max 280`.
fn cost(log: &str) -> Option<Cost> {
    let after = |begin: &str| log.lines().find_map(|line| line.strip_prefix(begin));
    let stack = after("stack depth ")?
        .trim_start_matches("max ")
        .split('+')
        .map(|depth| depth.trim().parse::<u32>().ok())
        .sum::<Option<u32>>()?;
    let instructions = after("processed ")?.split(' ').next()?.parse().ok()?;
    Some(Cost { instructions, stack })
}

#[cfg(test)]
mod tests {
    use aya_obj::VerifierLog;

    use super::*;

    const STATISTICS_OF_A_KERNEL: &str = "verification time 5150 usec\nstack depth 280\n\
        processed 38831 insns (limit 1000000) max_states_per_insn 12 total_states 1210 peak_states 480 mark_read 30\n";

    #[test]
    fn cost_statistics_are_read_whatever_stands_beside_them() {
        assert_eq!(cost(STATISTICS_OF_A_KERNEL), Some(Cost { instructions: 38831, stack: 280 }));
        assert_eq!(cost("stack depth 48+16\nprocessed 7 insns (limit 1)"), Some(Cost { instructions: 7, stack: 64 }));
        let of_7_3 = "stack depth max 272\nsubprog 0 (<unknown>) main insns_self 7123 insns_total 10981 stack 272\n\
            processed 10981 insns (limit 1000000)\n";
        assert_eq!(cost(of_7_3), Some(Cost { instructions: 10981, stack: 272 }));
        assert_eq!(cost("unknown func bpf_no_such#1\n"), None);
    }

    #[test]
    fn last_words_of_a_refusal_are_the_verifiers_and_not_its_figures() {
        let log = format!("0: (85) call 7\nunknown func 7\n\n{STATISTICS_OF_A_KERNEL}");
        let words = |log: &str| {
            last_words(&ProgramError::LoadError {
                io_error: std::io::Error::from_raw_os_error(nix::libc::EACCES),
                verifier_log: VerifierLog::new(log.to_owned()),
            })
        };
        assert_eq!(words(&log), "unknown func 7");
        assert!(words("").contains("Permission denied"), "{}", words(""));
    }

    #[test]
    #[ignore = "needs root"]
    fn programs_have_a_cost_within_the_budget() {
        let costs = costs(&Object::open(None).unwrap(), &Features::probe()).unwrap();
        assert_eq!(costs.len(), Name::ALL.len(), "{costs:?}");
        assert!(costs.values().all(|cost| cost.instructions < 100_000 && cost.stack < 400), "{costs:?}");
    }
}
