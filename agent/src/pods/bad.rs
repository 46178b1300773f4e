//! What is wrong with an annotation, in words that lead to the right value.
//!
//! Knows nothing of the keys. Values come from strangers: they are shown cut and with every unprintable character escaped.

use std::fmt;

use super::pod::cut;

/// The most bytes of a key or value that a message shows.
const SHOWN: usize = 64;

/// An annotation whose value is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}{} is `{value}`; allowed: {allowed}", of(.namespace.as_deref()))]
pub struct BadAnnotation {
    /// The annotation's key.
    pub key: &'static str,
    /// The namespace whose annotation it is; `None`: the pod's own.
    pub namespace: Option<String>,
    /// Its value, [`printable`].
    pub value: String,
    /// What is allowed instead.
    pub allowed: String,
}

fn of(namespace: Option<&str>) -> String {
    namespace.map(|namespace| format!(" of namespace {namespace}")).unwrap_or_default()
}

/// All bad annotations of one pod: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAnnotations(pub Vec<BadAnnotation>);

impl std::error::Error for BadAnnotations {}

impl fmt::Display for BadAnnotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, bad) in self.0.iter().enumerate() {
            write!(f, "{}{bad}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The beginning of `text`, without a character that a terminal or a log would act on.
pub(super) fn printable(text: &str) -> String {
    let shown = cut(text, SHOWN);
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("{}{more}", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_long_or_hostile_text_is_cut_and_escaped() {
        assert_eq!(printable("hold"), "hold");
        assert_eq!(printable("a\n\u{1b}[2J\u{202e}b"), "a\\n\\u{1b}[2J\\u{202e}b");
        assert_eq!(printable(&"x".repeat(65)), format!("{}…", "x".repeat(64)));
    }

    #[test]
    fn display_names_every_bad_annotation() {
        let bad = |key| BadAnnotation { key, namespace: None, value: "v".to_owned(), allowed: "w".to_owned() };
        assert_eq!(BadAnnotations(vec![bad("a"), bad("b")]).to_string(), "a is `v`; allowed: w; b is `v`; allowed: w");
    }

    proptest! {
        #[test]
        fn printable_of_anything_is_short_and_has_no_control_character(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(shown.chars().count() <= SHOWN * 10 + 1);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
