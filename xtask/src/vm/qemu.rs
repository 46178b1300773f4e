//! QEMU as it is started for a guest: two processors, three disks that keep nothing, and no network.
//!
//! Knows nothing of what the guest does. It ends when the guest ends, when this process does, and when it is killed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{accelerator::Accelerator, arch::Arch};

/// In MiB.
const MEMORY: &str = "3072";

const PROCESSORS: &str = "2";

/// What a guest is made of.
pub(crate) struct Guest {
    pub(crate) arch: Arch,
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// In the order in which xtask/vm/initramfs.sh finds them.
    pub(crate) disks: [PathBuf; 3],
    /// Where the console's words are kept, and for a while what the guest writes to its disks.
    pub(crate) directory: PathBuf,
}

impl Guest {
    /// The command. The guest's other words, those of its virtio port, come on stdout. Its stdin has to stay open: at its
    /// end QEMU would take the port for unplugged.
    pub(crate) fn command(&self) -> Command {
        let (program, machine) = self.arch.qemu();
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", program]).args(machine).args(self.accelerator.options(self.arch));
        qemu.args([
            "-smp",
            PROCESSORS,
            "-m",
            MEMORY,
            "-nic",
            "none",
            "-display",
            "none",
            "-monitor",
            "none",
            "-no-reboot",
        ]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        // A panic is the end.
        let (console, more) = (self.arch.console(), self.accelerator.kernel_arguments(self.arch));
        qemu.arg("-append").arg(format!("console={console} quiet panic=-1 {more}"));
        for (number, disk) in self.disks.iter().enumerate() {
            qemu.arg("-drive").arg(format!("if=none,id=disk{number},format=raw,snapshot=on,file={}", option(disk)));
            qemu.arg("-device").arg(format!("virtio-blk-pci,drive=disk{number}"));
        }
        qemu.arg("-serial").arg(format!("file:{}", self.console().display()));
        qemu.args(["-chardev", "stdio,id=words,signal=off", "-device", "virtio-serial-pci"]);
        qemu.args(["-device", "virtserialport,chardev=words,name=words"]);
        qemu.env("TMPDIR", &self.directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        qemu
    }

    /// What the kernel says.
    pub(crate) fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }
}

/// In an option of QEMU's a comma is written twice.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}
