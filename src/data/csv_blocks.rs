//! CSV in blocks: most rows are plain, and those are read without looking at anything twice.

use memchr::{memchr, memchr2};

use super::bad_rows::BadRow;
use super::blocks::Parsed;
use super::columns::Columns;
use super::csv_records::{CsvRecord, RecordScanner, fields_of};
use super::row::{Row, RowRules, TimedEvent, check};
use super::source::MAX_LINE;
use super::time::Time;
use crate::event::{AddressFamilies, Event, address_at, hash_entity, is_nobody};

/// The columns of rows that begin with `entity,address`.
const PAIR: Columns<usize> = Columns { entity: 0, ip: 1, label: None, kind: None, time: None };

/// The columns of rows that begin with `entity,address,time`.
const TIMED_PAIR: Columns<usize> = Columns { time: Some(2), ..PAIR };

/// Parses the records in `text`, but the last where its end is not there.
pub(super) fn parse(
    text: &[u8],
    at_end: bool,
    columns: &Columns<usize>,
    (rules, escape): (RowRules, Option<u8>),
    parsed: &mut Parsed,
) {
    let mut scanner = RecordScanner::new(escape);
    let mut pairs = Pairs { text, rules, has_time: *columns == TIMED_PAIR, special: None };
    let begin_with_pairs = pairs.has_time || *columns == PAIR;
    loop {
        if begin_with_pairs {
            pairs.read(parsed);
        }
        let rest = &text[parsed.num_bytes..];
        let Some(extent) = scanner.find(rest, at_end) else { return };
        // A line that is too long is left too: an error stops the reading there.
        if extent.len + extent.terminator == 0 || extent.len >= MAX_LINE {
            return;
        }
        if extent.len > 0 {
            match event_of(&scanner.split(&rest[..extent.len], &extent, 0), columns, rules) {
                Ok(event) if parsed.push(event) => {}
                _ if parsed.push_odd(extent.len) => {}
                _ => return,
            }
        }
        parsed.num_bytes += extent.len + extent.terminator;
        parsed.num_lines += extent.num_lines;
    }
}

/// The events of a text that is in memory whole, as rows `entity,address`; what follows in a row is ignored.
///
/// # Errors
///
/// The first record that is no event: its index from 0, empty lines left out, and why.
pub(crate) fn events_of_csv(text: &[u8], families: AddressFamilies) -> Result<Vec<Event>, (usize, BadRow)> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut scanner = RecordScanner::default();
    let mut parsed = Parsed::default();
    // Clients ask about whom they like.
    let rules = RowRules { families, keeps_nobody: true };
    let mut pairs = Pairs { text, rules, has_time: false, special: None };
    loop {
        pairs.read(&mut parsed);
        let rest = &text[parsed.num_bytes..];
        let Some(extent) = scanner.find(rest, true).filter(|extent| extent.len + extent.terminator > 0)
        else {
            break;
        };
        if extent.len > 0 {
            let event = event_of(&scanner.split(&rest[..extent.len], &extent, 0), &PAIR, rules);
            // Without times there are no units.
            let _ = parsed.push(event.map_err(|reason| (parsed.columns.len(), reason))?);
        }
        parsed.num_bytes += extent.len + extent.terminator;
    }
    Ok(parsed.columns.columns().events().collect())
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn event_of(record: &CsvRecord<'_>, columns: &Columns<usize>, rules: RowRules) -> Result<TimedEvent, BadRow> {
    let fields = fields_of(record, columns)?;
    check(fields, rules).and_then(Row::to_event)
}

/// Reads rows `entity,address` or `entity,address,…` that are as plain as can be.
struct Pairs<'a> {
    text: &'a [u8],
    rules: RowRules,
    /// Whether a time follows the address.
    has_time: bool,
    /// Where the next quote or carriage return stands, as far as that is known.
    special: Option<usize>,
}

impl Pairs<'_> {
    /// Reads plain rows up to one that is not.
    fn read(&mut self, parsed: &mut Parsed) {
        let mut at = parsed.num_bytes;
        loop {
            let special = match self.special {
                Some(special) if special >= at => special,
                _ => memchr2(b'"', b'\r', &self.text[at..]).map_or(self.text.len(), |found| at + found),
            };
            self.special = Some(special);
            let Some((event, len)) = self.row_at(&self.text[at..], special - at) else { break };
            if !parsed.push(event) {
                break;
            }
            parsed.num_lines += 1;
            at += len;
        }
        parsed.num_bytes = at;
    }

    /// The plain row at the beginning of `rest` and its length with the line's end. There is no quote and no carriage
    /// return before `special`.
    #[inline]
    fn row_at(&self, rest: &[u8], special: usize) -> Option<(TimedEvent, usize)> {
        let comma = memchr2(b',', b'\n', rest)?;
        if rest[comma] == b'\n' || comma == 0 || comma > special {
            return None;
        }
        let (address, len) = address_at(&rest[comma + 1..])?;
        if !self.rules.families.take(address) || (!self.rules.keeps_nobody && is_nobody(&rest[..comma])) {
            return None;
        }
        let mut end = comma + 1 + len;
        let (mut time, mut unit) = (None, None);
        if self.has_time {
            let text = rest[end..special.max(end)].strip_prefix(b",")?;
            let len = memchr2(b',', b'\n', text).unwrap_or(text.len());
            let parsed = Time::parse(&text[..len])?;
            (time, unit) = (Some(parsed.seconds.try_into().ok()?), parsed.unit);
            end += 1 + len;
        }
        if rest[end..].starts_with(b",") {
            end = match memchr(b'\n', &rest[end..special.max(end)]) {
                Some(found) => end + found,
                None if special < rest.len() => special,
                None => return None,
            };
        }
        let terminator = match rest[end..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => return None,
        };
        let event = Event { entity: hash_entity(&rest[..comma]), address };
        (end < MAX_LINE).then_some((TimedEvent { event, time, unit }, end + terminator))
    }
}
