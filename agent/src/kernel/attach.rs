//! Attaching: which program goes where, and what is left out where it would do harm.
//!
//! Knows nothing of gates. The connect hooks only tell who connects; where an ancestor holds that hook for itself they
//! are left out, and everything else works.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use aya::{
    pin::PinError,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, ProgramError, SockOps, links::FdLink,
    },
};
use aya_obj::generated::bpf_attach_type;
use conngate_common::counter::Program as Name;

use super::{
    link::Link,
    load::{LoadError, Loaded, program},
    pins::Pins,
    query::{self, Hook},
};
use crate::{app::error_chain, cgroup::hierarchy, metrics::snapshot::ProgramState};

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
    /// The attachment cannot be pinned.
    #[error("cannot pin the link of the eBPF program {program} at {path}")]
    Pin {
        /// Which program.
        program: Name,
        /// Where.
        path: PathBuf,
        /// Why.
        source: Box<PinError>,
    },
    /// A pinned attachment cannot be taken over.
    #[error("cannot take over the link of the eBPF program {program} at {path}")]
    TakeOver {
        /// Which program.
        program: Name,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
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
                let link = self.attach(name, gated)?;
                self.links.push((name, link));
                self.attached.insert(name, gated.to_owned());
            }
        }
        self.without_connect.clone_from(&without);
        Ok(without)
    }

    /// Attaches all programs to `kubepods` and pins their links, or takes the pinned ones over; `root` is the top of the
    /// visible hierarchy. Answers why the connect hooks were left out, if they were.
    ///
    /// # Errors
    /// When a program that gates cannot do without is refused. What is pinned already stays as it was.
    pub fn attach_pinned(&mut self, kubepods: &Path, root: &Path, pins: &Pins) -> Result<Option<String>, AttachError> {
        let without = connect_conflict(kubepods, root);
        for name in [Name::SockOps, Name::Egress, Name::Listen, Name::Connect4, Name::Connect6] {
            let path = pins.link(name);
            let taken_over = |source| AttachError::TakeOver { program: name, path: path.clone(), source };
            if without.is_some() && matches!(name, Name::Connect4 | Name::Connect6) {
                unpin(&path).map_err(taken_over)?;
                self.attached.remove(&name);
                continue;
            }
            if !self.take_over(name, kubepods, &path).map_err(taken_over)? {
                unpin(&path).map_err(taken_over)?;
                let link = self.attach(name, kubepods)?;
                link.pin(&path).map_err(|source| AttachError::Pin { program: name, path, source: Box::new(source) })?;
            }
            self.attached.insert(name, kubepods.to_owned());
        }
        self.attach_setsockopt(kubepods, &pins.link(Name::SetSockOpt));
        self.without_connect.clone_from(&without);
        Ok(without)
    }

    /// Whether captured datagrams can be held.
    #[must_use]
    pub fn holds_datagrams(&self) -> bool {
        self.attached.contains_key(&Name::SetSockOpt)
    }

    /// Attaches what only datagrams need; without it they are as without conngate.
    fn attach_setsockopt(&mut self, kubepods: &Path, path: &Path) {
        let attached = self.take_over(Name::SetSockOpt, kubepods, path).and_then(|taken_over| {
            if !taken_over {
                unpin(path)?;
                let program = program(&mut self.ebpf, Name::SetSockOpt).map_err(io::Error::other)?;
                let program = program.fd().map_err(io::Error::other)?;
                Link::create(&File::open(kubepods)?, program, bpf_attach_type::BPF_CGROUP_SETSOCKOPT)?.pin(path)?;
            }
            Ok(())
        });
        match attached {
            Ok(()) => drop(self.attached.insert(Name::SetSockOpt, kubepods.to_owned())),
            Err(error) => tracing::warn!(error = error_chain(&error), "DNS lookups are not held"),
        }
    }

    /// Puts the program `name` into the link at `path`, if that hangs on `cgroup`.
    fn take_over(&mut self, name: Name, cgroup: &Path, path: &Path) -> io::Result<bool> {
        let id = hierarchy::id(cgroup).map_err(io::Error::other)?;
        let Some(link) = Link::open(path)? else { return Ok(false) };
        if link.cgroup()? != id {
            return Ok(false);
        }
        let program = program(&mut self.ebpf, name).map_err(io::Error::other)?;
        link.update(program.fd().map_err(io::Error::other)?)?;
        Ok(true)
    }

    /// Every program and where it is.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramState> {
        let state = |&program: &Name| {
            let attached = self.attached.get(&program).cloned();
            let is_connect = matches!(program, Name::Connect4 | Name::Connect6);
            let why = self.without_connect.clone().filter(|_| is_connect && attached.is_none());
            ProgramState { program, attached, why }
        };
        Name::ALL.iter().map(state).collect()
    }

    /// Detaches what is attached and not pinned.
    pub fn detach(&mut self) {
        self.links.clear();
        self.attached.clear();
    }

    /// Attaches the listener hook to `listeners`, which need not lie above the gated cgroup.
    ///
    /// # Errors
    /// When the kernel refuses; listeners are then found by polling alone.
    pub fn attach_listener_hook(&mut self, listeners: &Path) -> Result<(), AttachError> {
        let link = self.attach(Name::Listen, listeners)?;
        self.links.push((Name::Listen, link));
        self.attached.insert(Name::Listen, listeners.to_owned());
        Ok(())
    }

    /// Detaches the listener hook and frees its program.
    pub fn detach_listener_hook(&mut self) {
        self.links.retain(|(name, _)| *name != Name::Listen);
        self.attached.remove(&Name::Listen);
        let unloaded = program(&mut self.ebpf, Name::Listen)
            .map(|program| <&mut SockOps>::try_from(program).and_then(SockOps::unload));
        match unloaded {
            Ok(Ok(()) | Err(ProgramError::NotLoaded)) => {}
            other => tracing::warn!(?other, "the listener hook stays until conngate ends"),
        }
    }

    fn attach(&mut self, name: Name, cgroup: &Path) -> Result<FdLink, AttachError> {
        let file = File::open(cgroup).map_err(|source| AttachError::Open { cgroup: cgroup.to_owned(), source })?;
        // A cgroup link takes no flags and always allows other programs beside it.
        let mode = CgroupAttachMode::Single;
        let program = program(&mut self.ebpf, name)?;
        let attached = match name {
            Name::Connect4 | Name::Connect6 => <&mut CgroupSockAddr>::try_from(program).and_then(|program| {
                let id = program.attach(file, mode)?;
                descriptor(program.take_link(id)?)
            }),
            Name::Egress => <&mut CgroupSkb>::try_from(program).and_then(|program| {
                let id = program.attach(file, CgroupSkbAttachType::Egress, mode)?;
                descriptor(program.take_link(id)?)
            }),
            // aya gives its link no descriptor.
            Name::SetSockOpt => return Err(LoadError::NoProgram(name).into()),
            Name::SockOps | Name::Listen => <&mut SockOps>::try_from(program).and_then(|program| {
                let id = program.attach(file, mode)?;
                descriptor(program.take_link(id)?)
            }),
        };
        attached.map_err(|source| AttachError::Attach {
            program: name,
            cgroup: cgroup.to_owned(),
            source: Box::new(source),
        })
    }
}

/// The link's descriptor; every kernel from 5.7 on attaches to cgroups by links.
fn descriptor(link: impl TryInto<FdLink>) -> Result<FdLink, ProgramError> {
    link.try_into().map_err(|_| ProgramError::NotAttached)
}

fn unpin(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
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
