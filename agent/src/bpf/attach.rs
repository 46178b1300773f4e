//! Attaching: which program goes where, and what is left out where it would do harm.
//!
//! Knows nothing of gates. egress alone holds and releases; each of the others adds something, and is left out where somebody
//! else's program would forbid it or be silenced by it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use aya::programs::{ProgramError, SockOps};
use conngate_common::counter::Program as Name;

use super::{
    link::Link,
    load::{LoadError, Loaded, program},
    pins,
    query::{self, Hook},
};
use crate::{errors::error_chain, proc::hierarchy};

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
        source: io::Error,
    },
    /// Somebody else's program has the hook.
    #[error("{0}")]
    Conflict(String),
    /// The kernel does not say who else is attached.
    #[error("cannot query the programs at {hook}")]
    Neighbours {
        /// Where.
        hook: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A pinned attachment that is to go stays.
    #[error("cannot remove the link of the eBPF program {program} at {path}")]
    Stays {
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

/// Where a program is.
#[derive(Clone, Debug)]
pub struct ProgramState {
    /// Which.
    pub program: Name,
    /// The cgroup that it hangs on; `None`: it is not attached.
    pub attached: Option<PathBuf>,
    /// Why not, where there is something to say.
    pub why: Option<String>,
}

impl Loaded {
    /// Attaches `programs` to `gated`, or puts them into the links that are pinned there already; `root` is the top of the
    /// visible hierarchy. What the kernel refuses, or what would silence somebody else's program, is left out, and
    /// [`Loaded::lacks`] says so. What is new is for [`Loaded::pin`] to pin.
    ///
    /// # Errors
    /// When egress is refused: nothing can be held without it. What is pinned already stays as it was.
    pub fn attach(&mut self, programs: &[Name], gated: &Path, root: &Path) -> Result<(), AttachError> {
        for &name in programs {
            if self.refused.contains_key(&name) {
                continue;
            }
            match self.attach_or_take_over(name, gated, root) {
                Ok(()) => {
                    self.attached.insert(name, gated.to_owned());
                    self.left_out.remove(&name);
                }
                Err(error) if name == Name::Egress => return Err(error),
                Err(error) => {
                    self.attached.remove(&name);
                    self.left_out.insert(name, error_chain(&error));
                }
            }
        }
        Ok(())
    }

    fn attach_or_take_over(&mut self, name: Name, gated: &Path, root: &Path) -> Result<(), AttachError> {
        let path = self.pins.as_ref().map(|pins| pins.link(name));
        match query::conflict(gated, root, Hook::of(name)) {
            Ok(None) => {}
            // In doubt the others go first; without egress there is no conngate, and the kernel has the last word.
            Err(_) if name == Name::Egress => {}
            Err(source) => return Err(AttachError::Neighbours { hook: Hook::of(name).name(), source }),
            Ok(Some(who)) => {
                if let Some(path) = path {
                    pins::remove(&path).map_err(|source| AttachError::Stays { program: name, path, source })?;
                }
                return Err(AttachError::Conflict(who));
            }
        }
        // A pod's own cgroup is where that one goes, while its gate is closed: see `datagrams`.
        if name == Name::SetSockOpt {
            return Ok(());
        }
        if !path.is_some_and(|path| self.take_over(name, gated, &path)) {
            let link = self.link(name, gated)?;
            self.links.push((name, link));
        }
        Ok(())
    }

    /// Where egress is attached.
    #[must_use]
    pub fn gated(&self) -> Option<PathBuf> {
        self.attached.get(&Name::Egress).cloned()
    }

    /// Leaves to others the hooks that they have taken since ours were attached, and takes again those that they have left; says
    /// whether anything is different now.
    ///
    /// # Errors
    /// When somebody else has egress: ours is detached, for theirs would not run.
    pub fn look_around(&mut self, gated: &Path, root: &Path) -> Result<bool, AttachError> {
        let before = self.left_out.clone();
        let free: Vec<_> = before.keys().copied().collect();
        self.attach(&free, gated, root)?;
        for name in self.attached.keys().copied().collect::<Vec<_>>() {
            let Ok(Some(who)) = query::conflict(gated, root, Hook::of(name)) else { continue };
            self.make_way(name)?;
            if name == Name::Egress {
                return Err(AttachError::Conflict(who));
            }
            self.left_out.insert(name, who);
        }
        Ok(self.left_out != before)
    }

    /// Detaches the program `name` wherever it is.
    fn make_way(&mut self, name: Name) -> Result<(), AttachError> {
        self.links.retain(|(attached, _)| *attached != name);
        self.attached.remove(&name);
        if name == Name::SetSockOpt {
            for gate in self.datagrams.keys().copied().collect::<Vec<_>>() {
                self.release_datagrams(gate);
            }
        }
        let Some(path) = self.pins.as_ref().map(|pins| pins.link(name)) else { return Ok(()) };
        pins::remove(&path).map_err(|source| AttachError::Stays { program: name, path, source })
    }

    /// Puts the program `name` into the link at `path`, if that hangs on `cgroup`. False: a new link is to replace it.
    pub(super) fn take_over(&mut self, name: Name, cgroup: &Path, path: &Path) -> bool {
        self.try_to_take_over(name, cgroup, path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "replacing a pinned link that cannot be used");
            false
        })
    }

    fn try_to_take_over(&mut self, name: Name, cgroup: &Path, path: &Path) -> io::Result<bool> {
        let id = hierarchy::id(cgroup).map_err(io::Error::other)?;
        let Some(link) = Link::open(path)? else { return Ok(false) };
        if link.cgroup()? != id {
            return Ok(false);
        }
        let program = program(&mut self.ebpf, name).map_err(io::Error::other)?;
        link.update(program.fd().map_err(io::Error::other)?)?;
        Ok(true)
    }

    /// Whether the kernel tells how held connections end.
    #[must_use]
    pub fn sees_ends(&self) -> bool {
        self.attached.contains_key(&Name::SockOps)
    }

    /// Whether the kernel tells who begins to listen.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.attached.contains_key(&Name::Listen)
    }

    /// Every program and where it is.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramState> {
        let state = |&program: &Name| ProgramState {
            program,
            attached: self.attached.get(&program).cloned(),
            why: self.refused.get(&program).or(self.left_out.get(&program)).cloned(),
        };
        Name::ALL.iter().map(state).collect()
    }

    /// Detaches what is attached and not pinned.
    pub fn detach(&mut self) {
        self.links.clear();
        self.attached.clear();
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

    pub(super) fn link(&mut self, name: Name, cgroup: &Path) -> Result<Link, AttachError> {
        let file = File::open(cgroup).map_err(|source| AttachError::Open { cgroup: cgroup.to_owned(), source })?;
        let program = program(&mut self.ebpf, name)?;
        let link = program
            .fd()
            .map_err(io::Error::other)
            .and_then(|program| Link::create(&file, program, Hook::of(name).attach_type()));
        link.map_err(|source| AttachError::Attach { program: name, cgroup: cgroup.to_owned(), source })
    }
}
