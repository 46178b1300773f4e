//! What makes a guest's instructions run: this machine's processor by KVM, or QEMU itself, ten to twenty times slower.

use std::{env, fmt, fs, fs::File, time::Duration};

use super::arch::Arch;

/// How the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// The best that this machine has for a guest of `arch`.
    pub(crate) fn here(arch: Arch) -> Self {
        let usable = File::options().read(true).write(true).open("/dev/kvm").is_ok();
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self::of(arch, env::consts::ARCH, usable, &processor)
    }

    /// On a machine `host` whose /dev/kvm is `usable` and whose /proc/cpuinfo is `processor`. The device alone says too
    /// little on x86: it can be there in a virtual machine whose processor has no such extension.
    fn of(arch: Arch, host: &str, usable: bool, processor: &str) -> Self {
        let mut flags = processor.lines().filter(|line| line.starts_with("flags")).flat_map(str::split_whitespace);
        let extension = match arch {
            Arch::X86_64 => flags.any(|flag| flag == "vmx" || flag == "svm"),
            // There the device is made only where the kernel was started with the right to use it.
            Arch::Aarch64 => true,
        };
        if host == arch.word() && usable && extension { Self::Kvm } else { Self::Tcg }
    }

    /// QEMU's options.
    pub(crate) fn options(self, arch: Arch) -> &'static [&'static str] {
        match (self, arch) {
            (Self::Kvm, _) => &["-accel", "kvm", "-cpu", "host"],
            // Five levels of page tables cost a fifth of the time. One thread for all processors: with several, QEMU 7.2 loses a
            // breakpoint now and then that the kernel sets while it patches its own code ("Oops: int3").
            (Self::Tcg, Arch::X86_64) => &["-accel", "tcg,thread=single", "-cpu", "max,la57=off"],
            // The strong pointer signatures are computed instruction by instruction.
            (Self::Tcg, Arch::Aarch64) => &["-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"],
        }
    }

    /// What the guest's kernel is told.
    pub(crate) fn kernel_arguments(self, arch: Arch) -> &'static str {
        match (self, arch) {
            (Self::Kvm, _) => "random.trust_cpu=on",
            (Self::Tcg, Arch::X86_64) => "random.trust_cpu=on mitigations=off nokaslr no_timer_check tsc=reliable",
            (Self::Tcg, Arch::Aarch64) => "random.trust_cpu=on mitigations=off nokaslr",
        }
    }

    /// How much longer everything may take than on a machine of its own.
    pub(crate) fn patience(self) -> u32 {
        match self {
            Self::Kvm => 1,
            Self::Tcg => 10,
        }
    }

    /// A guest that has not begun its work by then never will.
    pub(crate) fn boot(self) -> Duration {
        Duration::from_mins(1) * self.patience()
    }

    /// When a guest hangs, by all that is known: one that runs the `core` of the tests, or all of them.
    pub(crate) fn deadline(self, core: bool) -> Duration {
        let minutes = if core { 8 } else { 20 };
        Duration::from_mins(minutes) * self.patience()
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: &str = "flags\t\t: fpu vme vmx sse\nbugs\t\t:\n";
    const WITHOUT: &str = "flags\t\t: fpu vme sse hypervisor\nbugs\t\t: vmscape svm\n";

    #[test]
    fn of_own_architecture_with_extension_and_device_is_kvm() {
        assert_eq!(Accelerator::of(Arch::X86_64, "x86_64", true, WITH), Accelerator::Kvm);
        assert_eq!(Accelerator::of(Arch::Aarch64, "aarch64", true, "Features\t: fp asimd\n"), Accelerator::Kvm);
    }

    #[test]
    fn of_anything_missing_is_emulated() {
        assert_eq!(Accelerator::of(Arch::X86_64, "x86_64", true, WITHOUT), Accelerator::Tcg);
        assert_eq!(Accelerator::of(Arch::X86_64, "x86_64", false, WITH), Accelerator::Tcg);
        assert_eq!(Accelerator::of(Arch::Aarch64, "x86_64", true, WITH), Accelerator::Tcg);
    }
}
