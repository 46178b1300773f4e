//! The text form of a label selector, as `kubectl -l` takes it (kubernetes.io, "Labels and Selectors").
//!
//! Knows nothing of what is selected. kube has the matching but no parser; keys and values are checked as apimachinery does
//! (pkg/labels/selector.go: `In` and `NotIn` need values, the empty selector selects all).

use std::collections::BTreeSet;

use kube::core::{Expression, Selector};

use super::bad::printable;

/// Text that is no label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{part}` of the selector: {fault}; allowed are KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (VALUE,…), KEY notin (VALUE,…), \
    separated by commas"
)]
pub struct BadSelector {
    part: String,
    fault: &'static str,
}

pub(super) fn parse(text: &str) -> Result<Selector, BadSelector> {
    if text.trim().is_empty() {
        return Ok(Selector::default());
    }
    requirements(text)
        .map(|part| requirement(part.trim()).map_err(|fault| BadSelector { part: printable(part.trim()), fault }))
        .collect()
}

/// The parts between commas that are not within parentheses.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut within = false;
    text.split(move |character| {
        match character {
            '(' => within = true,
            ')' => within = false,
            _ => {}
        }
        character == ',' && !within
    })
}

fn requirement(part: &str) -> Result<Expression, &'static str> {
    if let Some(name) = part.strip_prefix('!') {
        return Ok(Expression::DoesNotExist(key(name)?));
    }
    if let Some((name, wanted)) = part.split_once("!=") {
        return Ok(Expression::NotEqual(key(name)?, value(wanted)?));
    }
    if let Some((name, wanted)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Expression::Equal(key(name)?, value(wanted)?));
    }
    if let Some((head, list)) = part.split_once('(') {
        let list = list.trim_end().strip_suffix(')').ok_or("its parenthesis is not closed")?;
        let (name, operator) = head.trim().split_once(char::is_whitespace).ok_or("a key or an operator is missing")?;
        let wanted = list.split(',').map(value).collect::<Result<BTreeSet<_>, _>>()?;
        return match operator.trim() {
            "in" => Ok(Expression::In(key(name)?, wanted)),
            "notin" => Ok(Expression::NotIn(key(name)?, wanted)),
            _ => Err("the operator is neither in nor notin"),
        };
    }
    key(part).map(Expression::Exists)
}

/// A label key: an optional DNS subdomain and `/`, then a name.
fn key(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let subdomain = |prefix: &str| {
        let label =
            |label: &str| is_name(label) && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        prefix.len() <= 253 && prefix.split('.').all(label)
    };
    if is_name(name) && prefix.is_none_or(subdomain) { Ok(text.to_owned()) } else { Err("not a label key") }
}

/// A label value: a name, or nothing.
fn value(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() || is_name(text) { Ok(text.to_owned()) } else { Err("not a label value") }
}

/// 1 to 63 of `A-Za-z0-9-_.`, a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    bytes.len() <= 63 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse_every_form_is_understood() {
        for (text, shown) in [
            ("", ""),
            ("a", "a"),
            ("! a", "!a"),
            ("a = b", "a=b"),
            ("a==b", "a=b"),
            ("a!=", "a!="),
            ("a.b/c-d in ( x , y ),e notin (z)", "a.b/c-d in (x,y),e notin (z)"),
            ("a,!b,c=d", "a,!b,c=d"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn parse_other_text_is_refused_with_its_part() {
        for text in
            ["a,,b", "a in", "a in (b", "a of (b)", "(b)", "in (b)", "a=b=c", "a b", "-a", "A.B/c", "a/b/c", "é", "a=-"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains("allowed are KEY"), "{text}: {error}");
        }
        assert!(parse("ok=1,bad key").unwrap_err().to_string().contains("`bad key`"));
    }

    proptest! {
        #[test]
        fn parse_of_what_it_shows_is_the_same(text in "[!a-c./=, ()]{0,24}|(a|b)( in | notin )\\((x|y),z\\)") {
            if let Ok(selector) = parse(&text) {
                prop_assert_eq!(parse(&selector.to_string()), Ok(selector));
            }
        }
    }
}
