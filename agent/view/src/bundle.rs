//! A bug report: files, what could not be had and why, and the tar that they become.
//!
//! Knows nothing of what is in the files. What it writes is for its owner alone: mode 0600, here and in the tar.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::redact::Redactor;

/// The file that says what could not be had.
pub const MISSING: &str = "missing.txt";

/// The files, by their paths in the tar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    missing: BTreeMap<String, String>,
}

impl Bundle {
    /// Adds a file, or why there is none.
    pub fn add<E: std::fmt::Display>(&mut self, path: &str, content: Result<impl Into<Vec<u8>>, E>) {
        match content {
            Ok(content) => drop(self.files.insert(path.to_owned(), content.into())),
            Err(error) => drop(self.missing.insert(path.to_owned(), error.to_string())),
        }
    }

    /// The file of this path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether all was had that was wanted.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && !self.files.keys().any(|path| path.ends_with(MISSING))
    }

    /// Adds all of `other` below the directory `name`.
    pub fn add_below(&mut self, name: &str, other: Self) {
        let below = |path: String| format!("{name}/{path}");
        self.files.extend(other.files.into_iter().map(|(path, content)| (below(path), content)));
        self.missing.extend(other.missing.into_iter().map(|(path, why)| (below(path), why)));
    }

    /// The same without names, addresses and URLs. What is no text is left out.
    #[must_use]
    pub fn redacted(self, redactor: &mut Redactor) -> Self {
        // All names first: the first file may tell of a pod by a word that only the last one explains.
        let texts = || self.files.iter().filter_map(|(path, content)| Some((path, str::from_utf8(content).ok()?)));
        texts().for_each(|(_, text)| redactor.learn(text));
        let missing = self.missing.iter().map(|(path, why)| (redactor.redact(path), redactor.redact(why))).collect();
        let files = texts().map(|(path, text)| (redactor.redact(path), redactor.redact(text).into_bytes())).collect();
        Self { files, missing }
    }

    /// Writes the tar, all of it below the directory `name`.
    ///
    /// # Errors
    /// When `to` takes no more.
    pub fn write(&self, name: &str, to: impl Write) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut tar = tar::Builder::new(to);
        let mut append = |path: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
            header.set_mode(0o600);
            header.set_mtime(now);
            tar.append_data(&mut header, format!("{name}/{path}"), content)
        };
        for (path, content) in &self.files {
            append(path, content)?;
        }
        if !self.missing.is_empty() {
            let lines: String = self.missing.iter().map(|(path, why)| format!("{path}: {why}\n")).collect();
            append(MISSING, lines.as_bytes())?;
        }
        tar.into_inner()?.flush()
    }

    /// Writes the tar into the file at `path`, which is for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, name: &str, path: &Path) -> io::Result<()> {
        self.write(name, private(path)?)
    }

    /// What is in the tar `from`, without its first directory. Anything but files is left out.
    ///
    /// # Errors
    /// When it is no tar.
    pub fn read(from: impl Read) -> io::Result<Self> {
        let mut bundle = Self::default();
        for entry in tar::Archive::new(from).entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().replace('\\', "/");
            let Some((_, path)) = path.split_once('/') else { continue };
            // Whoever unpacks it finds nothing above the directory.
            if !entry.header().entry_type().is_file() || path.split('/').any(|part| part == "..") {
                continue;
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            bundle.files.insert(path.to_owned(), content);
        }
        Ok(bundle)
    }
}

/// An empty file at `path` that nobody else can read, also where there was one.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    fn bundle() -> Bundle {
        let mut bundle = Bundle::default();
        bundle.add("status.json", Ok::<_, io::Error>(r#"{"pod":"shop/web-0"}"#));
        bundle.add("explain/shop/web-0.json", Ok::<_, io::Error>("{}"));
        bundle.add("log.txt", Err::<Vec<u8>, _>("the agent of shop/web-0 is gone"));
        bundle
    }

    #[test]
    fn tar_that_was_written_is_read_with_what_is_missing() {
        let mut tar = Vec::new();
        bundle().write("conngate-node-1", &mut tar).unwrap();
        let read = Bundle::read(tar.as_slice()).unwrap();
        assert_eq!(read.paths().collect::<Vec<_>>(), ["explain/shop/web-0.json", MISSING, "status.json"]);
        assert_eq!(read.file(MISSING), Some(b"log.txt: the agent of shop/web-0 is gone\n".as_slice()));
        assert!(!read.is_whole() && !bundle().is_whole());
        assert!(Bundle::read(b"no tar at all".as_slice()).is_err());
    }

    #[test]
    fn tar_of_a_redacted_bundle_has_no_name_in_files_paths_and_errors() {
        let mut tar = Vec::new();
        bundle().redacted(&mut Redactor::default()).write("x", &mut tar).unwrap();
        let text = String::from_utf8_lossy(&tar);
        assert!(!text.contains("shop") && !text.contains("web-0"), "{text}");
        assert!(text.contains("explain/namespace-1/pod-1.json"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn save_over_a_file_that_others_can_read_makes_it_private() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.tar");
        std::fs::write(&path, "x".repeat(100_000)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        bundle().save("x", &path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Bundle::read(File::open(&path).unwrap()).is_ok());
    }
}
