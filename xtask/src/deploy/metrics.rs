//! Metrics: which names PromQL mentions, and which of them the reference declares.
//!
//! Knows nothing of files, and of PromQL's grammar only where a metric's name can stand: whether an expression is one, promtool
//! says.

use std::collections::{BTreeMap, BTreeSet};

/// What a scrape has beyond what the target says.
const OF_PROMETHEUS: [&str; 3] = ["up", "ALERTS", "scrape_duration_seconds"];
/// Words of PromQL that stand where a name could, beside functions, which are followed by `(`.
const OPERATORS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"];
/// Words before a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const AGGREGATIONS: [&str; 12] =
    ["sum", "min", "max", "avg", "count", "group", "topk", "bottomk", "quantile", "stddev", "stdvar", "count_values"];
/// What a histogram's name is followed by in each of its series.
const OF_A_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// The metrics that a reference page declares, and whether each is a histogram.
pub(crate) struct Declared(BTreeMap<String, bool>);

impl Declared {
    /// Of the rows `` | `name` | type | … `` of a Markdown page.
    pub(crate) fn of(page: &str) -> Self {
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((name.to_owned(), cells.next()? == "histogram"))
        });
        Self(rows.collect())
    }

    /// Whether there is a series of this name.
    pub(crate) fn has(&self, series: &str) -> bool {
        let of_a_histogram = || {
            let mut metrics = OF_A_HISTOGRAM.iter().filter_map(|suffix| series.strip_suffix(suffix));
            metrics.any(|metric| self.0.get(metric) == Some(&true))
        };
        OF_PROMETHEUS.contains(&series) || self.0.get(series) == Some(&false) || of_a_histogram()
    }
}

/// The names of series in a PromQL expression, also one with Grafana's variables.
pub(crate) fn names(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' | '`' => after(&rest[1..], first),
            '{' => after_matchers(&rest[1..]),
            '[' => after(rest, ']'),
            '$' => word(rest.trim_start_matches(['$', '{'])).1,
            first if is_of_a_word(first) => {
                let (name, behind) = word(rest);
                let is_function = behind.trim_start().starts_with('(');
                let is_operator = OPERATORS.contains(&name) || AGGREGATIONS.contains(&name);
                if BEFORE_LABELS.contains(&name) {
                    after_labels(behind)
                } else {
                    if !is_function && !is_operator && !first.is_ascii_digit() {
                        found.insert(name.to_owned());
                    }
                    behind
                }
            }
            _ => &rest[first.len_utf8()..],
        };
    }
    found
}

const fn is_of_a_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | ':')
}

/// The word that `text` starts with, and what follows.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character| !is_of_a_word(character)).unwrap_or(text.len()))
}

/// What follows the first `end` that no backslash escapes.
fn after(text: &str, end: char) -> &str {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == end && !escaped {
            return &text[at + character.len_utf8()..];
        }
        escaped = character == '\\' && !escaped;
    }
    ""
}

/// What follows the matchers of a series, whose values may contain any character.
fn after_matchers(mut text: &str) -> &str {
    while let Some(at) = text.find(['}', '"', '\'', '`']) {
        let mark = text[at..].chars().next().unwrap_or('}');
        text = &text[at + 1..];
        if mark == '}' {
            return text;
        }
        text = after(text, mark);
    }
    ""
}

/// What follows a list of labels in parentheses; `text` itself where there is none (`group_left` may go without).
fn after_labels(text: &str) -> &str {
    if text.trim_start().starts_with('(') { after(text, ')') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| metric | type | labels |\n|---|---|---|\n| `conngate_gates` | gauge | `state` |\n\
                        | `conngate_hold_duration_seconds` | histogram | |\nno row: `conngate_other` | counter\n";

    fn found(expression: &str) -> Vec<String> {
        names(expression).into_iter().collect()
    }

    #[test]
    fn names_of_functions_labels_values_and_durations_are_none() {
        assert_eq!(found(r#"sum by (le, node) (rate(a_total{x="b{c", y=~'d}'}[5m] offset 1h)) > 1e3"#), ["a_total"]);
        assert_eq!(found("a / on (job) group_left b and ignoring(x) c unless d"), ["a", "b", "c", "d"]);
        assert_eq!(found("topk(10, a) or vector(0)"), ["a"]);
        assert_eq!(found("sum(a) by (b) * 0x1f"), ["a"]);
        assert_eq!(found(r#"count_values("version", a:b)"#), ["a:b"]);
    }

    #[test]
    fn names_of_grafana_variables_are_none() {
        assert_eq!(found(r#"increase(a{node=~"$node"}[$__rate_interval]) > $limit + ${other}"#), ["a"]);
    }

    #[test]
    fn names_of_what_does_not_end_are_found_up_to_there() {
        for torn in ["a{", "a{x=\"", "a[", "a{x=\"\\", "a + sum by ("] {
            assert_eq!(found(torn), ["a"], "{torn}");
        }
    }

    #[test]
    fn declared_series_are_those_of_the_rows() {
        let declared = Declared::of(PAGE);
        for series in ["conngate_gates", "conngate_hold_duration_seconds_bucket", "up"] {
            assert!(declared.has(series), "{series}");
        }
        for series in ["conngate_hold_duration_seconds", "conngate_gates_sum", "conngate_other", "metric"] {
            assert!(!declared.has(series), "{series}");
        }
    }
}
