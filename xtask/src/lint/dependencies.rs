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
        let inner = packages.iter().filter_map(|other| within(&directory, root, other)).collect::<Vec<_>>();
        let named = named(&directory, &inner, files);
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
            if !named.contains(&name.replace('-', "_")) {
                found.push(Finding::new(&format!("{directory}Cargo.toml"), 1, format!("`{name}` is not used")));
            }
        }
    }
    found
}

/// The directory of `package` where that lies below `directory`.
fn within(directory: &str, root: &Path, package: &Package) -> Option<String> {
    let own = format!("{}/", package.directory().strip_prefix(root).ok()?.display());
    (own != directory && own.starts_with(directory)).then_some(own)
}

/// Every word in the Rust files below `directory` but not in those below `inner`, and in those that they include with `#[path]`.
fn named(directory: &str, inner: &[String], files: &[File]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let of_inner = |file: &File| inner.iter().any(|inner| file.path.starts_with(inner));
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with(directory) && !of_inner(file)) {
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

    fn package(manifest: &str, dependencies: Vec<Dependency>) -> Package {
        Package {
            name: "conngate".to_owned(),
            version: "0.1.0".to_owned(),
            license: None,
            source: None,
            manifest_path: manifest.into(),
            dependencies,
        }
    }

    fn found(content: &str, rename: Option<&str>) -> usize {
        let dependency = Dependency { name: "aya-log".to_owned(), rename: rename.map(str::to_owned) };
        let packages = [
            package("/checkout/agent/Cargo.toml", vec![dependency]),
            package("/checkout/agent/inner/Cargo.toml", Vec::new()),
        ];
        let file = File { path: "agent/src/lib.rs".to_owned(), content: content.to_owned() };
        let elsewhere = |path: &str| File { path: path.to_owned(), content: "use aya_log::EbpfLogger;".to_owned() };
        let files = [file, elsewhere("shared/log.rs"), elsewhere("agent/inner/src/lib.rs")];
        findings(Path::new("/checkout"), &packages, &files).len()
    }

    #[test]
    fn findings_dependency_that_only_a_package_within_names_is_found() {
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
