//! Debian packages: by apt-get where that is possible, otherwise one message that names them all.
//!
//! A package is there when its program is: so that other distributions serve as well.

use std::process::Command;

use anyhow::{Result, bail};

use conngate_testbed::step::step;

use crate::{
    process::{find, is_root, run},
    setup::Purpose,
};

/// A program, and the Debian package that brings it.
pub(crate) struct Needed {
    program: &'static str,
    package: &'static str,
}

/// The laboratory: network namespaces, redirect rules, and a Python for Envoy's package and for applications.
const LABORATORY: &[Needed] = &[
    Needed { program: "ip", package: "iproute2" },
    Needed { program: "ss", package: "iproute2" },
    Needed { program: "iptables", package: "iptables" },
    Needed { program: "ip6tables", package: "iptables" },
    Needed { program: "python3", package: "python3" },
    Needed { program: "pip3", package: "python3-pip" },
];

/// Real resolvers, which are built where they are used (tests/resolvers).
const RESOLVERS: &[Needed] = &[
    Needed { program: "cc", package: "gcc" },
    Needed { program: "musl-gcc", package: "musl-tools" },
    Needed { program: "/usr/include/ares.h", package: "libc-ares-dev" },
    Needed { program: "javac", package: "default-jdk-headless" },
    Needed { program: "/usr/share/java/netty-resolver-dns.jar", package: "libnetty-java" },
];

/// A browser for the page of `conngate report`, and letters for it.
const BROWSER: &[Needed] = &[
    Needed { program: "chromium", package: "chromium" },
    Needed { program: "chromedriver", package: "chromium-driver" },
    Needed { program: "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", package: "fonts-dejavu-core" },
];

/// libFuzzer is built from its sources, by a C++ compiler.
const FUZZ: &[Needed] = &[Needed { program: "c++", package: "g++" }];

/// bpf-linker is built from its crate, and links zlib and zstd through a C compiler.
const EBPF: &[Needed] = &[Needed { program: "cc", package: "gcc" }];

/// A node of the test cluster, beyond what is built from source. The CNI plugins are not on PATH on Debian: where one is
/// looked for, it is by its place.
const NODE: &[Needed] = &[
    Needed { program: "ip", package: "iproute2" },
    Needed { program: "iptables", package: "iptables" },
    Needed { program: "python3", package: "python3" },
    Needed { program: "pip3", package: "python3-pip" },
    Needed { program: "etcd", package: "etcd-server" },
    Needed { program: "containerd", package: "containerd" },
    Needed { program: "runc", package: "runc" },
    Needed { program: "/usr/lib/cni/bridge", package: "containernetworking-plugins" },
    Needed { program: "mmdebstrap", package: "mmdebstrap" },
    Needed { program: "prometheus", package: "prometheus" },
    Needed { program: "promtool", package: "prometheus" },
];

/// Guests: their disks and what is on them.
const GUEST: &[Needed] = &[
    Needed { program: "mmdebstrap", package: "mmdebstrap" },
    Needed { program: "mke2fs", package: "e2fsprogs" },
    Needed { program: "depmod", package: "kmod" },
    Needed { program: "xz", package: "xz-utils" },
    Needed { program: "strip", package: "binutils" },
    Needed { program: "setpriv", package: "util-linux" },
    Needed { program: "/usr/share/keyrings/debian-archive-keyring.gpg", package: "debian-archive-keyring" },
    Needed { program: "python3", package: "python3" },
    Needed { program: "pip3", package: "python3-pip" },
];

/// A machine for guests.
const QEMU_X86: &[Needed] = &[Needed { program: "qemu-system-x86_64", package: "qemu-system-x86" }];
const QEMU_ARM: &[Needed] = &[Needed { program: "qemu-system-aarch64", package: "qemu-system-arm" }];

/// A compiler and a C library for a machine that this one is not; Rust's standard library is built with them
/// (vm/cross.rs).
const CROSS_ARM: &[Needed] = if cfg!(target_arch = "aarch64") {
    &[]
} else {
    &[
        Needed { program: "aarch64-linux-gnu-gcc", package: "gcc-aarch64-linux-gnu" },
        Needed { program: "/usr/aarch64-linux-gnu/lib/libc.so", package: "libc6-dev-arm64-cross" },
    ]
};

/// What `purpose` needs.
pub(crate) fn needed(purpose: Purpose) -> impl Iterator<Item = &'static Needed> {
    let lists: &[&[Needed]] = match purpose {
        Purpose::Demo => &[LABORATORY],
        Purpose::Test => &[LABORATORY, RESOLVERS, BROWSER],
        Purpose::Ebpf => &[EBPF],
        Purpose::Fuzz => &[FUZZ],
        Purpose::Node => &[NODE],
        Purpose::Vm => &[GUEST, QEMU_X86],
        Purpose::VmAarch64 => &[GUEST, QEMU_ARM, CROSS_ARM],
    };
    lists.iter().copied().flatten()
}

/// Installs what is missing of `needed`.
pub(crate) fn install(needed: impl Iterator<Item = &'static Needed>) -> Result<()> {
    let packages = missing(needed, |program| find(program).is_some());
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !is_root() || find("apt-get").is_none() {
        bail!("please install {names} (on Debian, as root: apt-get install {names})");
    }
    step(&format!("apt-get install {names}"), || {
        run(apt().args(["-qq", "update"]))?;
        run(apt().args(["-qq", "-y", "--no-install-recommends", "install"]).args(&packages))
    })
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
    apt
}

/// The packages whose programs are not `present`, each once.
fn missing(needed: impl Iterator<Item = &'static Needed>, present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> = needed.filter(|needed| !present(needed.program)).map(|needed| needed.package).collect();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_all_present_is_empty() {
        assert!(missing(LABORATORY.iter(), |_| true).is_empty());
    }

    #[test]
    fn missing_two_programs_of_one_package_names_it_once() {
        assert_eq!(missing(LABORATORY.iter(), |program| program != "ip" && program != "ss"), ["iproute2"]);
    }
}
