//! The machine that a guest is: its names in Rust, Debian and QEMU.

use std::{env, fmt};

use clap::ValueEnum;

use crate::setup::Purpose;

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// As Rust and the kernel call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian calls it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Whether this machine is one.
    pub(crate) fn is_here(self) -> bool {
        env::consts::ARCH == self.word()
    }

    /// The target that cargo is told where this machine is none.
    pub(crate) fn target(self) -> Option<&'static str> {
        let target = match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        };
        (!self.is_here()).then_some(target)
    }

    /// A program of the binutils for it.
    pub(crate) fn binutil(self, name: &str) -> String {
        if self.is_here() { name.to_owned() } else { format!("{}-linux-gnu-{name}", self.word()) }
    }

    /// QEMU's program, and how it makes such a machine.
    pub(crate) fn qemu(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::X86_64 => ("qemu-system-x86_64", &["-machine", "pc"]),
            Self::Aarch64 => ("qemu-system-aarch64", &["-machine", "virt,gic-version=max"]),
        }
    }

    /// The first serial port, as the kernel calls it.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// What has to be installed for it.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::X86_64 => Purpose::Vm,
            Self::Aarch64 => Purpose::VmAarch64,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
