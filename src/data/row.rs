//! One row: its fields as they stand, where it stands, and what becomes of it.

use std::fmt;

use super::bad_rows::BadRow;
use super::options::ReadOptions;
use super::time::{MAX_SECONDS, Time, Unit};
use crate::event::{Address, AddressFamilies, Event, hash_entity, is_nobody};

/// One good row of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The entity's bytes as they stand in the input, never empty.
    pub entity: &'a [u8],
    /// The address, of either family.
    pub address: Address,
    /// The label, when `ReadOptions::labels` asks for it.
    pub label: Option<bool>,
    /// The text of `ReadOptions::kind_column`; empty where the row has none.
    pub kind: Option<&'a [u8]>,
    /// The time of `ReadOptions::time_column` in whole seconds since 1970-01-01T00:00:00Z.
    pub seconds: Option<i64>,
    /// What the number of the time counts, where it is one.
    pub(crate) unit: Option<Unit>,
}

/// Where a row stands; as text `file:line` or `file: row N`.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A line of a text file, from 1.
    Line(&'a str, u64),
    /// A row of a columnar file, from 1.
    Row(&'a str, u64),
}

impl Place<'_> {
    /// The input's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Place::Line(name, _) | Place::Row(name, _) => name,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(name, line) => write!(f, "{name}:{line}"),
            Place::Row(name, row) => write!(f, "{name}: row {row}"),
        }
    }
}

/// The fields of a row as they stand in the input.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) entity: &'a [u8],
    pub(super) ip: &'a [u8],
    pub(super) label: Option<&'a [u8]>,
    pub(super) kind: Option<&'a [u8]>,
    pub(super) time: Option<&'a [u8]>,
}

/// An event and the second in which it happened, counted from 1970-01-01T00:00:00Z, where times are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimedEvent {
    pub(super) event: Event,
    pub(super) time: Option<u32>,
    pub(super) unit: Option<Unit>,
}

/// Which rows are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowRules {
    /// The families of addresses that are taken.
    pub(crate) families: AddressFamilies,
    /// Whether names that stand for nobody are entities.
    pub(crate) keeps_nobody: bool,
}

impl RowRules {
    pub(super) fn of(options: &ReadOptions) -> Self {
        RowRules { families: options.addresses, keeps_nobody: options.keep_nobody }
    }
}

impl Row<'_> {
    /// The row as an event.
    pub(super) fn to_event(self) -> Result<TimedEvent, BadRow> {
        let time = self.seconds.map(|seconds| seconds.try_into().map_err(|_| BadRow::TimeOutOfRange));
        let event = Event { entity: hash_entity(self.entity), address: self.address };
        Ok(TimedEvent { event, time: time.transpose()?, unit: self.unit })
    }
}

/// Checks the fields of a row.
pub(super) fn check(fields: Fields<'_>, rules: RowRules) -> Result<Row<'_>, BadRow> {
    let Fields { entity, ip, label, kind, time } = fields;
    if let Some(reason) = BadRow::of_entity(entity) {
        return Err(reason);
    }
    let RowRules { families, keeps_nobody } = rules;
    let address = families.parse(ip).ok_or_else(|| BadRow::of_address(ip, families))?;
    if !keeps_nobody && is_nobody(entity) {
        return Err(BadRow::Nobody);
    }
    let label = match label {
        None => None,
        Some(label) => Some(label_of(label).ok_or(BadRow::BadLabel)?),
    };
    let time = time.map(|time| Time::parse(time).ok_or(BadRow::BadTime)).transpose()?;
    if time.is_some_and(|time| !(0..=MAX_SECONDS as i64).contains(&time.seconds)) {
        return Err(BadRow::TimeOutOfRange);
    }
    let (seconds, unit) = (time.map(|time| time.seconds), time.and_then(|time| time.unit));
    Ok(Row { entity, address, label, kind, seconds, unit })
}

/// A label as programs write booleans. `-1` is none: where it stands, 1 means an ordinary event.
fn label_of(text: &[u8]) -> Option<bool> {
    let is_one_of = |names: [&[u8]; 4]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is_one_of([b"1", b"true", b"t", b"1.0"]) {
        return Some(true);
    }
    is_one_of([b"0", b"false", b"f", b"0.0"]).then_some(false)
}
