//! docs/json.md, made of the types here and their comments.
//!
//! Knows nothing of what they say.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::{check::Checked, event::Event, explain::Explanation, open::Opened, report::Report, status::Status};

/// A verb's shape, and those that it is made of.
fn chapter<T: JsonSchema>(verb: &str, told: &mut BTreeMap<String, ()>) -> String {
    let schema = SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>();
    let root = Value::from(schema);
    let mut chapter = format!("## {verb}\n\n{}", table(&T::schema_name(), &root));
    let definitions = root["$defs"].as_object().cloned().unwrap_or_default();
    for (name, schema) in definitions {
        if told.insert(name.clone(), ()).is_none() {
            chapter += &format!("### {name}\n\n{}", table(&name, &schema));
        }
    }
    chapter
}

fn table(name: &str, schema: &Value) -> String {
    let mut table = format!("{}\n\n", prose(&schema["description"]));
    if schema["properties"].is_object() {
        table += "| field | type | meaning |\n|---|---|---|\n";
        table += &rows(schema, &[]);
        table += "\n";
    }
    if let Some(variants) = schema["oneOf"].as_array() {
        table += &format!("| `{}` | fields | meaning |\n|---|---|---|\n", tag(name));
        for variant in variants {
            let word = variant["properties"][tag(name)]["const"].as_str().unwrap_or_default();
            let own = variant["properties"].as_object().into_iter().flatten().filter(|(key, _)| *key != tag(name));
            let own = own.map(|(key, field)| format!("`{key}` ({}): {}", kind(field), prose(&field["description"])));
            let flat = variant["$ref"].as_str().map(|path| format!("those of {}", link(path)));
            let fields = own.chain(flat).collect::<Vec<_>>().join(" ");
            table += &format!("| `{word}` | {fields} | {} |\n", prose(&variant["description"]));
        }
        table += "\n";
    }
    table
}

/// The field that tells variants apart.
fn tag(name: &str) -> &'static str {
    assert!(["Event", "What"].contains(&name), "{name} has variants");
    "event"
}

fn rows(schema: &Value, left_out: &[&str]) -> String {
    let fields = schema["properties"].as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| !left_out.contains(&name.as_str()));
    let row = |(name, field): (&String, &Value)| {
        format!("| `{name}` | {} | {} |\n", kind(field), prose(&field["description"]))
    };
    fields.map(row).collect()
}

/// What a field is, in words.
fn kind(field: &Value) -> String {
    if let Some(path) = field["$ref"].as_str() {
        return link(path);
    }
    if let Some(either) = field["anyOf"].as_array() {
        return either.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = field["oneOf"].as_array() {
        let words = words.iter().map(|word| format!("`{}`", word["const"].as_str().unwrap_or_default()));
        return words.collect::<Vec<_>>().join(", ");
    }
    let one = |kind: &str| match kind {
        "array" => format!("list of {}", self::kind(&field["items"])),
        "string" if field["format"] == "date-time" => "RFC 3339 time".to_owned(),
        kind => kind.to_owned(),
    };
    let kinds = match field["type"].as_array() {
        Some(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        None => vec![field["type"].as_str().expect("a field has a type")],
    };
    kinds.into_iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn link(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    format!("[{name}](#{})", name.to_lowercase())
}

/// A comment without rustdoc's own marks.
fn prose(text: &Value) -> String {
    let text = text.as_str().unwrap_or_default().replace('\n', " ");
    let text = text.replace("[`super::VERSION`].", "1; increases when a field changes its meaning or is removed.");
    text.replace("[`DECISIONS`]", &super::explain::DECISIONS.to_string()).replace('|', r"\|")
}

fn reference() -> String {
    let mut told = BTreeMap::new();
    [
        chapter::<Status>("conngate status", &mut told),
        chapter::<Explanation>("conngate explain", &mut told),
        chapter::<Event>("conngate events", &mut told),
        chapter::<Opened>("conngate open", &mut told),
        chapter::<Report>("conngate report", &mut told),
        chapter::<Checked>("conngate check", &mut told),
    ]
    .concat()
}

#[test]
fn json_reference_is_made_of_the_types() {
    crate::testing::assert_reference("docs/json.md", &reference());
}
