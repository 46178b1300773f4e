//! Relative links of the documents lead somewhere.
//!
//! Knows nothing of the web: a link with a scheme is not followed.

use super::tree::{File, Finding};

/// The links of a Markdown `file` whose path (relative to the checkout) does not `exist`.
pub(crate) fn findings(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut found = Vec::new();
    if !file.path.ends_with(".md") {
        return found;
    }
    let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    for (line, text) in (1..).zip(file.content.lines()) {
        for link in links(text) {
            let path = link.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains(':') && !exists(&joined(directory, path)) {
                found.push(file.finding(line, format!("`{path}` does not exist")));
            }
        }
    }
    found
}

/// The targets of `[text](target)` and `src="target"` in a line.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let of = move |open: &'static str, close: char| {
        text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    };
    of("](", ')').chain(of("src=\"", '"'))
}

fn joined(directory: &str, path: &str) -> String {
    let path = path.split_whitespace().next().unwrap_or_default();
    if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        let file = File { path: path.to_owned(), content: content.to_owned() };
        let exists = |path: &str| ["ARCHITECTURE.md", "docs/kernel-support.md", "docs/hold.svg"].contains(&path);
        findings(&file, exists).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn findings_dead_link_is_found() {
        assert_eq!(found("README.md", "a\nsee [this](docs/none.md)\n"), ["README.md:2: `docs/none.md` does not exist"]);
        assert_eq!(found("README.md", "<img src=\"none.svg\">\n").len(), 1);
    }

    #[test]
    fn findings_living_and_web_links_are_not_found() {
        assert!(found("README.md", "[a](ARCHITECTURE.md#one) [b](https://example.org/x) [c](#here)\n").is_empty());
        assert!(found("docs/README.md", "![p](hold.svg)\n").is_empty());
    }
}
