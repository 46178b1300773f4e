//! Loading: from an object to verified programs and empty maps. Nothing is attached here.
//!
//! Knows nothing of cgroups.

use std::{collections::BTreeMap, path::PathBuf};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{CgroupSkb, CgroupSockAddr, CgroupSockopt, Program, ProgramError, SockOps, links::FdLink},
};
use aya_log::EbpfLogger;
use conngate_common::counter::Program as Name;

use super::{
    btf::VMLINUX,
    counters::Counters,
    features::Features,
    maps::{MapAccessError, Maps},
    object::{Object, ObjectError},
    pins::{MAPS, Pins},
    records::Ring,
};
use crate::app::error_chain;

/// How much the programs log: 0 off, 1 error … 5 trace (`aya_log::Level`). At 0 the verifier removes the code.
pub type LogLevel = u8;

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// See [`ObjectError`].
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The kernel was built without CONFIG_DEBUG_INFO_BTF.
    #[error("the kernel has no BTF at {VMLINUX}: conngate needs a kernel with CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf(#[source] std::io::Error),
    /// The object or a map was refused.
    #[error("the kernel refuses the eBPF object")]
    Refused(#[source] Box<EbpfError>),
    /// One program was refused; the cause holds the verifier's words.
    #[error("the kernel refuses the eBPF program {program}")]
    Program {
        /// Which.
        program: Name,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The object lacks a program.
    #[error("the eBPF object has no program {0}")]
    NoProgram(Name),
    /// See [`MapAccessError`].
    #[error(transparent)]
    Map(#[from] MapAccessError),
}

/// Loaded programs, not attached, and the maps.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    /// What is attached and not pinned.
    pub(super) links: Vec<(Name, FdLink)>,
    /// Where each program is attached, pinned or not.
    pub(super) attached: BTreeMap<Name, PathBuf>,
    /// Why the connect hooks were left out, if they were.
    pub(super) without_connect: Option<String>,
    /// What the kernel can do.
    pub features: Features,
    /// The maps that the agent writes.
    pub maps: Maps,
    /// What the kernel counts.
    pub counters: Counters,
    /// Where the programs' log lines arrive; `None` when they log nothing.
    pub logger: Option<EbpfLogger<&'static dyn tracing_log::log::Log>>,
}

/// Loads every program of `object`, and its maps: those that are pinned already with what they hold, the others new and
/// then pinned. The ring buffer is what the kernel tells; `ring_buffer` is its size in bytes, a power of two and a multiple
/// of the page size, where it is not what the object says.
///
/// # Errors
/// When the kernel has no BTF or refuses something; everything that was loaded is gone again, pinned maps excepted.
pub fn load(
    object: &Object,
    log_level: LogLevel,
    pins: Option<&Pins>,
    ring_buffer: Option<u32>,
) -> Result<(Loaded, Ring), LoadError> {
    let features = Features::probe().map_err(LoadError::NoBtf)?;
    let netns_cookie = u8::from(features.netns_cookie);
    let mut loader = EbpfLoader::new();
    if let Some(pins) = pins {
        for map in MAPS {
            loader.map_pin_path(map, pins.map(map));
        }
    }
    if let Some(bytes) = ring_buffer {
        loader.map_max_entries("EVENTS", bytes);
    }
    let mut ebpf = loader
        // The kernel's types are needed for relocations only, of which there are none; parsing them takes longer than all else.
        .btf(None)
        .override_global("SOCK_OPS_NETNS_COOKIE", &netns_cookie, true)
        .override_global("SYN_RETRIES_OFFSET", &features.syn_retries_offset, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .load(object.bytes())
        .map_err(|source| LoadError::Refused(Box::new(source)))?;
    for &name in Name::ALL {
        let program = program(&mut ebpf, name)?;
        let loaded = match name {
            // What DNS takes; an old kernel lacks a helper, and then lookups are as without conngate.
            Name::SetSockOpt => {
                if let Err(error) = <&mut CgroupSockopt>::try_from(program).and_then(CgroupSockopt::load) {
                    tracing::warn!(error = error_chain(&error), "no setsockopt program: DNS lookups are not held");
                }
                continue;
            }
            Name::Connect4 | Name::Connect6 => <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load),
            Name::Egress => <&mut CgroupSkb>::try_from(program).and_then(CgroupSkb::load),
            Name::SockOps | Name::Listen => <&mut SockOps>::try_from(program).and_then(SockOps::load),
        };
        loaded.map_err(|source| LoadError::Program { program: name, source: Box::new(source) })?;
    }
    let logger = if log_level == 0 {
        None
    } else {
        EbpfLogger::init(&mut ebpf).inspect_err(|error| tracing::warn!(%error, "no log lines from the programs")).ok()
    };
    let (maps, counters, ring) = (Maps::take(&mut ebpf)?, Counters::take(&mut ebpf)?, Ring::take(&mut ebpf)?);
    let (links, attached) = (Vec::new(), BTreeMap::new());
    Ok((Loaded { ebpf, links, attached, without_connect: None, features, maps, counters, logger }, ring))
}

pub(super) fn program(ebpf: &mut Ebpf, name: Name) -> Result<&mut Program, LoadError> {
    ebpf.program_mut(name.word()).ok_or(LoadError::NoProgram(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs root"]
    fn programs_are_accepted_by_the_running_kernel_at_every_log_level() {
        for level in [0, 5] {
            let object = Object::open(None).unwrap();
            match load(&object, level, None, None) {
                Ok((loaded, _)) => assert_eq!(loaded.logger.is_some(), level != 0),
                Err(error) => panic!("{:#}", anyhow::Error::from(error)),
            }
        }
    }
}
