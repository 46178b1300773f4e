//! Every dependency that a crate declares is named in its sources.
//!
//! Sees tokens: one mention is use enough, in code or in an attribute.

use std::{collections::BTreeSet, path::Path};

use super::{
    tokens::{Token, start_with, tokens},
    tree::{File, Finding},
};
use crate::workspace::Package;

/// The dependencies of `packages` of the checkout `root` that no file of theirs names.
pub(crate) fn findings(root: &Path, packages: &[Package], files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_none()) {
        let Ok(directory) = package.directory().strip_prefix(root) else { continue };
        let directory = format!("{}/", directory.display());
        let named = named(&directory, files);
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
            if !named.contains(&name.replace('-', "_")) {
                found.push(Finding::new(&format!("{directory}Cargo.toml"), 1, format!("`{name}` is not used")));
            }
        }
    }
    found
}

/// Every word in the Rust files below `directory`, and in those that they include with `#[path]`.
fn named(directory: &str, files: &[File]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with(directory)) {
        let code = tokens(&file.content);
        let included = included(&file.path, &code);
        for other in files.iter().filter(|other| included.contains(&other.path)) {
            words.extend(tokens(&other.content).into_iter().map(|token| token.text));
        }
        words.extend(code.into_iter().map(|token| token.text));
    }
    words
}

/// The files that `#[path = "…"]` names in the file `path`, relative to the checkout.
fn included(path: &str, code: &[Token]) -> Vec<String> {
    let attributes = code.windows(5).filter(|window| start_with(window, &["#", "[", "path", "="]));
    let joined = |window: &[Token]| {
        let mut parts: Vec<_> = path.split('/').collect();
        parts.pop();
        for part in window[4].text.trim_matches('"').split('/') {
            if part == ".." {
                parts.pop();
            } else {
                parts.push(part);
            }
        }
        parts.join("/")
    };
    attributes.map(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn found(content: &str, rename: Option<&str>) -> usize {
        let package = Package {
            name: "conngate".to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            manifest_path: "/checkout/agent/Cargo.toml".into(),
            dependencies: vec![Dependency { name: "aya-log".to_owned(), rename: rename.map(str::to_owned) }],
        };
        let file = File { path: "agent/src/lib.rs".to_owned(), content: content.to_owned() };
        let elsewhere = File { path: "shared/log.rs".to_owned(), content: "use aya_log::EbpfLogger;".to_owned() };
        findings(Path::new("/checkout"), &[package], &[file, elsewhere]).len()
    }

    #[test]
    fn findings_unnamed_dependency_is_found() {
        assert_eq!(found("//! Uses no aya_log.\n", None), 1);
    }

    #[test]
    fn findings_named_dependency_is_not_found() {
        assert_eq!(found("use aya_log::EbpfLogger;\n", None), 0);
        assert_eq!(found("use log::EbpfLogger;\n", Some("log")), 0);
    }

    #[test]
    fn findings_dependency_named_in_an_included_file_is_not_found() {
        assert_eq!(found("#[path = \"../../shared/log.rs\"]\nmod log;\n", None), 0);
    }
}
