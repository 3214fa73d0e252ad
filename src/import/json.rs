//! Any JSON whose objects have an entity, an address and perhaps a time.
//!
//! A path is a JSON Pointer (RFC 6901, `/user/name`) or has dots (`user.name`, `records.0.ip`). With dots a key may have
//! dots itself: the longest key that is there counts first, so `source.ip` is the key `source.ip` or `ip` in `source`.

use std::borrow::Cow;

use serde_json::Value;

use super::login::{Login, Skip, address};
use super::options::ImportOptions;
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::{shown_names, unix_seconds};
use crate::{At, Error};

pub(super) struct Json {
    entity: Vec<Path>,
    ip: Path,
    time: Path,
    /// Whether an object without a time is bad; else it has none.
    needs_time: bool,
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
        })
    }
}

impl Parser for Json {
    fn records(&self) -> Records {
        Records::objects()
    }

    fn parse<'a>(&self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let object = object_of(record)?;
        let entity = first_text(&object, &self.entity).ok_or(Skip::NoEntity)?;
        let text = self.ip.find(&object).and_then(Value::as_str).ok_or(Skip::NoAddress)?;
        let address = address(text.as_bytes())?;
        let seconds = match self.time.find(&object) {
            Some(time) => time_of(time),
            None => None,
        };
        if seconds.is_none() && self.needs_time {
            return Err(Skip::BadTime);
        }
        Ok(Login { entity: Cow::Owned(entity.into_bytes()), address, seconds, num_times: 1 })
    }
}

/// The object of a record.
pub(super) fn object_of(record: &[u8]) -> std::result::Result<Value, Skip> {
    match serde_json::from_slice(record) {
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
pub(super) fn first_text(object: &Value, paths: &[Path]) -> Option<String> {
    paths.iter().find_map(|path| match path.find(object)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        // Other numbers have lost digits by now, and two entities could become one.
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    })
}

/// Seconds of a time as text, or as a number of Unix seconds or milliseconds.
fn time_of(time: &Value) -> Option<i64> {
    /// As seconds this would be in the year 5138.
    const MILLISECONDS: f64 = 1e11;
    match time {
        Value::String(text) => unix_seconds(text.as_bytes()),
        Value::Number(number) => {
            let number = number.as_f64()?;
            let seconds = if number.abs() < MILLISECONDS { number } else { number / 1000.0 };
            (seconds.abs() < MILLISECONDS * 1000.0).then(|| seconds.floor() as i64)
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
    fn new(option: &'static str, text: &str) -> Result<Self> {
        if text.is_empty() {
            let help = "give a path such as user.name or /user/name";
            return Err(Error::config(At::option(option), "the path is empty", help));
        }
        let text = text.to_string();
        Ok(if text.starts_with('/') { Path::Pointer(text) } else { Path::Dotted(text) })
    }

    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Path::Pointer(pointer) => value.pointer(pointer),
            Path::Dotted(path) => find_dotted(value, path),
        }
    }
}

fn find_dotted<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let step = |key: &str| match value {
        Value::Object(object) => object.get(key),
        Value::Array(array) => array.get(key.parse::<usize>().ok()?),
        _ => None,
    };
    let whole = step(path);
    let dots = path.rmatch_indices('.').map(|(at, _)| at);
    whole.or_else(|| dots.into_iter().find_map(|at| find_dotted(step(&path[..at])?, &path[at + 1..])))
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
    let _ = Records::objects().feed(sample, &mut on_record);
    keys
}
