//! Attaching: which program goes where, and what is left out where it would do harm.
//!
//! Knows nothing of gates. The connect hooks only tell who connects; where an ancestor holds that hook for itself they
//! are left out, and everything else works.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, ProgramError, SockOps};
use conngate_common::counter::Program as Name;

use super::{
    load::{LoadError, Loaded, program},
    query::{self, Hook},
};

/// Why nothing stays attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The cgroup cannot be opened.
    #[error("cannot open the cgroup {cgroup}")]
    Open {
        /// Its directory.
        cgroup: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refuses to attach.
    #[error("cannot attach the eBPF program {program} to the cgroup {cgroup}")]
    Attach {
        /// Which program.
        program: Name,
        /// Where.
        cgroup: PathBuf,
        /// Why.
        source: Box<ProgramError>,
    },
    /// See [`LoadError`].
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Loaded {
    /// Attaches the gate's programs to `gated`; `root` is the top of the visible hierarchy. Answers why the connect hooks
    /// were left out, if they were.
    ///
    /// # Errors
    /// When a program that the gate cannot do without is refused; drop `self` to detach the others.
    pub fn attach_gate(&mut self, gated: &Path, root: &Path) -> Result<Option<String>, AttachError> {
        let without = connect_conflict(gated, root);
        for name in [Name::SockOps, Name::Egress, Name::Connect4, Name::Connect6] {
            let is_connect = matches!(name, Name::Connect4 | Name::Connect6);
            if !(is_connect && without.is_some()) {
                self.attach(name, gated)?;
            }
        }
        Ok(without)
    }

    /// Attaches the listener hook to `listeners`, which need not lie above the gated cgroup.
    ///
    /// # Errors
    /// When the kernel refuses; listeners are then found by polling alone.
    pub fn attach_listener_hook(&mut self, listeners: &Path) -> Result<(), AttachError> {
        self.attach(Name::Listen, listeners)
    }

    /// Detaches the listener hook and frees its program.
    pub fn detach_listener_hook(&mut self) {
        let unloaded = program(&mut self.ebpf, Name::Listen)
            .map(|program| <&mut SockOps>::try_from(program).and_then(SockOps::unload));
        match unloaded {
            Ok(Ok(()) | Err(ProgramError::NotLoaded)) => {}
            other => tracing::warn!(?other, "the listener hook stays until conngate ends"),
        }
    }

    fn attach(&mut self, name: Name, cgroup: &Path) -> Result<(), AttachError> {
        let file = File::open(cgroup).map_err(|source| AttachError::Open { cgroup: cgroup.to_owned(), source })?;
        // A cgroup link takes no flags and always allows other programs beside it.
        let mode = CgroupAttachMode::Single;
        let program = program(&mut self.ebpf, name)?;
        let attached = match name {
            Name::Connect4 | Name::Connect6 => {
                <&mut CgroupSockAddr>::try_from(program).and_then(|program| program.attach(file, mode).map(drop))
            }
            Name::Egress => <&mut CgroupSkb>::try_from(program)
                .and_then(|program| program.attach(file, CgroupSkbAttachType::Egress, mode).map(drop)),
            Name::SockOps | Name::Listen => {
                <&mut SockOps>::try_from(program).and_then(|program| program.attach(file, mode).map(drop))
            }
        };
        attached.map_err(|source| AttachError::Attach {
            program: name,
            cgroup: cgroup.to_owned(),
            source: Box::new(source),
        })
    }
}

/// Why connect hooks below `root` would be refused or do harm; in doubt they are left out.
fn connect_conflict(gated: &Path, root: &Path) -> Option<String> {
    [Hook::Connect4, Hook::Connect6].into_iter().find_map(|hook| match query::neighbours(gated, root, hook) {
        Ok(neighbours) => {
            let exclusive = neighbours.into_iter().find(|neighbour| neighbour.exclusive)?;
            Some(format!("{} holds {} for itself", exclusive.cgroup.display(), hook.name()))
        }
        Err(error) => Some(format!("cannot ask who is attached to {}: {error}", hook.name())),
    })
}
