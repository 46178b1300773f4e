//! Loading: from an object to verified programs and empty maps. Nothing is attached here.
//!
//! Knows nothing of cgroups. Of the programs only egress is indispensable: what else the kernel refuses is left out, and
//! [`Loaded::lacks`] says so.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader, VerifierLogLevel,
    maps::MapError,
    programs::{CgroupSkb, CgroupSockAddr, CgroupSockopt, Program, ProgramError, SockOps},
};
use aya_log::EbpfLogger;
use conngate_common::{counter::Program as Name, id::CgroupId};
use nix::libc::EPERM;

use super::{
    counters::Counters,
    features::{Features, Lack, SynBudget, locked_memory_limit},
    link::Link,
    maps::{MapAccessError, Maps, duplicate},
    object::{Object, ObjectError},
    pinned,
    pins::{MAPS, Pins, PinsError},
    records::Ring,
    verifier,
};

/// How much the programs log: 0 off, 1 error … 5 trace (`aya_log::Level`). At 0 the verifier removes the code.
pub type LogLevel = u8;

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// See [`ObjectError`].
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Maps do not fit into what this process may lock, and it may not raise that.
    #[error(
        "no room in locked memory: before Linux 5.11 eBPF maps count against RLIMIT_MEMLOCK, which is {limit} bytes here: raise it \
         (ulimit -l unlimited, LimitMEMLOCK=infinity), or give conngate CAP_SYS_RESOURCE to raise it itself (chart: \
         capabilities.sysResource=true)"
    )]
    LockedMemory {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The object or a map was refused.
    #[error("the kernel refuses the eBPF object")]
    Refused(#[source] Box<EbpfError>),
    /// The program without which nothing can be held was refused.
    #[error("the kernel refuses the eBPF program {program}: {why}")]
    Program {
        /// Which.
        program: Name,
        /// The verifier's last words.
        why: String,
    },
    /// The object lacks a program.
    #[error("the eBPF object has no program {0}")]
    NoProgram(Name),
    /// See [`MapAccessError`].
    #[error(transparent)]
    Map(#[from] MapAccessError),
    /// Another agent works with the pinned maps.
    #[error(transparent)]
    Held(PinsError),
}

/// What is loaded, and how.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Which programs.
    pub programs: &'a [Name],
    /// How much they log; above 0 the verifier's whole log of a program that is refused is logged too, which takes it long.
    pub log_level: LogLevel,
    /// Where maps and attachments outlive this process: the BPF file system.
    pub bpffs: Option<&'a Path>,
    /// The ring buffer's size in bytes, a power of two and a multiple of the page size, where it is not what the object says.
    pub ring_buffer: Option<u32>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { programs: Name::ALL, log_level: 0, bpffs: None, ring_buffer: None }
    }
}

/// Loaded programs, not attached, and the maps.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) bpffs: Option<PathBuf>,
    pub(super) pins: Option<Pins>,
    /// What is to be pinned and is not.
    pub(super) unpinned: Vec<(&'static str, OwnedFd)>,
    /// What is attached and not pinned.
    pub(super) links: Vec<(Name, Link)>,
    /// Where each program is attached, pinned or not.
    pub(super) attached: BTreeMap<Name, PathBuf>,
    /// Why the kernel has refused a program.
    pub(super) refused: BTreeMap<Name, String>,
    /// Why a program is not attached.
    pub(super) left_out: BTreeMap<Name, String>,
    /// The pods whose resolvers wait; without a link where it is pinned.
    pub(super) datagrams: HashMap<CgroupId, Option<Link>>,
    pub(super) write_error: String,
    /// What the kernel can do.
    pub features: Features,
    /// The maps that the agent writes.
    pub maps: Maps,
    /// What the kernel counts.
    pub counters: Counters,
    /// Where the programs' log lines arrive; `None` when they log nothing.
    pub logger: Option<EbpfLogger<&'static dyn tracing_log::log::Log>>,
}

/// Loads programs of `object`, and its maps: those that are pinned already with what they hold, the others new, for
/// [`Loaded::pin`] to pin. The ring buffer is what the kernel tells.
///
/// # Errors
/// When another agent works with the pinned maps, or the kernel refuses a map or the egress program; everything that was
/// loaded is gone again.
pub fn load(object: &Object, options: &Options<'_>) -> Result<(Loaded, Ring), LoadError> {
    let pins = match options.bpffs.map(Pins::open).transpose() {
        Err(error @ PinsError::Held { .. }) => return Err(LoadError::Held(error)),
        // `Loaded::pin` tries again, and says why.
        pins => pins.ok().flatten(),
    };
    let features = Features::probe();
    let usable = pins.as_ref().map(|pins| pinned::usable(object, options.ring_buffer, pins)).unwrap_or_default();
    let mut ebpf = maps(object, options, &features, &usable)?;
    let unpinned = MAPS.into_iter().filter(|name| options.bpffs.is_some() && !usable.contains_key(name));
    let unpinned = unpinned.map(|name| Ok((name, duplicate(&ebpf, name)?))).collect::<Result<_, MapAccessError>>()?;
    let mut refused = BTreeMap::new();
    for &name in options.programs {
        if let Err(error) = load_program(program(&mut ebpf, name)?, name) {
            let why = verifier::last_words(&error);
            if options.log_level != 0 {
                tracing::warn!(program = %name, %error, "the verifier's log");
            }
            if name == Name::Egress {
                return Err(LoadError::Program { program: name, why });
            }
            refused.insert(name, why);
        }
    }
    let logger = if options.log_level == 0 {
        None
    } else {
        EbpfLogger::init(&mut ebpf).inspect_err(|error| tracing::warn!(%error, "no log lines from the programs")).ok()
    };
    let (maps, counters, ring) = (Maps::take(&mut ebpf)?, Counters::take(&mut ebpf)?, Ring::take(&mut ebpf)?);
    let loaded = Loaded {
        ebpf,
        bpffs: options.bpffs.map(Path::to_owned),
        pins,
        unpinned,
        links: Vec::new(),
        attached: BTreeMap::new(),
        refused,
        left_out: BTreeMap::new(),
        datagrams: HashMap::new(),
        write_error: String::new(),
        features,
        maps,
        counters,
        logger,
    };
    Ok((loaded, ring))
}

