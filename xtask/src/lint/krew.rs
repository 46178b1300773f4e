//! deploy/krew/conngate.yaml: what krew wants of a manifest, for the very systems that the release builds for.
//!
//! Knows nothing of a release: version and digests are filled in there.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tree::{File, Finding};
use crate::deploy::document::documents;

/// The document.
pub(crate) const DOCUMENT: &str = "deploy/krew/conngate.yaml";

/// Where it is filled in.
const RELEASE: &str = ".github/workflows/release.yml";

/// The longest summary that krew's index takes.
const SUMMARY: usize = 50;

/// What is wrong with it.
pub(crate) fn findings(document: &File, files: &[File]) -> Vec<Finding> {
    let parsed = documents(DOCUMENT, &document.content);
    let manifest = match parsed.as_deref() {
        Ok([manifest]) => manifest,
        Ok(_) => return vec![document.finding(1, "one document is wanted")],
        Err(error) => return vec![document.finding(1, format!("{error:#}"))],
    };
    let release = files.iter().find(|file| file.path == RELEASE).map(|file| built(&file.content)).unwrap_or_default();
    broken(manifest, &release).into_iter().map(|what| document.finding(1, what)).collect()
}

fn broken(manifest: &Value, release: &BTreeSet<String>) -> Vec<String> {
    let spec = &manifest["spec"];
    let mut broken = Vec::new();
    let mut wants = |is_so: bool, what: &str| broken.extend((!is_so).then(|| what.to_owned()));
    wants(manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2", "apiVersion is krew's v1alpha2");
    wants(manifest["kind"] == "Plugin" && manifest["metadata"]["name"] == "conngate", "it is the Plugin conngate");
    wants(spec["version"] == "v@VERSION@", "the version is `v@VERSION@`");
    let summary = spec["shortDescription"].as_str().unwrap_or_default();
    wants((1..=SUMMARY).contains(&summary.len()), "shortDescription has 1 to 50 letters");
    wants(spec["description"].is_string() && spec["homepage"].is_string(), "description and homepage are there");
    let platforms = spec["platforms"].as_array().map(Vec::as_slice).unwrap_or_default();
    for platform in platforms {
        let name = name(platform);
        let (archive, binary) = if name.starts_with("windows") { ("zip", ".exe") } else { ("tar.gz", "") };
        let uri = format!("/releases/download/v@VERSION@/kubectl-conngate-@VERSION@-{name}.{archive}");
        wants(
            platform["uri"].as_str().is_some_and(|found| found.ends_with(&uri)),
            &format!("{name}: the URI ends with {uri}"),
        );
        wants(platform["sha256"] == format!("@{name}@"), &format!("{name}: sha256 is `@{name}@`"));
        wants(
            platform["bin"] == format!("kubectl-conngate{binary}"),
            &format!("{name}: bin is kubectl-conngate{binary}"),
        );
    }
    let named: BTreeSet<_> = platforms.iter().map(name).collect();
    wants(named == *release && !named.is_empty(), &format!("the release builds for {release:?}, this names {named:?}"));
    broken
}

fn name(platform: &Value) -> String {
    let labels = &platform["selector"]["matchLabels"];
    let word = |key: &str| labels[key].as_str().unwrap_or_default().to_owned();
    format!("{}-{}", word("os"), word("arch"))
}

/// The systems in the matrix of the release's job `plugin`: `{ os: …, arch: …, … }`.
fn built(workflow: &str) -> BTreeSet<String> {
    let rows = workflow.lines().filter_map(|line| line.trim().strip_prefix("- { os: "));
    let names = rows.filter_map(|row| {
        let (os, rest) = row.split_once(", arch: ")?;
        Some(format!("{os}-{}", rest.split(',').next()?))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::workspace::root;

    fn file(path: &str) -> File {
        File { path: path.to_owned(), content: fs::read_to_string(root().join(path)).unwrap() }
    }

    #[test]
    fn findings_of_the_manifest_are_none_and_each_change_is_found() {
        let files = [file(RELEASE)];
        let good = file(DOCUMENT);
        assert!(findings(&good, &files).is_empty());
        for (from, to) in [
            ("v1alpha2", "v1"),
            ("version: v@VERSION@", "version: v0.1.0"),
            ("Ask the conngate", "Ask the conngate agents, all of them, of the whole cluster"),
            ("os: darwin", "os: macos"),
            ("@linux-amd64@", "@linux-arm64@"),
            ("bin: kubectl-conngate.exe", "bin: kubectl-conngate"),
            ("-windows-amd64.zip", "-windows-amd64.tar.gz"),
        ] {
            let content = good.content.replacen(from, to, 1);
            assert_ne!(content, good.content, "{from}");
            assert!(!findings(&File { path: DOCUMENT.to_owned(), content }, &files).is_empty(), "{from}");
        }
    }
}
