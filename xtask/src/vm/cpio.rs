//! The archive that a kernel unpacks as its first root: cpio in the format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    number: usize,
}

const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

impl Cpio {
    /// Adds a directory. Those above it come first.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// Adds a file that may be executed.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o755, content);
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.number += 1;
        let (number, size, length) = (self.number, content.len(), path.len() + 1);
        // Number, mode, owner and group, links, time, size, four device numbers, length of the name, checksum.
        let header = format!(
            "070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{length:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_archive_is_as_cpio_writes_it() {
        let mut cpio = Cpio::default();
        cpio.directory("a");
        cpio.file("a/b", b"hello");
        let bytes = cpio.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("07070100000001000041ed000000000000000000000001000000000000000000000000"));
        let file = text.find("a/b\0").unwrap();
        // 110 bytes of header and 4 of the name make two short of a multiple of four.
        assert_eq!(&text[file + 6..file + 11], "hello");
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
