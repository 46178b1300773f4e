//! /proc/<pid>/mountinfo, read with care: a pod may have written parts of it.
//!
//! Knows nothing of what a mount is for. A line that is not as proc_pid_mountinfo(5) says is left out, and so alone:
//! the procfs crate gives up the whole file for one such line, wants UTF-8, and leaves the escapes in.

use std::{ffi::OsString, io, io::Read, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// Bytes of a mountinfo that are read: some 20,000 mounts. A namespace may hold 100,000 (fs.mount-max).
const MAX_BYTES: u64 = 4 << 20;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the file system.
    pub device: String,
    /// What of the file system is mounted: a path from its own root.
    pub root: PathBuf,
    /// Where, from the root directory of the process.
    pub point: PathBuf,
    /// The file system's type.
    pub fs_type: String,
}

/// Reads a mountinfo file whole.
///
/// # Errors
/// When it cannot be read, or has more than 4 MiB ([`io::ErrorKind::FileTooLarge`]).
pub fn read(file: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    if text.len() as u64 == MAX_BYTES { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

/// The mounts in `text`, in its order.
pub fn mounts(text: &[u8]) -> impl Iterator<Item = Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount)
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(2);
    let (device, root, point) = (fields.next()?, fields.next()?, fields.next()?);
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
    let text = |field: &[u8]| String::from_utf8(field.to_owned()).ok();
    let path = |field| PathBuf::from(OsString::from_vec(unescaped(field)));
    Some(Mount { device: text(device)?, root: path(root), point: path(point), fs_type: text(fs_type)? })
}

/// Undoes `mangle_path` of fs/seq_file.c: `\` and three octal digits are one byte.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail)
            }
            (byte, tail) => (byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mount_with_escapes_and_optional_fields_is_decoded() {
        let line = br"36 35 98:0 /a\040b\134c /mnt\0112 rw,noatime shared:1 master:1 - ext3 /dev/my\040disk rw,errors=continue";
        let expected = Mount {
            device: "98:0".to_owned(),
            root: r"/a b\c".into(),
            point: "/mnt\t2".into(),
            fs_type: "ext3".to_owned(),
        };
        assert_eq!(mounts(line).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn line_of_another_form_is_left_out_alone() {
        let text = b"\n1 2 0:1 /\n1 2 0:1 / / rw\n1 2 0:1 / / rw -\n3 4 0:2 / /kept rw - tmpfs tmpfs rw\n1 2 \xff / / rw - a b c";
        let points: Vec<_> = mounts(text).map(|mount| mount.point).collect();
        assert_eq!(points, [PathBuf::from("/kept")]);
    }

    #[test]
    fn own_mountinfo_has_the_root() {
        let text = read(std::fs::File::open("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(mounts(&text).any(|mount| mount.point.as_os_str() == "/"));
    }

    #[test]
    fn endless_mountinfo_is_refused() {
        assert_eq!(read(io::repeat(b'x')).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(mounts(&bytes).count() <= bytes.len());
        }
    }
}
