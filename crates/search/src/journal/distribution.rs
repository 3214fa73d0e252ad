//! Domains and choices as Optuna has them: `optuna/distributions.py` of Optuna 5.0.

use serde_json::Value;

use crate::space::{Choice, Domain};

use super::json;

/// A domain as the JSON of Optuna's distribution. What Optuna has no choices for (arrays, tables, times) is its text.
pub(super) fn distribution(domain: &Domain) -> String {
    let float = |low, high, log| {
        let (low, high) = (json::number(low), json::number(high));
        attributes("Float", &format!(r#""step": null, "low": {low}, "high": {high}, "log": {log}"#))
    };
    let int = |low, high, log| {
        attributes("Int", &format!(r#""log": {log}, "step": 1, "low": {low}, "high": {high}"#))
    };
    match *domain {
        Domain::Values(ref values) => {
            let choices: Vec<String> = values.iter().map(categorical_choice).collect();
            attributes("Categorical", &format!(r#""choices": [{}]"#, choices.join(", ")))
        }
        Domain::Uniform { low, high } => float(low, high, false),
        Domain::LogUniform { low, high } => float(low, high, true),
        Domain::Int { low, high } => int(low, high, false),
        Domain::LogInt { low, high } => int(low, high, true),
    }
}

/// What a trial takes, in Optuna's internal form: a categorical choice is its position.
pub(super) fn internal(choice: Choice) -> String {
    match choice {
        Choice::Index(index) => index.to_string(),
        Choice::Float(value) => json::number(value),
        Choice::Int(value) => value.to_string(),
    }
}

/// What [`internal`] wrote, where the domain has it.
pub(super) fn choice(domain: &Domain, value: &Value) -> Option<Choice> {
    match *domain {
        Domain::Values(ref values) => {
            let index = usize::try_from(value.as_u64()?).ok()?;
            (index < values.len()).then_some(Choice::Index(index))
        }
        Domain::Uniform { low, high } | Domain::LogUniform { low, high } => {
            json::as_f64(value).filter(|value| (low..=high).contains(value)).map(Choice::Float)
        }
        Domain::Int { low, high } | Domain::LogInt { low, high } => {
            value.as_i64().filter(|value| (low..=high).contains(value)).map(Choice::Int)
        }
    }
}

/// What a trial takes where Optuna has it as a value itself, where the domain has it.
pub(super) fn external_choice(domain: &Domain, value: &Value) -> Option<Choice> {
    let is_same = |choice: &toml::Value| {
        let Ok(choice) = json::read(&categorical_choice(choice)) else { return false };
        match (json::as_f64(&choice), json::as_f64(value)) {
            (Some(choice), Some(value)) => choice == value,
            _ => choice == *value,
        }
    };
    match domain {
        Domain::Values(values) => values.iter().position(is_same).map(Choice::Index),
        Domain::Uniform { .. } | Domain::LogUniform { .. } => choice(domain, value),
        Domain::Int { .. } | Domain::LogInt { .. } => {
            let whole = json::as_f64(value).filter(|value| value.fract() == 0.0 && value.abs() < 9e15);
            choice(domain, value).or_else(|| choice(domain, &Value::from(whole? as i64)))
        }
    }
}

/// The values of a domain, for messages.
pub(super) fn described(domain: &Domain) -> String {
    match domain {
        Domain::Values(values) => {
            let values: Vec<String> = values.iter().map(categorical_choice).collect();
            format!("one of {}", values.join(", "))
        }
        Domain::Uniform { low, high } | Domain::LogUniform { low, high } => format!("from {low} to {high}"),
        Domain::Int { low, high } | Domain::LogInt { low, high } => {
            format!("a whole number from {low} to {high}")
        }
    }
}

fn attributes(kind: &str, attributes: &str) -> String {
    format!(r#"{{"name": "{kind}Distribution", "attributes": {{{attributes}}}}}"#)
}

fn categorical_choice(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => json::string(text),
        toml::Value::Integer(value) => value.to_string(),
        toml::Value::Float(value) => json::number(*value),
        toml::Value::Boolean(value) => value.to_string(),
        other => json::string(&other.to_string()),
    }
}
