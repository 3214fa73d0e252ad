//! Fuzz targets of the readers.

use std::io::Cursor;
use std::net::{IpAddr, Ipv6Addr};

use super::bad_rows::BadRow;
use super::blocks::Parsed;
use super::columns::{Columns, Role};
use super::csv_records::{RecordScanner, fields_of};
use super::intake::{Intake, Sink};
use super::read::read_stream;
use super::row::{RowRules, TimedEvent, check};
use super::stream::Stream;
use super::text::find_line;
use super::*;
use crate::Result;
use crate::event::{Address, AddressFamilies, Event, ReservedAddress, address_at, parse_address, parse_ipv4};
use crate::serve::fuzz_target::event_of_record;

/// CSV: the blocks' fast path, the path of one record after the other, a request's and the `csv` crate agree.
pub fn csv(text: &[u8]) {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let pair = Columns { entity: 0, ip: 1, label: None, kind: None, time: None };
    let timed = Columns { time: Some(2), ..pair.clone() };
    // With a label the fast path does not apply, and all rows are read as records.
    let labelled = Columns { label: Some(2), ..pair.clone() };
    for (families, columns) in [
        (AddressFamilies::Ipv4, &pair),
        (AddressFamilies::Both, &pair),
        (AddressFamilies::Both, &timed),
        (AddressFamilies::Both, &labelled),
    ] {
        let mut in_blocks = Parsed::default();
        super::csv_blocks::parse(text, true, columns, (rules(families), None), &mut in_blocks);
        let one_by_one = one_by_one(&text[..in_blocks.num_bytes], columns, families);
        // A time in another unit than those before it is left to the reader of the block.
        let first_unit = one_by_one.iter().find_map(|row| row.as_ref().ok()?.unit);
        let good = one_by_one.iter().filter_map(|row| row.as_ref().ok());
        let good = good.filter(|event| event.unit.is_none() || event.unit == first_unit);
        let good: Vec<TimedEvent> = good.map(|event| TimedEvent { unit: None, ..*event }).collect();
        assert_eq!(in_blocks.timed_events(), good);
        assert_eq!(in_blocks.num_odd_rows(), one_by_one.len() - good.len());
    }
    for families in AddressFamilies::ALL {
        request_reads(text, families);
    }
    records_are_those_of_the_csv_crate(text);
}

/// The events, or why there are none, of records that are read one after the other.
fn one_by_one(
    text: &[u8],
    columns: &Columns<usize>,
    families: AddressFamilies,
) -> Vec<std::result::Result<TimedEvent, BadRow>> {
    let mut scanner = RecordScanner::default();
    let (mut rows, mut at) = (Vec::new(), 0);
    while let Some(extent) = scanner.find(&text[at..], true).filter(|e| e.len + e.terminator > 0) {
        if extent.len > 0 {
            let record = scanner.split(&text[at..][..extent.len], &extent, 1);
            rows.push(match fields_of(&record, columns) {
                Ok(fields) => check(fields, rules(families)).and_then(Row::to_event),
                Err(reason) => Err(reason),
            });
        }
        at += extent.len + extent.terminator;
    }
    rows
}

fn rules(families: AddressFamilies) -> RowRules {
    RowRules { families, keeps_nobody: true }
}

fn request_reads(text: &[u8], families: AddressFamilies) {
    // A body may begin with a byte order mark of its own.
    if text.starts_with(b"\xEF\xBB\xBF") {
        return;
    }
    let pair = Columns { entity: 0, ip: 1, label: None, kind: None, time: None };
    let rows = one_by_one(text, &pair, families);
    let expected: std::result::Result<Vec<Event>, (usize, BadRow)> = rows
        .into_iter()
        .enumerate()
        .map(|(i, row)| row.map(|row| row.event).map_err(|why| (i, why)))
        .collect();
    assert_eq!(events_of_csv(text, families), expected);
}

fn records_are_those_of_the_csv_crate(text: &[u8]) {
    // The crate keeps spaces behind a comma, which are left out here, and passes over a byte order mark.
    if text.windows(2).any(|two| two == b", ") || text.starts_with(b"\xEF\xBB\xBF") {
        return;
    }
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    let mut expected = ::csv::ByteRecord::new();
    let mut scanner = RecordScanner::default();
    let mut at = 0;
    while let Some(extent) = scanner.find(&text[at..], true).filter(|e| e.len + e.terminator > 0) {
        if extent.len > 0 {
            let record = scanner.split(&text[at..][..extent.len], &extent, 1);
            assert!(reader.read_byte_record(&mut expected).is_ok_and(|is_there| is_there));
            assert!(record.fields().eq(expected.iter()));
        }
        at += extent.len + extent.terminator;
    }
    assert!(reader.read_byte_record(&mut expected).is_ok_and(|is_there| !is_there));
}

