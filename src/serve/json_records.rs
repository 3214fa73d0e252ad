//! Records of a JSON body, hashed as they are read: nothing of the document is kept.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::limits::Limits;
use super::reading::Reading;
use super::refusal::Refusal;
use crate::Event;
use crate::data::{BadRow, shown};
use crate::event::{Address, AddressFamilies, hash_entity};

/// How a record is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `{"data":{"features":{"values":[entity, ip]}}}` or `{"features":[entity, ip]}`, in a list `instances`.
    SageMaker,
    /// `{"entity": …, "ip": …}`, in a list `events`.
    Plain,
}

impl Form {
    fn list(self) -> &'static str {
        match self {
            Self::SageMaker => "instances",
            Self::Plain => "events",
        }
    }
}

/// The events of a document.
///
/// # Errors
///
/// 400 that says what is wrong, with the record's index where it is in one; 413 past the number of records.
pub fn events_of_json(body: &[u8], form: Form, reading: &Reading<'_>) -> Result<Vec<Event>, Refusal> {
    let &Reading { limits, addresses } = reading;
    check_depth(body, limits)?;
    let max = limits.max_records;
    let record = Record { form, addresses };
    let mut records = Records { record, max, events: Vec::new(), index: None, is_there: false };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let result = (&mut records).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    match (result, records.index) {
        (Ok(()), _) if records.is_there => Ok(records.events),
        (Ok(()), _) => {
            Err(Refusal::invalid(format!("there is no list `{0}`: send {{\"{0}\":[…]}}", form.list())))
        }
        _ if records.events.len() > limits.max_records => Err(reading.too_many_records()),
        (Err(error), Some(index)) => Err(Refusal::invalid(format!("record {index} (from 0): {error}"))),
        (Err(error), None) => Err(Refusal::invalid(format!("the body: {error}"))),
    }
}

/// The event of one line.
///
/// # Errors
///
/// 400 with the record's `index`.
pub fn event_of_line(line: &[u8], index: usize, reading: &Reading<'_>) -> Result<Event, Refusal> {
    check_depth(line, reading.limits)?;
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let record = Record { form: Form::SageMaker, addresses: reading.addresses };
    let event = record.deserialize(&mut deserializer);
    event
        .and_then(|event| deserializer.end().map(|()| event))
        .map_err(|error| Refusal::invalid(format!("record {index} (from 0): {error}")))
}

/// Refuses what nests too deep before anything is built of it.
fn check_depth(body: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let (mut depth, mut is_in_text, mut is_escaped) = (0usize, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_text => is_escaped = true,
            b'"' => is_in_text = !is_in_text,
            _ if is_in_text => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > limits.max_json_depth {
                    let max = limits.max_json_depth;
                    return Err(Refusal::invalid(format!(
                        "the JSON nests deeper than {max}: send flat records"
                    )));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// A document with a list of records.
struct Records {
    record: Record,
    max: usize,
    events: Vec<Event>,
    /// The record that is being read.
    index: Option<usize>,
    /// Whether there was the list.
    is_there: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Records {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Records {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with a list `{}`", self.record.form.list())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let list = self.record.form.list();
        while let Some(key) = map.next_key_seed(Key(&[list]))? {
            match key {
                Ok(_) if !self.is_there => {
                    self.is_there = true;
                    map.next_value_seed(List(self))?;
                }
                Err(_) if self.record.form == Form::SageMaker => drop(map.next_value::<IgnoredAny>()?),
                _ => return Err(misplaced(&key, &[list])),
            }
        }
        Ok(())
    }
}

struct List<'a>(&'a mut Records);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let records = self.0;
        records.index = Some(0);
        while let Some(event) = list.next_element_seed(records.record)? {
            records.events.push(event);
            records.index = Some(records.events.len());
            if records.events.len() > records.max {
                return Err(A::Error::custom("too many records"));
            }
        }
        records.index = None;
        Ok(())
    }
}

/// One record.
#[derive(Clone, Copy)]
struct Record {
    form: Form,
    addresses: AddressFamilies,
}

impl<'de> DeserializeSeed<'de> for Record {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::SageMaker => "{\"features\": [\"ENTITY\", \"ADDRESS\"]}",
            Form::Plain => "{\"entity\": \"ENTITY\", \"ip\": \"ADDRESS\"}",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event, A::Error> {
        match self.form {
            Form::SageMaker => one_of_keys(map, &["data", "features"], "features", self.addresses),
            Form::Plain => plain(map, self.addresses),
        }
    }
}

fn plain<'de, A: MapAccess<'de>>(mut map: A, addresses: AddressFamilies) -> Result<Event, A::Error> {
    let (mut entity, mut ip) = (None, None);
    const KEYS: [&str; 2] = ["entity", "ip"];
    while let Some(key) = map.next_key_seed(Key(&KEYS))? {
        match key {
            Ok("entity") if entity.is_none() => entity = Some(map.next_value_seed(Entity)?),
            Ok("ip") if ip.is_none() => ip = Some(map.next_value_seed(Ip(addresses))?),
            _ => return Err(misplaced(&key, &KEYS)),
        }
    }
    match (entity, ip) {
        (Some(entity), Some(address)) => Ok(Event { entity, address }),
        _ => Err(A::Error::custom("give both `entity` and `ip`")),
    }
}

/// The event under one of `keys`; other keys are left alone.
fn one_of_keys<'de, A: MapAccess<'de>>(
    mut map: A,
    keys: &'static [&'static str],
    wanted: &str,
    addresses: AddressFamilies,
) -> Result<Event, A::Error> {
    let mut event = None;
    while let Some(key) = map.next_key_seed(Key(keys))? {
        if key.is_err() {
            map.next_value::<IgnoredAny>()?;
        } else if event.replace(map.next_value_seed(Features(addresses))?).is_some() {
            return Err(A::Error::custom("the features are given twice"));
        }
    }
    event.ok_or_else(|| {
        A::Error::custom(format_args!("there is no `{wanted}`: give [\"ENTITY\", \"ADDRESS\"] there"))
    })
}

