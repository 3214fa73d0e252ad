//! One row: its fields as they stand, where it stands, and what becomes of it.

use std::fmt;

use super::bad_rows::BadRow;
use super::time::unix_seconds;
use crate::event::{Address, AddressFamilies, Event, hash_entity};

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
}

impl Row<'_> {
    /// The row as an event.
    pub(super) fn to_event(self) -> Result<TimedEvent, BadRow> {
        let time = self.seconds.map(|seconds| seconds.try_into().map_err(|_| BadRow::TimeOutOfRange));
        let event = Event { entity: hash_entity(self.entity), address: self.address };
        Ok(TimedEvent { event, time: time.transpose()? })
    }
}

/// Checks the fields of a row.
pub(super) fn check(fields: Fields<'_>, families: AddressFamilies) -> Result<Row<'_>, BadRow> {
    let Fields { entity, ip, label, kind, time } = fields;
    if let Some(reason) = BadRow::of_entity(entity) {
        return Err(reason);
    }
    let address = families.parse(ip).ok_or_else(|| BadRow::of_address(ip, families))?;
    let label = match label {
        None => None,
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        Some(_) => return Err(BadRow::BadLabel),
    };
    let seconds = match time {
        None => None,
        Some(time) => Some(unix_seconds(time).ok_or(BadRow::BadTime)?),
    };
    Ok(Row { entity, address, label, kind, seconds })
}
