//! Where this machine gets Debian's packages from, by its own apt sources: no address is written here.
//!
//! Knows both forms of sources.list(5).

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// The archive's keys, of the Debian package debian-archive-keyring.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names of suites that are not a release's own.
const MOVING: [&str; 5] = ["stable", "oldstable", "testing", "unstable", "sid"];

/// One source: an address and a suite.
type Source = (String, String);

/// The line of a sources.list for `suite`, from the mirror that this machine uses for such a suite of the Debian release
/// `codename`.
pub(crate) fn source(suite: &str, codename: &str) -> Result<String> {
    let sources = sources(Path::new("/etc/apt"))?;
    let Some(mirror) = mirror(&sources, suite, codename) else {
        bail!("the apt sources of this machine (in /etc/apt) name no mirror of Debian that would have {suite}");
    };
    Ok(format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
}

/// The address among `sources` that has `suite`: that of Debian itself, or of its security updates.
fn mirror<'a>(sources: &'a [Source], suite: &str, codename: &str) -> Option<&'a str> {
    let security = suite.ends_with("-security");
    let same_kind = |name: &str| {
        let base = if security { name.strip_suffix("-security") } else { Some(name) };
        base.is_some_and(|base| base == codename || MOVING.contains(&base))
    };
    sources.iter().find(|(_, name)| same_kind(name)).map(|(address, _)| address.as_str())
}

fn sources(apt: &Path) -> Result<Vec<Source>> {
    let directory = apt.join("sources.list.d");
    let mut paths = vec![apt.join("sources.list")];
    paths.extend(fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path()));
    paths.retain(|path| path.is_file());
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => found.extend(deb822(&text)),
            Some("list") => found.extend(text.lines().filter_map(line)),
            _ => {}
        }
    }
    Ok(found)
}

/// Of `deb [OPTIONS] ADDRESS SUITE COMPONENT…`.
fn line(line: &str) -> Option<Source> {
    let mut rest = line.trim().strip_prefix("deb ")?.trim_start();
    if rest.starts_with('[') {
        rest = rest.split_once(']')?.1;
    }
    let mut words = rest.split_whitespace();
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

/// Of a file in the style of RFC 822: paragraphs of fields, each of which may go on in lines that begin with a blank.
fn deb822(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let field = |name: &str| {
            let at = paragraph.iter().position(|line| {
                line.split_once(':').is_some_and(|(field, _)| field.trim_end().eq_ignore_ascii_case(name))
            })?;
            let first = paragraph[at].split_once(':')?.1;
            let more = paragraph[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])).copied();
            Some(std::iter::once(first).chain(more).flat_map(str::split_whitespace).collect::<Vec<_>>())
        };
        let disabled = field("Enabled").is_some_and(|value| value == ["no"]);
        if disabled || !field("Types").is_some_and(|types| types.contains(&"deb")) {
            continue;
        }
        for address in field("URIs").unwrap_or_default() {
            found.extend(field("Suites").unwrap_or_default().iter().map(|suite| (address.into(), (*suite).into())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# snapshot\nURIs: http://mirror.example/debian\n\
        Suites: bookworm\n bookworm-updates\nComponents: main\n\n\
        Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\n\n\
        Types: deb\nEnabled: no\nURIs: http://off.example\nSuites: bookworm\n";

    fn found(sources: &[Source], suite: &str) -> Option<String> {
        mirror(sources, suite, "bookworm").map(str::to_owned)
    }

    #[test]
    fn mirror_deb822_tells_security_updates_apart() {
        let sources = deb822(DEB822);
        assert_eq!(sources.len(), 3);
        assert_eq!(found(&sources, "trixie-backports").unwrap(), "http://mirror.example/debian");
        assert_eq!(found(&sources, "bullseye-security").unwrap(), "http://mirror.example/security");
    }

    #[test]
    fn mirror_lines_of_others_are_passed_over() {
        let text = "# deb http://no.example bookworm main\n\
            deb [arch=amd64 signed-by=/k] https://other.example cloud-bookworm main\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb [trusted=yes] http://mirror.example/debian stable main contrib\n";
        let sources: Vec<_> = text.lines().filter_map(line).collect();
        assert_eq!(found(&sources, "trixie").unwrap(), "http://mirror.example/debian");
        assert_eq!(found(&sources, "trixie-security"), None);
    }
}
