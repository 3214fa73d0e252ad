//! Checks a TOML table against the configuration's JSON Schema: keys, types and ranges.

use serde_json::Value as Schema;
use toml::{Table, Value};

use super::suggest::suggest;
use crate::Error;

/// Something wrong with the value of a key, or with the values of several keys together.
pub(crate) struct Problem {
    /// Key paths (`section.key`), at least one.
    pub(crate) paths: Vec<String>,
    what: String,
    help: String,
}

impl Problem {
    pub(crate) fn new(paths: &[&str], what: impl Into<String>, help: impl Into<String>) -> Self {
        let paths = paths.iter().map(ToString::to_string).collect();
        Problem { paths, what: what.into(), help: help.into() }
    }

    /// The same problem, of another key.
    pub(crate) fn of(self, path: &str) -> Self {
        Problem { paths: vec![path.into()], ..self }
    }

    /// The first of the paths.
    pub(crate) fn path(&self) -> &str {
        self.paths.first().map_or("", String::as_str)
    }
}

/// Everything in `table` that `schema`, the schema of a struct, does not allow.
pub(crate) fn check(schema: &Schema, table: &Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_table(schema, schema, "", table, &mut problems);
    problems
}

/// One error out of problems with their places; there must be at least one.
pub(crate) fn join(located: impl Iterator<Item = (String, Problem)>) -> Error {
    let mut first_at = String::new();
    let (mut what, mut help) = (String::new(), Vec::new());
    for (at, problem) in located {
        if first_at.is_empty() {
            first_at = at;
            what = problem.what;
        } else {
            what += &format!("\n{at}: {}", problem.what);
        }
        if !help.contains(&problem.help) {
            help.push(problem.help);
        }
    }
    Error::config(first_at, what, help.join("\n"))
}

/// The key path of `key` in the table at `parent`; the root's path is empty.
pub(crate) fn child(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_string() } else { format!("{parent}.{key}") }
}

fn check_table(root: &Schema, schema: &Schema, parent: &str, table: &Table, problems: &mut Vec<Problem>) {
    // The schema of a map's values; `true` allows anything.
    let of_others = schema.get("additionalProperties").filter(|schema| schema.is_object());
    for (key, value) in table {
        let path = child(parent, key);
        match schema["properties"].get(key).or(of_others) {
            Some(of_key) => check_value(root, not_null(of_key), &path, value, problems),
            None => problems.push(unknown(root, schema, &path, key, value)),
        }
    }
}

fn unknown(root: &Schema, schema: &Schema, path: &str, key: &str, value: &Value) -> Problem {
    let names = property_names(schema);
    let kind = if value.is_table() { "table" } else { "key" };
    let what = format!("unknown {kind} `{key}`");
    // A right key in the wrong table is a commoner slip than a name that is merely similar.
    let home = property_names(root).into_iter().find(|section| {
        let section = &root["properties"][*section];
        section != schema && section["properties"].get(key).is_some()
    });
    let help = match home {
        Some(section) => format!("`{key}` belongs in [{section}]; valid here: {}", names.join(", ")),
        None => suggest(key, if schema == root { "tables" } else { "keys" }, &names),
    };
    Problem::new(&[path], what, help)
}

fn check_value(root: &Schema, schema: &Schema, path: &str, value: &Value, problems: &mut Vec<Problem>) {
    let key = path.rsplit('.').next().unwrap_or(path);
    let shown = match value {
        Value::Table(_) | Value::Array(_) => key.to_string(),
        scalar => format!("{key} = {scalar}"),
    };
    let has_keys = schema.get("properties").is_some() || schema["additionalProperties"].is_object();
    if let (true, Value::Table(table)) = (has_keys, value) {
        return check_table(root, schema, path, table, problems);
    }
    let problem = if !has_type(schema, value) {
        let found = type_name(value);
        let what = format!("{shown} is {found}, expected {}", expected(schema));
        (what, range(schema).or_else(|| choices_help(schema, "")).unwrap_or_else(|| example(schema)))
    } else if let Some(number) = as_f64(value)
        && !in_range(schema, number)
    {
        (format!("{shown} is out of range"), range(schema).unwrap_or_default())
    } else if let Some(text) = value.as_str()
        && let Some(help) = choices_help(schema, text)
    {
        (format!("{shown} is not a valid value"), help)
    } else {
        return;
    };
    problems.push(Problem::new(&[path], problem.0, problem.1));
}

/// The schema of `T` in that of `Option<T>`.
pub(crate) fn not_null(schema: &Schema) -> &Schema {
    let options = schema["anyOf"].as_array();
    options.and_then(|options| options.iter().find(|option| option["type"] != "null")).unwrap_or(schema)
}

fn property_names(schema: &Schema) -> Vec<&str> {
    schema["properties"].as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The schema's type; an enum's is that of its names, an option's that of what it may hold.
pub(crate) fn type_of(schema: &Schema) -> &str {
    match &schema["type"] {
        Schema::String(name) => name,
        Schema::Array(names) => {
            names.iter().filter_map(Schema::as_str).find(|name| *name != "null").unwrap_or("")
        }
        _ if schema.get("oneOf").is_some() => "string",
        _ => "",
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    match type_of(schema) {
        "integer" => value.is_integer(),
        // `learning_rate = 1` means 1.0.
        "number" => value.is_integer() || value.is_float(),
        "string" => value.is_str(),
        "boolean" => value.is_bool(),
        "object" => value.is_table(),
        "array" => {
            value.as_array().is_some_and(|items| items.iter().all(|item| has_type(&schema["items"], item)))
        }
        _ => false,
    }
}

fn expected(schema: &Schema) -> &'static str {
    match type_of(schema) {
        "integer" => "an integer",
        "number" => "a number",
        "string" => "a string",
        "boolean" => "true or false",
        "array" => "an array of strings",
        _ => "a table",
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date-time",
        Value::Array(items) if items.iter().all(Value::is_str) => "an array",
        Value::Array(_) => "an array of something else",
        Value::Table(_) => "a table",
    }
}

fn example(schema: &Schema) -> String {
    match type_of(schema) {
        "string" => "write \"text\", with the quotes",
        "array" => "write [\"a\", \"b\"]",
        "boolean" => "write true or false",
        _ => "write the keys of the table below its [header]",
    }
    .to_string()
}

fn as_f64(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|integer| integer as f64))
}

fn in_range(schema: &Schema, number: f64) -> bool {
    let bound = |name: &str| schema[name].as_f64();
    // NaN is in no range.
    bound("minimum").is_none_or(|min| number >= min) && bound("maximum").is_none_or(|max| number <= max)
}

/// "allowed: 1..=10", if the schema has a range.
fn range(schema: &Schema) -> Option<String> {
    let bound = |name: &str| {
        let text = schema.get(name)?.to_string();
        Some(text.strip_suffix(".0").map_or(text.clone(), str::to_string))
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(min), Some(max)) => Some(format!("allowed: {min}..={max}")),
        (Some(min), None) => Some(format!("allowed: {min} or more")),
        _ => None,
    }
}

/// What is allowed instead of `text`, if the schema is an enum's and `text` is none of its names.
fn choices_help(schema: &Schema, text: &str) -> Option<String> {
    let options = schema["oneOf"].as_array()?;
    let names: Vec<&str> = options.iter().filter_map(|option| option["const"].as_str()).collect();
    // No nearest name here: of so few, the one that looks like `cpu` is `wgpu`.
    (!names.contains(&text)).then(|| format!("valid values: {}", names.join(", ")))
}
