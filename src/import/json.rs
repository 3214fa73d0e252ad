//! Any JSON whose objects have an entity, an address and perhaps a time.
//!
//! A path is a JSON Pointer (RFC 6901, `/user/name`) or has dots (`user.name`, `names.0`). With dots a key may have
//! dots itself: the longest key that is there counts first, so `source.ip` is the key `source.ip` or `ip` in `source`; and a
//! path leads into JSON that stands as text in a field.

use std::borrow::Cow;

use serde_json::Value;

use super::filter::Filter;
use super::login::{Login, Skip, address};
use super::options::ImportOptions;
use super::parser::Parser;
use super::records::{Records, WRAPPERS};
use crate::Result;
use crate::data::{Time, find_dotted, shown_names, unix_seconds};
use crate::{At, Error};

pub(super) struct Json {
    entity: Vec<Path>,
    ip: Path,
    time: Path,
    /// Whether an object without a time is bad; else it has none.
    needs_time: bool,
    filters: Vec<(Path, Filter)>,
}

impl Json {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        let path = |option: &'static str, path: &Option<String>, default: &str| {
            Path::new(option, path.as_deref().unwrap_or(default))
        };
        Ok(Json {
            entity: paths(&options.entity, &["entity"])?,
            ip: path("ip", &options.ip, "ip")?,
            time: path("time", &options.time, "time")?,
            needs_time: options.time.is_some(),
            filters: filters_of(options)?,
        })
    }
}

impl Parser for Json {
    fn records(&mut self, _: &[u8]) -> Records {
        let paths = self.entity.iter().chain([&self.ip, &self.time]);
        Records::objects(paths.map(Path::first_key).collect())
    }

    fn parse<'a>(&mut self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let object = object_of(record)?;
        check_filters(&object, &self.filters)?;
        let entity = first_text(&object, &self.entity)?;
        let text = self.ip.find(&object).ok_or(Skip::NoAddress)?;
        let address = address(text.as_str().ok_or(Skip::NoAddress)?.as_bytes())?;
        let seconds = self.time.find(&object).and_then(|time| time_of(&time));
        if seconds.is_none() && self.needs_time {
            return Err(Skip::BadTime);
        }
        Ok(Login { entity: Cow::Owned(entity.into_bytes()), address, seconds, num_times: 1 })
    }

    fn culprit<'a>(&self, record: &'a [u8], skip: Skip) -> Option<Cow<'a, [u8]>> {
        let object = object_of(record).ok()?;
        let path = match skip {
            Skip::BadTime => &self.time,
            Skip::NotAddress => &self.ip,
            Skip::FloatingPoint => self.entity.iter().find(|path| path.find(&object).is_some())?,
            _ => return None,
        };
        path.find(&object).map(|value| Cow::Owned(text_of(&value).into_bytes()))
    }
}

/// Whether every filter admits what stands at its path.
pub(super) fn check_filters(object: &Value, filters: &[(Path, Filter)]) -> std::result::Result<(), Skip> {
    let admits = |(path, filter): &(Path, Filter)| {
        let text = path.find(object).map(|value| text_of(&value)).unwrap_or_default();
        filter.admits(text.as_bytes())
    };
    if filters.iter().all(admits) { Ok(()) } else { Err(Skip::Filtered) }
}

/// The filters by the paths of their fields.
pub(super) fn filters_of(options: &ImportOptions) -> Result<Vec<(Path, Filter)>> {
    options.filters.iter().map(|filter| Ok((Path::new("where", &filter.field)?, filter.clone()))).collect()
}

/// A value as text: of text itself, and nothing for null.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The object of a record.
pub(super) fn object_of(record: &[u8]) -> std::result::Result<Value, Skip> {
    // One byte that is not UTF-8 in a field that nobody asked for hides no record; where one was asked for, its place is
    // taken by a character that no address, no time and hardly a name has.
    let text = String::from_utf8_lossy(record);
    match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        _ => Err(Skip::NoMatch),
    }
}

/// The paths of the entity, or the defaults.
pub(super) fn paths(given: &[String], defaults: &[&str]) -> Result<Vec<Path>> {
    match given {
        [] => defaults.iter().map(|path| Path::new("entity", path)).collect(),
        given => given.iter().map(|path| Path::new("entity", path)).collect(),
    }
}

