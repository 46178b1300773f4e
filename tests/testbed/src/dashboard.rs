//! The PromQL of a Grafana dashboard.
//!
//! Knows nothing of what it asks for.

use serde_json::Value;

/// The expressions of a dashboard: of its panels, and of the variables that ask for the values of a label.
#[must_use]
pub fn expressions(dashboard: &Value) -> Vec<String> {
    match dashboard {
        Value::Object(fields) => {
            let own = fields.iter().filter_map(|(key, value)| expression(key, value.as_str()?));
            own.chain(fields.values().flat_map(expressions)).collect()
        }
        Value::Array(items) => items.iter().flat_map(expressions).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// The PromQL in one field of a dashboard.
fn expression(key: &str, value: &str) -> Option<String> {
    match key {
        "expr" => Some(value.to_owned()),
        "query" | "definition" => {
            let (series, _label) = value.strip_prefix("label_values(")?.rsplit_once(',')?;
            Some(series.to_owned())
        }
        _ => None,
    }
}

/// An expression as it is when a person looks: Grafana's variables have values, `interval` where they are times.
#[must_use]
pub fn filled(expression: &str, interval: &str) -> String {
    let times = ["$__rate_interval", "$__range"];
    let filled = times.iter().fold(expression.to_owned(), |text, name| text.replace(name, interval));
    ["$node", "$instance"].iter().fold(filled, |text, name| text.replace(name, ".*"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_of_panels_and_variables_are_found_at_any_depth() {
        let dashboard = json!({
            "panels": [{ "panels": [{ "targets": [{ "expr": "a > 1" }] }], "title": "expr" }],
            "templating": { "list": [
                { "query": { "query": r#"label_values(b{x=~"$x"}, instance)"# } },
                { "query": "prometheus" },
            ] },
        });
        assert_eq!(expressions(&dashboard), ["a > 1", r#"b{x=~"$x"}"#]);
    }

    #[test]
    fn filled_expression_has_no_variable_of_grafana() {
        let filled = filled(r#"rate(a{node=~"$node"}[$__rate_interval]) + increase(a[$__range])"#, "5m");
        assert_eq!(filled, r#"rate(a{node=~".*"}[5m]) + increase(a[5m])"#);
    }
}
