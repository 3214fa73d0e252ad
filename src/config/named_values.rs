//! Configurations from names without sections and values as text, which is all that some job systems pass on.

use std::collections::BTreeMap;

use serde_json::Value as Schema;
use toml::{Table, Value};

use super::check::{self, Problem, type_of};
use super::{Config, suggest};
use crate::{Error, Result};

/// Keys of [data] that say how events are read; where they are, such a system says otherwise.
const DATA_KEYS: [&str; 7] = [
    "entity_column",
    "ip_column",
    "time_column",
    "keep_nobody",
    "csv_escape",
    "on_bad_row",
    "max_bad_fraction",
];

impl Config {
    /// Lays values, by their keys without sections, over the defaults. Numbers and text are told apart by what
    /// the key takes. `source` is named in errors.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] at `source: key` for keys that there are not, with the nearest that there is, and for values of
    /// another type or out of range; every problem that was found is in the one error.
    pub fn from_named_values(source: &str, values: &BTreeMap<String, String>) -> Result<Config> {
        let schema = Self::json_schema();
        let keys = keys(&schema);
        let mut table = Table::new();
        let mut problems = Vec::new();
        for (key, text) in values {
            let Some((section, of_key)) = keys.get(key.as_str()) else {
                let names: Vec<&str> = keys.keys().copied().collect();
                let what = format!("unknown hyperparameter `{key}`");
                problems.push(Problem::new(&[key], what, suggest(key, "names", &names)));
                continue;
            };
            let in_section = table.entry(*section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(in_section) = in_section {
                in_section.insert(key.clone(), value(of_key, text));
            }
        }
        problems.extend(check::check(&schema, &table));
        let config = match problems.is_empty() {
            true => {
                let config = Self::of_table(table).map_err(|error| {
                    Error::config(source, error.message(), "compare with `ipsight config schema`")
                })?;
                problems = config.rule_problems();
                config
            }
            false => Config::default(),
        };
        if problems.is_empty() {
            return Ok(config);
        }
        Err(check::join(problems.into_iter().map(|problem| {
            let key = problem.path().rsplit('.').next().unwrap_or_default();
            (format!("{source}: {key}"), problem)
        })))
    }
}

/// Every key with its section and its schema.
fn keys(schema: &Schema) -> BTreeMap<&str, (&str, &Schema)> {
    let mut keys = BTreeMap::new();
    for (section, of_section) in schema["properties"].as_object().into_iter().flatten() {
        for (key, of_key) in of_section["properties"].as_object().into_iter().flatten() {
            if section != "data" || DATA_KEYS.contains(&key.as_str()) {
                keys.insert(key.as_str(), (section.as_str(), check::not_null(of_key)));
            }
        }
    }
    keys
}

/// The value that a text stands for where the key takes such; else the text, which the check refuses by its type.
fn value(schema: &Schema, text: &str) -> Value {
    // Some clients write every value as JSON, text in quotes within the text.
    let unwrapped = serde_json::from_str::<String>(text.trim()).ok();
    let trimmed = unwrapped.as_deref().unwrap_or(text).trim();
    let value = match type_of(schema) {
        "integer" => integer(trimmed).map(Value::Integer),
        "number" => trimmed.parse().ok().map(Value::Float),
        "boolean" if trimmed.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
        "boolean" if trimmed.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
        _ => unwrapped.clone().map(Value::String),
    };
    value.unwrap_or_else(|| Value::String(text.into()))
}

/// A whole number, also as programs write one that they have as floating-point: `60.0`, `1e3`.
fn integer(text: &str) -> Option<i64> {
    /// Beyond it floating-point numbers pass over whole ones.
    const MAX: f64 = (1_u64 << 53) as f64;
    let float = || text.parse::<f64>().ok().filter(|float| float.fract() == 0.0 && float.abs() <= MAX);
    text.parse().ok().or_else(|| float().map(|float| float as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Hyperparameters, LearningRateSchedule};

    fn config(values: &[(&str, &str)]) -> Result<Config> {
        let values = values.iter().map(|(key, text)| (key.to_string(), text.to_string()));
        Config::from_named_values("hyperparameters.json", &values.collect())
    }

    fn refusal(values: &[(&str, &str)]) -> (String, String) {
        let error = config(values).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        (error.to_string(), error.help().unwrap())
    }

    #[test]
    fn nothing_is_the_defaults_and_every_type_is_read() {
        assert_eq!(config(&[]).unwrap(), Config::default());
        let config = config(&[
            ("epochs", "3"),
            ("learning_rate", "1e-05"),
            ("weight_decay", "0"),
            ("learning_rate_schedule", "linear"),
            ("seed", " 7 "),
            ("checkpoint_interval", "\"10 steps\""),
            ("entity_column", "3"),
        ])
        .unwrap();
        let expected = Hyperparameters {
            epochs: 3,
            learning_rate: 1e-5,
            weight_decay: 0.0,
            ..Hyperparameters::default()
        };
        assert_eq!(config.hyperparameters, expected);
        assert_eq!(config.training.learning_rate_schedule, LearningRateSchedule::Linear);
        assert_eq!(config.training.seed, 7);
        assert_eq!(config.training.checkpoint_interval, "10 steps");
        assert_eq!(config.data.entity_column.as_deref(), Some("3"));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_right() {
        for (key, text, what, help) in [
            ("vector_dim", "3", "vector_dim = 3 is out of range", "allowed: 4..=4096"),
            ("epochs", "three", "epochs = \"three\" is a string, expected an integer", "allowed: 1 or more"),
            ("epochs", "3.5", "expected an integer", "allowed: 1 or more"),
            ("learning_rate", "nan", "learning_rate = nan is out of range", "allowed: 1e-6..=10"),
            ("learning_rate_schedule", "line", "not a valid value", "constant, linear"),
            ("epoch", "3", "unknown hyperparameter `epoch`", "did you mean `epochs`?"),
            (
                "train",
                "/data",
                "unknown hyperparameter `train`",
                "valid names: addresses, batch_metrics_publish_interval,",
            ),
            ("checkpoint_interval", "5 hours", "not a valid value", "15 minutes"),
        ] {
            let (error, found_help) = refusal(&[(key, text)]);
            assert!(error.starts_with(&format!("hyperparameters.json: {key}: ")), "{error}");
            assert!(error.contains(what) && found_help.contains(help), "{error}: {found_help}");
        }
        let negatives = [("random_negative_sampling_rate", "0"), ("shuffled_negative_sampling_rate", "0")];
        assert_eq!(refusal(&negatives).1, "allowed: 1..=500");
        let (error, _) = refusal(&[("epoch", "1"), ("vector_dim", "1")]);
        assert_eq!(error.lines().count(), 2, "{error}");
    }
}
