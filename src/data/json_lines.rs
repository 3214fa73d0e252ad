//! Rows from JSON Lines: `{"entity": …, "ip": …}` and the request forms of SageMaker.

use std::borrow::Cow;

use serde_json::Value;

use super::json_path::find_dotted;

use super::bad_rows::BadRow;
use super::blocks::{BLOCK, Blocks, Parsed};
use super::columns::{Columns, Role, index_of, no_such_column};
use super::intake::Intake;
use super::options::ReadOptions;
use super::row::{Fields, Place, Row, RowRules, TimedEvent, check};
use super::source::MAX_LINE;
use super::stream::Stream;
use super::text::{Line, Text, find_line};
use crate::Result;

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
    let mut keys = Columns::of(options, [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))?;
    let name = stream.name().to_string();
    let mut text = Text::new(stream)?;
    let mut is_first = true;
    while let Some(line) = text.next_line()? {
        let json = trim(line.bytes);
        if json.is_empty() {
            continue;
        }
        if is_first {
            keys = keys_in(json, &keys, Place::Line(&name, line.number), intake)?;
            is_first = false;
        }
        take(&line, &keys, &name, intake)?;
        if Blocks::are_of_use(&text, intake) {
            return take_blocks(text, block_size, &keys, RowRules::of(options), &name, intake);
        }
    }
    Ok(())
}

/// Hands on all rows of `text`, which are parsed in blocks.
fn take_blocks(
    text: Text,
    block_size: usize,
    keys: &Columns<String>,
    rules: RowRules,
    name: &str,
    intake: &mut Intake<'_>,
) -> Result<()> {
    let mut number = text.line();
    let block_keys = keys.clone();
    let mut blocks = Blocks::read(text.into_stream(), block_size, move |text, at_end, parsed| {
        parse(text, at_end, &block_keys, rules, parsed);
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
pub(super) fn parse(text: &[u8], at_end: bool, keys: &Columns<String>, rules: RowRules, parsed: &mut Parsed) {
    while let Some((len, terminator)) = find_line(&text[parsed.num_bytes..], at_end) {
        // A line that is too long is left too: an error stops the reading there.
        if len + terminator == 0 || len >= MAX_LINE {
            return;
        }
        let json = trim(&text[parsed.num_bytes..][..len]);
        if !json.is_empty() {
            let object = serde_json::from_slice(json).ok();
            match object.and_then(|object| event_of(&object, keys, rules)) {
                Some(event) if parsed.push(event) => {}
                _ if parsed.push_odd(len) => {}
                _ => return,
            }
        }
        parsed.num_bytes += len + terminator;
        parsed.num_lines += 1;
    }
}

fn event_of(object: &Value, keys: &Columns<String>, rules: RowRules) -> Option<TimedEvent> {
    let [entity, ip] = fields_of(object, keys).ok()?;
    let texts = texts_of(entity, ip, object, keys).ok()?;
    check(texts.fields(), rules).and_then(Row::to_event).ok()
}

/// The keys as the first row has them. One without them is refused; no choice of [`super::options::OnBadRow`] can make
/// sense of the rest.
fn keys_in(
    json: &[u8],
    keys: &Columns<String>,
    place: Place<'_>,
    intake: &mut Intake<'_>,
) -> Result<Columns<String>> {
    let Ok(object @ Value::Object(_)) = serde_json::from_slice::<Value>(json) else {
        return Ok(keys.clone());
    };
    if features_of(&object).is_some() {
        return Ok(keys.clone());
    }
    let names: Vec<&str> = object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.try_map(|role, wanted| {
        if find_dotted(&object, wanted).is_some() {
            return Ok(wanted.clone());
        }
        match index_of(wanted, names.iter().copied(), &mut |note| intake.note(note)) {
            Some(index) => Ok(names[index].to_string()),
            None if matches!(role, Role::Entity | Role::Ip) => {
                Err(no_such_column(role, wanted, &place.to_string(), &names))
            }
            None => Ok(wanted.clone()),
        }
    })
}

fn take(line: &Line<'_>, keys: &Columns<String>, name: &str, intake: &mut Intake<'_>) -> Result<()> {
    let place = Place::Line(name, line.number);
    let json = trim(line.bytes);
    if json.is_empty() {
        return Ok(());
    }
    // One byte that is not UTF-8 in a field that nobody asked for hides no row; in one that was asked for it shows.
    let text = String::from_utf8_lossy(json);
    let Ok(object @ Value::Object(_)) = serde_json::from_str::<Value>(&text) else {
        return intake.bad(place, BadRow::NotJson, line.bytes);
    };
    let Ok([entity, ip]) = fields_of(&object, keys) else {
        return intake.bad(place, BadRow::MissingKey, line.bytes);
    };
    match texts_of(entity, ip, &object, keys) {
        Ok(texts) if matches!(text, Cow::Owned(_)) && texts.have_replaced() => {
            intake.bad(place, BadRow::NotUtf8, line.bytes)
        }
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
    object: &'a Value,
    keys: &'a Columns<String>,
) -> std::result::Result<[&'a Value; 2], (Role, &'a str)> {
    match (find_dotted(object, &keys.entity), find_dotted(object, &keys.ip)) {
        (Some(entity), Some(ip)) => return Ok([entity, ip]),
        (Some(_), None) => return Err((Role::Ip, &keys.ip)),
        (None, _) => {}
    }
    features_of(object).ok_or((Role::Entity, &keys.entity))
}

/// The entity's and the address's values in a record of SageMaker's.
fn features_of(object: &Value) -> Option<[&Value; 2]> {
    let features = object.get("features").or_else(|| object.get("data")?.get("features"));
    let values = match features? {
        Value::Object(features) => features.get("values")?,
        features => features,
    };
    match values {
        Value::Array(values) if values.len() >= 2 => Some([&values[0], &values[1]]),
        _ => None,
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
    /// Whether one of them has the character that stands for bytes that are not UTF-8.
    fn have_replaced(&self) -> bool {
        let optional = [&self.label, &self.kind, &self.time].into_iter().flatten();
        [&self.entity, &self.ip].into_iter().chain(optional).any(|text| text.contains('\u{FFFD}'))
    }

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
    object: &'a Value,
    keys: &Columns<String>,
) -> std::result::Result<Texts<'a>, BadRow> {
    let text = |value| match value {
        &Value::Null => Err(BadRow::MissingValue),
        Value::Number(number) if number.is_f64() => Err(BadRow::FloatingPoint),
        value => text_of(value).ok_or(BadRow::NotText),
    };
    let (entity, ip) = (text(entity)?, text(ip)?);
    // No text is no label and no time either: the intake refuses it as a bad one. It may be no kind.
    let optional = |key: &Option<String>| {
        let value = find_dotted(object, key.as_ref()?).unwrap_or(&Value::Null);
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