/// The first text, or whole number, that one of `paths` leads to and that is not empty.
pub(super) fn first_text(object: &Value, paths: &[Path]) -> std::result::Result<String, Skip> {
    let mut skip = Skip::NoEntity;
    for path in paths {
        match path.find(object).as_deref() {
            // It stands for bytes that are no text: two entities could become one.
            Some(Value::String(text)) if text.contains('\u{FFFD}') => skip = Skip::NotUtf8,
            Some(Value::String(text)) if !text.is_empty() => return Ok(text.clone()),
            // Other numbers have lost digits by now, and two entities could become one.
            Some(Value::Number(number)) if number.is_f64() => skip = Skip::FloatingPoint,
            Some(Value::Number(number)) => return Ok(number.to_string()),
            _ => {}
        }
    }
    Err(skip)
}

/// Seconds of a time as text, or as a number of seconds, milli-, micro- or nanoseconds.
pub(super) fn time_of(time: &Value) -> Option<i64> {
    match time {
        Value::String(text) => unix_seconds(text.trim().as_bytes()),
        Value::Number(number) => {
            let time = Time::parse(number.to_string().as_bytes())?;
            (time.unit.is_some() || time.seconds == 0).then_some(time.seconds)
        }
        _ => None,
    }
}

/// The way to a value.
#[derive(Clone, Debug)]
pub(super) enum Path {
    Pointer(String),
    Dotted(String),
}

impl Path {
    pub(super) fn new(option: &'static str, text: &str) -> Result<Self> {
        if text.is_empty() {
            let help = "give a path such as user.name or /user/name";
            return Err(Error::config(At::option(option), "the path is empty", help));
        }
        let mut keys = text.trim_start_matches('/').split(['.', '/']);
        if let (Some(first), Some(second)) = (keys.next(), keys.next())
            && WRAPPERS.contains(&first)
            && !second.is_empty()
            && second.bytes().all(|byte| byte.is_ascii_digit())
        {
            let what = format!("`{text}` is one element of the list `{first}`, whose elements are records");
            return Err(Error::config(At::option(option), what, "give the path in the element"));
        }
        let text = text.to_string();
        Ok(if text.starts_with('/') { Path::Pointer(text) } else { Path::Dotted(text) })
    }

    /// The key with which the path begins.
    fn first_key(&self) -> String {
        let (Path::Pointer(text) | Path::Dotted(text)) = self;
        text.trim_start_matches('/').split(['.', '/']).next().unwrap_or_default().to_string()
    }

    /// The value at the path, also in JSON that stands as text in a field.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<Cow<'a, Value>> {
        match self {
            Path::Pointer(pointer) => value.pointer(pointer).map(Cow::Borrowed),
            Path::Dotted(path) => match find_dotted(value, path) {
                Some(found) => Some(Cow::Borrowed(found)),
                None => find_in_text(value, path).map(Cow::Owned),
            },
        }
    }
}

/// The value at a path that leads into a text which is an object itself.
fn find_in_text(value: &Value, path: &str) -> Option<Value> {
    path.match_indices('.').find_map(|(dot, _)| {
        let Value::String(text) = find_dotted(value, &path[..dot])? else { return None };
        let inner: Value = serde_json::from_str(text.trim().strip_prefix('{').map(|_| text)?).ok()?;
        find_dotted(&inner, &path[dot + 1..]).cloned()
    })
}

/// The keys of the first object in `sample` in words for a help text; empty where there is none.
pub(super) fn keys_of_first(sample: &[u8]) -> String {
    let mut keys = String::new();
    let mut on_record = |record: std::result::Result<&[u8], Skip>| {
        if let (true, Ok(Ok(Value::Object(object)))) = (keys.is_empty(), record.map(object_of)) {
            keys = format!("; the first object has {}", shown_names(object.keys().map(String::as_str)));
        }
        Ok(())
    };
    // The closure gives no error.
    let _ = Records::objects(Vec::new()).feed(sample, &mut on_record);
    keys
}
