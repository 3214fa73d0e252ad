//! Rows from JSON Lines: `{"entity": …, "ip": …}` and the request forms of SageMaker.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::bad_rows::BadRow;
use super::blocks::{BLOCK, Blocks, Parsed};
use super::columns::{Columns, Role, no_such_column};
use super::intake::Intake;
use super::options::ReadOptions;
use super::row::{Fields, Place, Row, TimedEvent, check};
use super::source::MAX_LINE;
use super::stream::Stream;
use super::text::{Line, Text, find_line};
use crate::Result;
use crate::event::AddressFamilies;

/// Reads all rows of `stream` into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    read_in_blocks(stream, options, intake, BLOCK)
}

/// As [`read`], in blocks of `block_size` bytes where blocks are of use.
pub(super) fn read_in_blocks(
    stream: Stream,
    options: &ReadOptions,
    intake: &mut Intake<'_>,
    block_size: usize,
) -> Result<()> {
    let keys = Columns::of(options, [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))?;
    let name = stream.name().to_string();
    let mut text = Text::new(stream)?;
    let mut is_first = true;
    while let Some(line) = text.next_line()? {
        let json = trim(line.bytes);
        if json.is_empty() {
            continue;
        }
        if is_first {
            check_first(json, &keys, Place::Line(&name, line.number))?;
            is_first = false;
        }
        take(&line, &keys, &name, intake)?;
        if Blocks::are_of_use(&text, intake) {
            return take_blocks(text, block_size, &keys, options.addresses, &name, intake);
        }
    }
    Ok(())
}

/// Hands on all rows of `text`, which are parsed in blocks.
fn take_blocks(
    text: Text,
    block_size: usize,
    keys: &Columns<String>,
    families: AddressFamilies,
    name: &str,
    intake: &mut Intake<'_>,
) -> Result<()> {
    let mut number = text.line();
    let block_keys = keys.clone();
    let mut blocks = Blocks::read(text.into_stream(), block_size, move |text, at_end, parsed| {
        parse(text, at_end, &block_keys, families, parsed);
    })?;
    let mut take_odd =
        |bytes: &[u8], number, intake: &mut Intake<'_>| take(&Line { number, bytes }, keys, name, intake);
    while let Some(num_lines) = blocks.next(number, intake, &mut take_odd)? {
        number += num_lines;
        if blocks.is_between_blocks() {
            continue;
        }
        // A line that reaches into the next block is read as text, until the end of a line is that of a block.
        let mut text = Text::from_line(&mut blocks, number);
        while !text.is_between_blocks() {
            match text.next_line()? {
                Some(line) => take(&line, keys, name, intake)?,
                None => return Ok(()),
            }
        }
        number = text.line();
    }
    Ok(())
}

/// Parses the lines of a block, but the last where its end is not there.
pub(super) fn parse(
    text: &[u8],
    at_end: bool,
    keys: &Columns<String>,
    families: AddressFamilies,
    parsed: &mut Parsed,
) {
    while let Some((len, terminator)) = find_line(&text[parsed.num_bytes..], at_end) {
        // A line that is too long is left too: an error stops the reading there.
        if len + terminator == 0 || len >= MAX_LINE {
            return;
        }
        let json = trim(&text[parsed.num_bytes..][..len]);
        if !json.is_empty() {
            let object = serde_json::from_slice(json).ok();
            match object.and_then(|object| event_of(&object, keys, families)) {
                Some(event) => parsed.push(event),
                None if parsed.push_odd(len) => {}
                None => return,
            }
        }
        parsed.num_bytes += len + terminator;
        parsed.num_lines += 1;
    }
}

fn event_of(
    object: &Map<String, Value>,
    keys: &Columns<String>,
    families: AddressFamilies,
) -> Option<TimedEvent> {
    let [entity, ip] = fields_of(object, keys).ok()?;
    let texts = texts_of(entity, ip, object, keys).ok()?;
    check(texts.fields(), families).and_then(Row::to_event).ok()
}

/// Refuses a first row without the keys; no choice of [`super::options::OnBadRow`] can make sense of the rest.
fn check_first(json: &[u8], keys: &Columns<String>, place: Place<'_>) -> Result<()> {
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(json) else { return Ok(()) };
    let Err((role, key)) = fields_of(&object, keys) else { return Ok(()) };
    let valid: Vec<&str> = object.keys().map(String::as_str).collect();
    Err(no_such_column(role, key, &place.to_string(), &valid))
}

fn take(line: &Line<'_>, keys: &Columns<String>, name: &str, intake: &mut Intake<'_>) -> Result<()> {
    let place = Place::Line(name, line.number);
    let json = trim(line.bytes);
    if json.is_empty() {
        return Ok(());
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(json) else {
        return intake.bad(place, BadRow::NotJson, line.bytes);
    };
    let Ok([entity, ip]) = fields_of(&object, keys) else {
        return intake.bad(place, BadRow::MissingKey, line.bytes);
    };
    match texts_of(entity, ip, &object, keys) {
        Ok(texts) => intake.row(place, texts.fields(), line.bytes),
        Err(reason) => intake.bad(place, reason, line.bytes),
    }
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

/// The entity's and the address's values, or the key that is missing.
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

/// The fields of a row as text.
struct Texts<'a> {
    entity: Cow<'a, str>,
    ip: Cow<'a, str>,
    label: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
}

impl Texts<'_> {
    fn fields(&self) -> Fields<'_> {
        Fields {
            entity: self.entity.as_bytes(),
            ip: self.ip.as_bytes(),
            label: self.label.as_deref().map(str::as_bytes),
            kind: self.kind.as_deref().map(str::as_bytes),
            time: self.time.as_deref().map(str::as_bytes),
        }
    }
}

fn texts_of<'a>(
    entity: &'a Value,
    ip: &'a Value,
    object: &'a Map<String, Value>,
    keys: &Columns<String>,
) -> std::result::Result<Texts<'a>, BadRow> {
    let text = |value| match value {
        &Value::Null => Err(BadRow::MissingValue),
        value => text_of(value).ok_or(BadRow::NotText),
    };
    let (entity, ip) = (text(entity)?, text(ip)?);
    // No text is no label and no time either: the intake refuses it as a bad one. It may be no kind.
    let optional = |key: &Option<String>| {
        let value = object.get(key.as_ref()?).unwrap_or(&Value::Null);
        Some(match value {
            Value::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Value::Number(number) => Cow::Owned(number.to_string()),
            value => text_of(value).unwrap_or_default(),
        })
    };
    let (label, kind, time) = (optional(&keys.label), optional(&keys.kind), optional(&keys.time));
    Ok(Texts { entity, ip, label, kind, time })
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
