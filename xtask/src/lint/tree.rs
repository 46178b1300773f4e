//! The files of the checkout, and what a rule finds in one.

use std::{fmt, fs, io, path::Path};

/// A text file.
pub(crate) struct File {
    /// Relative to the checkout, with `/`.
    pub(crate) path: String,
    pub(crate) content: String,
}

/// A rule is broken: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

/// What has nothing but tests, beside each crate's own.
const TESTS: [&str; 3] = ["tests/kernel/", "tests/machine/", "tests/node/"];

/// Made by tools, or of others.
const NOT_OURS: [&str; 2] = ["target", ".git"];

impl File {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it holds tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || TESTS.iter().any(|directory| self.path.starts_with(directory))
    }

    /// A finding at `line` (from 1).
    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: String) -> Self {
        Self { path: path.to_owned(), line, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Every text file below `root` that is ours.
pub(crate) fn files(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    Ok(files)
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if NOT_OURS.contains(&&*name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else if let Ok(content) = String::from_utf8(fs::read(entry.path())?) {
            files.push(File { path, content });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_build_output_and_binaries_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in
            [("ebpf/target/a.rs", &b"x"[..]), (".git/b", b"x"), ("c/d.rs", b"x"), ("e.o", b"\xff\xfe")]
        {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let found: Vec<_> = files(root.path()).unwrap().into_iter().map(|file| file.path).collect();
        assert_eq!(found, ["c/d.rs"]);
    }
}