/// A key: one of those that are known, or another.
struct Key<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Result<&'static str, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Result<&'static str, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|known| *known == key).ok_or_else(|| key.to_string()))
    }
}

fn misplaced<E: serde::de::Error>(key: &Result<&'static str, String>, keys: &[&str]) -> E {
    let key = match key {
        Ok(key) => key,
        Err(key) => key.as_str(),
    };
    let shown = shown(key.as_bytes());
    E::custom(format_args!("{shown} does not belong here, or not twice; give {} once", keys.join(" and ")))
}

/// What stands under `data`, `features` or `values`: the pair, or an object around it.
struct Features(AddressFamilies);

impl<'de> DeserializeSeed<'de> for Features {
    type Value = Event;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Event, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Features {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"ENTITY\", \"ADDRESS\"]")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Event, A::Error> {
        one_of_keys(map, &["features", "values"], "values", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Event, A::Error> {
        let needs = || A::Error::custom("two values are needed, [\"ENTITY\", \"ADDRESS\"]");
        let entity = pair.next_element_seed(Entity)?.ok_or_else(needs)?;
        let address = pair.next_element_seed(Ip(self.0))?.ok_or_else(needs)?;
        match pair.next_element::<IgnoredAny>()? {
            None => Ok(Event { entity, address }),
            Some(_) => Err(needs()),
        }
    }
}

/// The hash of an entity: a string, or a whole number, which is taken as its decimal digits.
struct Entity;

impl<'de> DeserializeSeed<'de> for Entity {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Entity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entity as a string")
    }

    fn visit_str<E: serde::de::Error>(self, entity: &str) -> Result<u64, E> {
        match BadRow::of_entity(entity.as_bytes()) {
            Some(reason) => Err(bad(reason)),
            None => Ok(hash_entity(entity.as_bytes())),
        }
    }

    fn visit_u64<E>(self, entity: u64) -> Result<u64, E> {
        Ok(hash_entity(entity.to_string().as_bytes()))
    }

    fn visit_i64<E>(self, entity: i64) -> Result<u64, E> {
        Ok(hash_entity(entity.to_string().as_bytes()))
    }

    /// JSON makes no difference between 7.0 and 7.
    fn visit_f64<E: serde::de::Error>(self, entity: f64) -> Result<u64, E> {
        // Larger ones have lost digits.
        const MAX_SAFE: f64 = (1u64 << 53) as f64;
        match entity.fract() == 0.0 && entity.abs() <= MAX_SAFE {
            true => self.visit_i64(entity as i64),
            false => Err(E::invalid_type(Unexpected::Float(entity), &self)),
        }
    }
}

struct Ip(AddressFamilies);

impl<'de> DeserializeSeed<'de> for Ip {
    type Value = Address;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Address, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Ip {
    type Value = Address;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address as a string")
    }

    fn visit_str<E: serde::de::Error>(self, ip: &str) -> Result<Address, E> {
        self.0.parse(ip.as_bytes()).ok_or_else(|| bad(BadRow::of_address(ip.as_bytes(), self.0)))
    }
}

fn bad<E: serde::de::Error>(reason: BadRow) -> E {
    E::custom(format_args!("{}: {}", reason.name(), reason.help()))
}
