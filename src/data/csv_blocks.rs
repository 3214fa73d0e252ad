//! CSV in blocks: most rows are plain, and those are read without looking at anything twice.

use memchr::{memchr, memchr2};

use super::bad_rows::BadRow;
use super::blocks::Parsed;
use super::columns::Columns;
use super::csv_records::{CsvRecord, RecordScanner, fields_of};
use super::row::check;
use super::source::MAX_LINE;
use crate::event::{Event, IpSyntax, hash_entity, ipv4_at};

/// The columns of rows that begin with `entity,ipv4`.
const PAIR: Columns<usize> = Columns { entity: 0, ip: 1, label: None, kind: None, time: None };

/// Parses the records in `text`, but the last where its end is not there.
pub(super) fn parse(
    text: &[u8],
    at_end: bool,
    columns: &Columns<usize>,
    ip_syntax: IpSyntax,
    parsed: &mut Parsed,
) {
    let mut scanner = RecordScanner::default();
    let mut pairs = Pairs { text, special: None };
    loop {
        if *columns == PAIR {
            pairs.read(parsed);
        }
        let rest = &text[parsed.num_bytes..];
        let Some(extent) = scanner.find(rest, at_end) else { return };
        // A line that is too long is left too: an error stops the reading there.
        if extent.len + extent.terminator == 0 || extent.len >= MAX_LINE {
            return;
        }
        if extent.len > 0 {
            match event_of(&scanner.split(&rest[..extent.len], &extent, 0), columns, ip_syntax) {
                Ok(event) => parsed.push(event),
                Err(_) if parsed.push_odd(extent.len) => {}
                Err(_) => return,
            }
        }
        parsed.num_bytes += extent.len + extent.terminator;
        parsed.num_lines += extent.num_lines;
    }
}

/// The events of a text that is in memory whole, as rows `entity,ipv4`; what follows in a row is ignored.
///
/// # Errors
///
/// The first record that is no event: its index from 0, empty lines left out, and why.
pub(crate) fn events_of_csv(text: &[u8], ip_syntax: IpSyntax) -> Result<Vec<Event>, (usize, BadRow)> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut scanner = RecordScanner::default();
    let mut parsed = Parsed::default();
    let mut pairs = Pairs { text, special: None };
    loop {
        pairs.read(&mut parsed);
        let rest = &text[parsed.num_bytes..];
        let Some(extent) = scanner.find(rest, true).filter(|extent| extent.len + extent.terminator > 0)
        else {
            break;
        };
        if extent.len > 0 {
            let event = event_of(&scanner.split(&rest[..extent.len], &extent, 0), &PAIR, ip_syntax);
            parsed.push(event.map_err(|reason| (parsed.ip.len(), reason))?);
        }
        parsed.num_bytes += extent.len + extent.terminator;
    }
    Ok(parsed.entity.iter().zip(&parsed.ip).map(|(entity, ip)| Event { entity: *entity, ip: *ip }).collect())
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

fn event_of(record: &CsvRecord<'_>, columns: &Columns<usize>, ip_syntax: IpSyntax) -> Result<Event, BadRow> {
    if record.is_unclosed {
        return Err(BadRow::UnclosedQuote);
    }
    let row = check(fields_of(record, columns).ok_or(BadRow::TooFewColumns)?, ip_syntax)?;
    Ok(Event { entity: hash_entity(row.entity), ip: row.ip })
}

/// Reads rows `entity,ipv4` or `entity,ipv4,…` that are as plain as can be.
struct Pairs<'a> {
    text: &'a [u8],
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
            let Some((event, len)) = pair_at(&self.text[at..], special - at) else { break };
            parsed.push(event);
            parsed.num_lines += 1;
            at += len;
        }
        parsed.num_bytes = at;
    }
}

/// The plain row at the beginning of `rest` and its length with the line's end. There is no quote and no carriage
/// return before `special`.
#[inline]
fn pair_at(rest: &[u8], special: usize) -> Option<(Event, usize)> {
    let comma = memchr2(b',', b'\n', rest)?;
    if rest[comma] == b'\n' || comma == 0 || comma > special {
        return None;
    }
    let (ip, len) = ipv4_at(rest[comma + 1..].first_chunk()?)?;
    let mut end = comma + 1 + len;
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
    (end < MAX_LINE).then(|| (Event { entity: hash_entity(&rest[..comma]), ip }, end + terminator))
}