/// Makes the maps, but for those that are `pinned`, with the constants that the programs are told; no program is loaded.
pub(super) fn maps(
    object: &Object,
    options: &Options<'_>,
    features: &Features,
    pinned: &BTreeMap<&'static str, PathBuf>,
) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    for (name, path) in pinned {
        loader.map_pin_path(name, path.as_path());
    }
    if let Some(bytes) = options.ring_buffer {
        loader.map_max_entries("EVENTS", bytes);
    }
    let constants = constants(features);
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    let verifier_log = if options.log_level == 0 { VerifierLogLevel::STATS } else { VerifierLogLevel::default() };
    loader
        // The kernel's types are needed for relocations only, of which there are none; parsing them takes longer than all else.
        .btf(None)
        .verifier_log_level(verifier_log)
        .override_global(aya_log::LEVEL, &options.log_level, true)
        .load(object.bytes())
        .map_err(refused)
}

impl Loaded {
    /// Whether the kernel has refused `program`.
    #[must_use]
    pub fn is_refused(&self, program: Name) -> bool {
        self.refused.contains_key(&program)
    }

    /// The programs that are left out, because of the kernel or of other users of its hooks.
    #[must_use]
    pub fn left_out(&self) -> Vec<Lack> {
        let programs = self.refused.iter().chain(&self.left_out);
        programs.map(|(name, why)| Lack { what: name.word(), why: why.clone(), means: without(*name) }).collect()
    }

    /// Everything that is not to be had here, each once.
    #[must_use]
    pub fn lacks(&self) -> Vec<Lack> {
        [self.left_out(), self.features.lacks()].concat()
    }
}

/// What is different without a program.
#[must_use]
pub const fn without(program: Name) -> &'static str {
    match program {
        Name::Connect4 | Name::Connect6 => "held connections are not attributed to a process",
        Name::Egress => "nothing can be held",
        Name::SockOps => {
            "held connections keep the kernel's own patience and back-off, up to 2 minutes between attempts without an agent, \
             and how they end is not known"
        }
        Name::Listen => "conngate finds listeners by polling",
        Name::SetSockOpt => "DNS lookups over UDP are not held",
        Name::SendMsg4 | Name::SendMsg6 => {
            "DNS queries of sockets that are not connected (musl, Netty) are not sent again: their resolver's own retry remains"
        }
    }
}

fn load_program(program: &mut Program, name: Name) -> Result<(), ProgramError> {
    match name {
        Name::SetSockOpt => <&mut CgroupSockopt>::try_from(program).and_then(CgroupSockopt::load),
        Name::Connect4 | Name::Connect6 | Name::SendMsg4 | Name::SendMsg6 => {
            <&mut CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::load)
        }
        Name::Egress => <&mut CgroupSkb>::try_from(program).and_then(CgroupSkb::load),
        Name::SockOps | Name::Listen => <&mut SockOps>::try_from(program).and_then(SockOps::load),
    }
}

/// Why the object was refused; a limit that the kernel counts maps against has its own name.
fn refused(error: EbpfError) -> LoadError {
    match (&error, locked_memory_limit()) {
        (EbpfError::MapError(MapError::CreateError { io_error, .. }), Some(limit))
            if io_error.raw_os_error() == Some(EPERM) =>
        {
            LoadError::LockedMemory { limit }
        }
        _ => LoadError::Refused(Box::new(error)),
    }
}

/// What the programs are told before they are loaded: the verifier removes what these constants rule out.
pub(super) fn constants(features: &Features) -> [(&'static str, u32); 6] {
    let budget = features.syn_budget.as_ref();
    let of = |word: fn(&SynBudget) -> u32| budget.map_or(0, word);
    [
        ("SOCK_OPS_NETNS_COOKIE", u32::from(features.netns_cookie)),
        ("SETSOCKOPT_ANCESTORS", u32::from(features.setsockopt_ancestors)),
        ("SYN_RETRIES_OFFSET", of(|budget| budget.retries)),
        ("NETNS_OFFSET", of(|budget| budget.netns)),
        ("TCP_SYN_RETRIES_OFFSET", of(|budget| budget.sysctl[0])),
        ("TCP_SYN_RETRIES_SIZE", of(|budget| budget.sysctl[1])),
    ]
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
        for log_level in [0, 5] {
            let object = Object::open(None).unwrap();
            match load(&object, &Options { log_level, ..Options::default() }) {
                Ok((loaded, _)) => {
                    assert_eq!(loaded.logger.is_some(), log_level != 0);
                    assert_eq!(loaded.refused, BTreeMap::new());
                }
                Err(error) => panic!("{:#}", anyhow::Error::from(error)),
            }
        }
    }
}
