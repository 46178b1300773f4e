//! A link: a program's attachment to a cgroup, which outlives the agent where it is pinned.
//!
//! Knows nothing of which program it is. Replacing the program is atomic (BPF_LINK_UPDATE, kernel 5.7): at no moment is
//! none attached, or two.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_link_info};
use conngate_common::id::CgroupId;

use super::{
    pins::is_pin,
    syscall::{attributes, bpf},
};

/// An open link.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Link {
    /// The link that is pinned at `path`; `None`: there is none.
    ///
    /// # Errors
    /// When there is something else, or the kernel refuses.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        if !is_pin(path)? {
            return Ok(None);
        }
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mut attr = attributes();
        attr.__bindgen_anon_4.pathname = name.as_ptr() as u64;
        let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
        // SAFETY: a new descriptor, which nobody else owns.
        Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Attaches `program` to `cgroup`. A link takes no flags, and always allows other programs beside it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(cgroup: &File, program: impl AsFd, hook: bpf_attach_type) -> io::Result<Self> {
        let mut attr = attributes();
        attr.link_create.__bindgen_anon_1.prog_fd = program.as_fd().as_raw_fd().cast_unsigned();
        attr.link_create.__bindgen_anon_2.target_fd = cgroup.as_raw_fd().cast_unsigned();
        attr.link_create.attach_type = hook as u32;
        let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr)?;
        // SAFETY: a new descriptor, which nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The cgroup that it hangs on; 0: that cgroup is gone.
    ///
    /// # Errors
    /// When the kernel refuses, or this is no link.
    pub fn cgroup(&self) -> io::Result<CgroupId> {
        // SAFETY: the kernel has filled in the part of a cgroup link, plain integers.
        Ok(CgroupId(unsafe { self.info()?.__bindgen_anon_1.cgroup }.cgroup_id))
    }

    /// The id of the program that is attached.
    ///
    /// # Errors
    /// As [`Link::cgroup`].
    pub fn program(&self) -> io::Result<u32> {
        Ok(self.info()?.prog_id)
    }

    fn info(&self) -> io::Result<bpf_link_info> {
        // SAFETY: plain integers, for which zero is valid.
        let mut info = unsafe { std::mem::zeroed::<bpf_link_info>() };
        let mut attr = attributes();
        attr.info.bpf_fd = self.0.as_raw_fd().cast_unsigned();
        attr.info.info = std::ptr::from_mut(&mut info) as u64;
        attr.info.info_len = u32::try_from(size_of::<bpf_link_info>()).map_err(io::Error::other)?;
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
        Ok(info)
    }

    /// Puts `program` in the place of the attached one.
    ///
    /// # Errors
    /// When the kernel refuses: the old one stays.
    pub fn update(&self, program: impl AsFd) -> io::Result<()> {
        let mut attr = attributes();
        attr.link_update.link_fd = self.0.as_raw_fd().cast_unsigned();
        attr.link_update.__bindgen_anon_1.new_prog_fd = program.as_fd().as_raw_fd().cast_unsigned();
        bpf(bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
    }
}