/// Addresses as the standard library has them, and a reason for all that is none.
pub fn ip(text: &[u8]) {
    let by_std = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    let ipv4 = match by_std {
        Some(IpAddr::V4(ip)) => Some(u32::from(ip)),
        _ => None,
    };
    assert_eq!(parse_ipv4(text), ipv4);
    let expected = match by_std {
        Some(IpAddr::V4(ip)) => Some(Address::from(ip)),
        Some(IpAddr::V6(ip)) => Address::try_from(ip).ok(),
        None => without_zone(text).and_then(|ip| Address::try_from(ip).ok()),
    };
    assert_eq!(parse_address(text), expected);
    assert_eq!(AddressFamilies::Both.parse(text), expected);
    assert_eq!(AddressFamilies::Ipv4.parse(text), expected.filter(|address| address.is_ipv4()));
    // With enough behind it, the fast parser takes the address, or leaves it to the others.
    let in_row = [text, &[b','; 48]].concat();
    if let Some((address, len)) = address_at(&in_row)
        && len == text.len()
    {
        assert_eq!(Some(address), expected);
    }
    if let Some(address) = expected {
        let written = address.to_string();
        assert_eq!(parse_address(written.as_bytes()), Some(address), "{written}");
    }
    let reason = BadRow::of_address(text, AddressFamilies::Both);
    if let Some(IpAddr::V6(ip)) = by_std {
        let reserved = match Address::try_from(ip) {
            Ok(_) => BadRow::NotAddress,
            Err(ReservedAddress::Unspecified) => BadRow::UnspecifiedIpv6,
            Err(ReservedAddress::LinkLocal) => BadRow::LinkLocalIpv6,
        };
        assert_eq!(reason, reserved);
    }
    // What a message shows of it is one line of printable text.
    assert!(!shown(text).chars().any(char::is_control));
}

/// The address before a zone.
fn without_zone(text: &[u8]) -> Option<Ipv6Addr> {
    let (address, zone) = std::str::from_utf8(text).ok()?.split_once('%')?;
    let is_zone = !zone.is_empty() && zone.chars().all(|c| c.is_ascii_graphic() && !"/%[]".contains(c));
    address.parse().ok().filter(|_| is_zone)
}

/// JSON Lines: blocks agree with lines, and an event that a request can hold is the same event there.
pub fn json_lines(text: &[u8]) {
    let Ok(keys) =
        Columns::of(&ReadOptions::default(), [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))
    else {
        return;
    };
    let mut in_blocks = Parsed::default();
    super::json_lines::parse(text, true, &keys, rules(AddressFamilies::Both), &mut in_blocks);
    let mut rest = text;
    let (mut events, mut num_lines) = (Vec::new(), 0);
    while num_lines < in_blocks.num_lines {
        let Some((len, terminator)) = find_line(rest, true) else { break };
        let line = &rest[..len];
        rest = &rest[len + terminator..];
        num_lines += 1;
        let mut alone = Parsed::default();
        super::json_lines::parse(line, true, &keys, rules(AddressFamilies::Both), &mut alone);
        let event = alone.events().next();
        events.extend(event);
        if let Some(in_request) = event_of_record(line) {
            // A request takes 7.0 for 7, as JSON does; a file does not, because there it may be 7.1 that lost a digit.
            let is_float = serde_json::from_slice::<serde_json::Value>(line)
                .is_ok_and(|record| record["entity"].is_f64());
            assert!(event == Some(in_request) || is_float);
        }
    }
    assert_eq!(in_blocks.events().collect::<Vec<_>>(), events);
    assert!(
        in_blocks.num_bytes == text.len() || text.len() - in_blocks.num_bytes >= MAX_LINE || num_lines > 0
    );
}

/// A file of any format and compression, read to its end with the bad rows left out.
pub fn file(bytes: &[u8]) {
    // The `parquet` crate panics at damaged files; that is caught where it is called, but not by libFuzzer, which ends
    // at any panic. The tests of the readers damage such files.
    if bytes.starts_with(b"PAR1") {
        return;
    }
    let options = ReadOptions {
        on_bad_row: OnBadRow::Skip,
        max_bad_fraction: 1.0,
        addresses: AddressFamilies::Both,
        keep_nobody: true,
        ..ReadOptions::default()
    };
    let mut num_rows = 0;
    let mut on_row = |row: Row<'_>, place: Place<'_>| {
        num_rows += 1;
        assert!(!row.entity.is_empty());
        assert!(row.entity.len() < MAX_LINE, "{place}");
        assert_eq!(parse_address(row.address.to_string().as_bytes()), Some(row.address));
        Ok(())
    };
    let result = read_bytes(bytes, &options, Sink::Rows(&mut on_row));
    if let Ok(report) = &result {
        assert_eq!(report.num_rows, num_rows);
        assert_eq!(report.num_bad, report.bad_by_reason.values().sum::<u64>());
    }
    if bytes.starts_with(b"ARROW1") {
        // Rows of a prepared file have no names: it is read as columns.
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let Ok(chunks) = super::prepared_file::read_chunks("fuzz", bytes, false) else { return };
        for chunk in chunks {
            assert_eq!(chunk.entity.len(), chunk.len());
            assert!(chunk.time.as_ref().is_none_or(|time| time.len() == chunk.len()));
            assert_eq!(chunk.events().count(), chunk.len());
        }
    }
}

fn read_bytes(bytes: &[u8], options: &ReadOptions, sink: Sink<'_>) -> Result<ReadReport> {
    let mut intake = Intake::new(&[], options, sink)?;
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    let result = Stream::from_reader("fuzz".into(), "fuzz".into(), false, reader)
        .and_then(|stream| read_stream(stream, options, &mut intake));
    intake.finish(result)
}
