//! Rows from JSON Lines: `{"entity": …, "ip": …}` and the request forms of SageMaker.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::ReadOptions;
use super::bad_rows::BadRow;
use super::columns::{Columns, Role, no_such_column};
use super::intake::{Intake, Place};
use super::stream::Stream;
use super::text::Text;
use crate::Result;

/// Reads all rows of `stream` into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    let keys = Columns::of(options, [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))?;
    let name = stream.name().to_string();
    let mut text = Text::new(stream)?;
    let mut is_first = true;
    while let Some(line) = text.next_line()? {
        let json = trim(line.bytes);
        if json.is_empty() {
            continue;
        }
        let place = Place::Line(&name, line.number);
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(json) else {
            intake.bad(place, BadRow::NotJson, line.bytes)?;
            is_first = false;
            continue;
        };
        match fields_of(&object, &keys) {
            Ok([entity, ip]) => {
                let label = keys.label.as_ref().map(|key| object.get(key).unwrap_or(&Value::Null));
                read_fields(entity, ip, label, place, line.bytes, intake)?;
            }
            Err((role, key)) if is_first => {
                let valid: Vec<&str> = object.keys().map(String::as_str).collect();
                return Err(no_such_column(role, key, &place.to_string(), &valid));
            }
            Err(_) => intake.bad(place, BadRow::MissingKey, line.bytes)?,
        }
        is_first = false;
    }
    Ok(())
}

/// Removes white space and what the documentation's sample has behind its objects: a comma, a bracket.
fn trim(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii();
    let is_stray = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']');
    match line.iter().rposition(|byte| !is_stray(byte)) {
        Some(last) if line[last] == b'}' => &line[..=last],
        Some(_) => line,
        None => &[],
    }
}

/// The entity's and the IPv4 address's values, or the key that is missing.
fn fields_of<'a>(
    object: &'a Map<String, Value>,
    keys: &'a Columns<String>,
) -> std::result::Result<[&'a Value; 2], (Role, &'a str)> {
    match (object.get(&keys.entity), object.get(&keys.ip)) {
        (Some(entity), Some(ip)) => return Ok([entity, ip]),
        (Some(_), None) => return Err((Role::Ip, &keys.ip)),
        (None, _) => {}
    }
    let features = object.get("features").or_else(|| object.get("data")?.get("features"));
    let values = match features {
        Some(Value::Object(features)) => features.get("values"),
        features => features,
    };
    match values {
        Some(Value::Array(values)) if values.len() >= 2 => Ok([&values[0], &values[1]]),
        _ => Err((Role::Entity, &keys.entity)),
    }
}

fn read_fields(
    entity: &Value,
    ip: &Value,
    label: Option<&Value>,
    place: Place<'_>,
    raw: &[u8],
    intake: &mut Intake<'_>,
) -> Result<()> {
    let text = |value| match value {
        &Value::Null => Err(BadRow::MissingValue),
        value => text_of(value).ok_or(BadRow::NotText),
    };
    let (entity, ip) = match (text(entity), text(ip)) {
        (Ok(entity), Ok(ip)) => (entity, ip),
        (Err(reason), _) | (_, Err(reason)) => return intake.bad(place, reason, raw),
    };
    let label = match label {
        Some(Value::Bool(label)) => Some(Cow::Borrowed(if *label { "true" } else { "false" })),
        // No text is no label either: the intake refuses it as a bad one.
        Some(label) => Some(text_of(label).unwrap_or_default()),
        None => None,
    };
    let label = label.as_ref().map(|label| label.as_bytes());
    intake.row(place, entity.as_bytes(), ip.as_bytes(), label, raw)
}

fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        // Other numbers have lost digits by now, and two entities could become one.
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stray_ends_of_the_documented_sample_are_trimmed() {
        let cases = [
            ("{}", "{}"),
            (" {} \t", "{}"),
            ("{},", "{}"),
            ("{}]", "{}"),
            ("{} , ] ", "{}"),
            ("]", ""),
            (",", ""),
            (" ", ""),
            ("[1]", "[1]"),
        ];
        for (line, trimmed) in cases {
            assert_eq!(trim(line.as_bytes()), trimmed.as_bytes(), "{line:?}");
        }
    }
}
