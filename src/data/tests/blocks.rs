//! Reading in blocks gives what reading row by row gives: events, order, errors with their places, reports.

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::row::RowRules;
use super::chunk::EventColumns;
use super::columns::Columns;
use super::intake::EventSink;
use super::properties::in_pieces_that_may_break_off;
use super::row::TimedEvent;
use super::*;
use crate::data::blocks::{BLOCK, MAX_ODD_ROWS, Parsed};
use crate::event::Event;

const IPV4: RowRules = RowRules { families: AddressFamilies::Ipv4, keeps_nobody: false };

#[derive(Default)]
struct Collected(Vec<TimedEvent>);

impl EventSink for Collected {
    fn events(&mut self, events: EventColumns<'_>) -> Result<()> {
        assert_eq!(events.entity.len(), events.address.len());
        assert!(events.time.is_none_or(|time| time.len() == events.len()));
        let time = |index| events.time.map(|times| times[index]);
        self.0.extend(events.events().enumerate().map(|(i, event)| TimedEvent {
            event,
            time: time(i),
            unit: None,
        }));
        Ok(())
    }
}

/// Everything that a reading leaves behind.
#[derive(Debug, PartialEq)]
struct Outcome {
    events: Vec<TimedEvent>,
    result: std::result::Result<ReadReport, (String, u8)>,
    quarantined: Option<Vec<u8>>,
}

/// The outcome but for the events, which `sink` has.
fn outcome(
    options: &ReadOptions,
    sink: Sink<'_>,
    read: impl FnOnce(&mut Intake<'_>) -> Result<()>,
) -> Outcome {
    let mut intake = Intake::new(&[], options, sink).unwrap();
    let result = read(&mut intake);
    let result = intake.finish(result).map_err(error_text);
    let quarantined = match &options.on_bad_row {
        OnBadRow::Quarantine(file) => Some(fs::read(file).unwrap()),
        _ => None,
    };
    Outcome { events: Vec::new(), result, quarantined }
}

/// The outcome of handing on one row after the other, as events: without blocks, since a thread of rayon reads.
fn row_by_row(stream: Stream, options: &ReadOptions) -> Outcome {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| in_blocks(stream, options, 1))
}

fn in_blocks(stream: Stream, options: &ReadOptions, block_size: usize) -> Outcome {
    let mut sink = Collected::default();
    let outcome =
        outcome(options, Sink::Events(&mut sink), |intake| read(stream, options, intake, block_size));
    Outcome { events: sink.0, ..outcome }
}

fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>, block_size: usize) -> Result<()> {
    match options.format {
        Some(Format::JsonLines) => {
            super::super::json_lines::read_in_blocks(stream, options, intake, block_size)
        }
        _ => csv_rows::read_in_blocks(stream, options, intake, block_size),
    }
}

/// A line of a CSV file or a piece of one, good or bad.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let ends: [&[u8]; 5] = [b"\n", b"\r\n", b"\r", b"\n\n", b""];
    let end = || prop::sample::select(vec![0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4]).prop_map(move |i| ends[i]);
    let rows: [&'static [u8]; 28] = [
        b",1.2.3.4",
        b"a",
        b"a,",
        b"",
        b"  ",
        b"\t",
        b"a,::1",
        b"a,2001:db8::1",
        b"a,2001:DB8:1:2:3:4:5:6,5",
        b"a,64:ff9b::1.2.3.4,x",
        b"a,::ffff:1.2.3.4",
        b"a,1.2.3.4:80",
        b"a,01.2.3.4",
        b"a,1.2.3.256",
        b"a,1.2.3.4.",
        b"a, 1.2.3.4",
        b"a ,1.2.3.4 ",
        b"a\0b,1.2.3.4",
        b"\xFF\xC3,1.2.3.4",
        b"1.2.3.4,a",
        b"a,1.2.3.4,1",
        b"a,1.2.3.4,x,\"y\"",
        b"\"a\",1.2.3.4",
        b"\"a\"\"\n\",\"1.2.3.4\"",
        b"\"a\r\nb\r\",1.2.3.4,\"true\"",
        b"a\"b,1.2.3.4",
        b"a,\"1.2.3.4",
        b"\"",
    ];
    let plain = ("[a-z]{1,9}", any::<[u8; 4]>())
        .prop_map(|(entity, ip)| format!("{entity},{}", Ipv4Addr::from(ip)).into_bytes());
    let ipv6 = ("[a-z]{1,9}", any::<u128>(), any::<u8>()).prop_map(|(entity, bits, zeros)| {
        let groups = Ipv6Addr::from(bits).segments();
        let groups: [u16; 8] = std::array::from_fn(|i| if zeros >> i & 1 == 1 { 0 } else { groups[i] });
        format!("{entity},{}", Ipv6Addr::from(groups)).into_bytes()
    });
    let timed = (
        "[a-z]{1,9}",
        any::<[u8; 4]>(),
        prop_oneof![
            "[0-9]{1,11}",
            "-[0-9]{1,3}",
            Just("2024-05-31T23:59:59+02:00".to_string()),
            Just("noon".to_string())
        ],
    )
        .prop_map(|(entity, ip, time)| format!("{entity},{},{time}", Ipv4Addr::from(ip)).into_bytes());
    let labelled = ("[a-z]{1,9}", any::<[u8; 4]>(), prop::sample::select(&["0", "1", "true", "2", ""][..]))
        .prop_map(|(entity, ip, label)| format!("{entity},{},{label}", Ipv4Addr::from(ip)).into_bytes());
    let row = prop_oneof![
        20 => plain,
        8 => ipv6,
        6 => timed,
        6 => labelled,
        6 => prop::sample::select(rows.to_vec()).prop_map(<[u8]>::to_vec),
        2 => vec(prop::sample::select(&b"a1.,,\"\n\r \0\xFF"[..]), 0..12),
    ];
    (row, end()).prop_map(|(row, end)| [&row, end].concat())
}

/// A line of JSON Lines, good or bad.
fn json_line() -> impl Strategy<Value = Vec<u8>> {
    let bad: [&'static [u8]; 9] = [
        b"{\"entity\":\"a\",\"ip\":\"::1\"}",
        b"{\"entity\":\"\",\"ip\":\"1.2.3.4\"}",
        b"{\"entity\":null,\"ip\":\"1.2.3.4\"}",
        b"{\"entity\":[],\"ip\":\"1.2.3.4\"}",
        b"{\"entity\":\"a\"}",
        b"{\"entity\":\"a\xFF\",\"ip\":\"1.2.3.4\"}",
        b"x",
        b" ]",
        b"",
    ];
    let ends: [&'static [u8]; 5] = [b"\n", b"\n", b"\r\n", b"\r", b",\n"];
    let good = ("[a-z]{1,9}", any::<[u8; 4]>(), 0_u8..3).prop_map(|(entity, ip, label)| {
        let ip = Ipv4Addr::from(ip);
        match label {
            0 => format!("{{\"features\":[\"{entity}\",\"{ip}\"]}}").into_bytes(),
            _ => format!("{{\"entity\":\"{entity}\",\"ip\":\"{ip}\",\"label\":{label}}}").into_bytes(),
        }
    });
    let line = prop_oneof![4 => good, 1 => prop::sample::select(bad.to_vec()).prop_map(<[u8]>::to_vec)];
    (line, prop::sample::select(ends.to_vec())).prop_map(|(line, end)| [&line, end].concat())
}

/// Text with a good first row mostly, since a bad one ends many readings.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let first =
        prop::sample::select(&["a,1.2.3.4,1\n", "a,1.2.3.4\r\n", "entity,ip,label\n", "\n \n", ""][..]);
    let long = prop::sample::select(vec![0, 0, 0, 0, 0, 0, 0, 0, 65_500, 65_535, 65_536, 70_000])
        .prop_map(|len| vec![b'x'; len]);
    (first, vec(piece(), 0..30), long, vec(piece(), 0..30), 1_usize..8).prop_map(
        |(first, before, long, behind, times)| {
            [first.as_bytes(), &before.concat(), &long, &behind.concat().repeat(times)].concat()
        },
    )
}

fn options_of(columns_are: usize) -> ReadOptions {
    match columns_are {
        0..=3 => ReadOptions::default(),
        4 => columns(None, None, Some("3")),
        5 => columns(Some("2"), Some("1"), None),
        6 => columns(Some("entity"), Some("ip"), None),
        8 | 9 => ReadOptions { time_column: Some("3".into()), ..ReadOptions::default() },
        _ => columns(Some("ip"), Some("entity"), Some("3")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_of_json_lines_give_what_lines_give(
        first in 0_usize..4,
        lines in vec(json_line(), 0..60),
        block_size in prop::sample::select(vec![1, 7, 64, 200, 1000, BLOCK]),
        labels in any::<bool>(),
        fails in any::<bool>(),
        max_bad_fraction in prop::sample::select(vec![0.0, 0.3, 1.0]),
    ) {
        let firsts: [&[u8]; 4] = [b"", b"{\"entity\":\"a\",\"ip\":\"1.2.3.4\",\"label\":1}\n", b"{}\n", b"x\n"];
        let text = [firsts[first], &lines.concat()].concat();
        let folder = Folder::new();
        let on_bad_row = if fails { OnBadRow::Fail } else { OnBadRow::Quarantine(folder.path("bad")) };
        let format = Some(Format::JsonLines);
        let options = ReadOptions { format, labels, on_bad_row, max_bad_fraction, ..ReadOptions::default() };
        let stream = || in_pieces_that_may_break_off(text.clone(), vec![50], false);
        prop_assert_eq!(in_blocks(stream(), &options, block_size), row_by_row(stream(), &options));
    }

    #[test]
    fn blocks_give_what_rows_give(
        text in text(),
        (sizes, breaks_off) in (vec(prop::sample::select(vec![1, 5, 40, 1 << 20]), 1..3), any::<bool>()),
        block_size in prop::sample::select(vec![1, 2, 7, 30, 64, 200, 1000, BLOCK]),
        columns_are in 0_usize..10,
        addresses in prop::sample::select(&AddressFamilies::ALL[..]),
        on_bad_row in 0..3,
        max_bad_fraction in prop::sample::select(vec![0.0, 0.2, 1.0]),
    ) {
        // The first four bytes are read to see whether they are compressed.
        let breaks_off = breaks_off && text.len() >= 4;
        let folder = Folder::new();
        let on_bad_row = match on_bad_row {
            0 => OnBadRow::Fail,
            1 => OnBadRow::Skip,
            _ => OnBadRow::Quarantine(folder.path("bad")),
        };
        let options = ReadOptions { on_bad_row, max_bad_fraction, addresses, ..options_of(columns_are) };
        // A long line in the smallest pieces would take the time of all other cases.
        let at_least = text.len() / 1000;
        let sizes: Vec<usize> = sizes.into_iter().map(|size| size.max(at_least)).collect();
        let stream = || in_pieces_that_may_break_off(text.clone(), sizes.clone(), breaks_off);
        let wanted = row_by_row(stream(), &options);
        prop_assert_eq!(in_blocks(stream(), &options, block_size.max(at_least)), wanted);
    }
}

#[test]
fn events_keep_their_order_and_bad_rows_their_lines_over_many_blocks() {
    let rows = 20_000;
    let text: String = (0..rows)
        .map(|i| match i % 1000 {
            17 => format!("\"u{i}\r\n\",1.2.{}.{}\r\n", i / 256 % 256, i % 256),
            500 => format!("u{i},bad {i}\n"),
            _ => format!("u{i},1.2.{}.{}\n", i / 256 % 256, i % 256),
        })
        .collect();
    let options = skip(0.5);
    for block_size in [100, 4096, BLOCK] {
        let outcome = in_blocks(stream_of(&text), &options, block_size);
        assert_eq!(outcome, row_by_row(stream_of(&text), &options));
        assert_eq!(outcome.events.len(), rows - rows / 1000);
        let fails = in_blocks(stream_of(&text), &ReadOptions::default(), block_size);
        assert_eq!(fails.events.len(), 500);
        // One record before it has two lines.
        assert!(fails.result.unwrap_err().0.starts_with("test:502: not an IP address: `u500,bad 500`"));
    }
}

#[test]
fn every_form_of_an_address_is_taken_in_blocks_and_rows() {
    let csv: String = (0..5000)
        .map(|i| match i % 3 {
            0 => format!("u{i},1.2.3.{}\n", i % 256),
            1 => format!("u{i},::ffff:1.2.3.{}\r\n", i % 256),
            _ => format!("\"u{i}\",\"64:FF9B::1.2.3.{}\",more\n", i % 256),
        })
        .collect();
    let json: String =
        (0..5000).map(|i| format!("{{\"entity\":\"u{i}\",\"ip\":\"::ffff:1.2.3.{}\"}}\n", i % 256)).collect();
    for (text, format) in [(csv, Format::Csv), (json, Format::JsonLines)] {
        let options = ReadOptions { format: Some(format), ..skip(0.0) };
        for block_size in [100, 4096, BLOCK] {
            let outcome = in_blocks(stream_of(&text), &options, block_size);
            assert_eq!(outcome, row_by_row(stream_of(&text), &options));
            let ips = outcome.events.iter().map(|timed| timed.event.address.bits());
            assert!(ips.eq((0..5000).map(|i| 0x0102_0300 + i % 256)));
        }
    }
}

/// The fast path takes both families and times, which nothing else than its speed would show.
#[test]
fn rows_of_both_families_with_times_are_parsed_in_their_block() {
    let text: String = (0..3000)
        .map(|i| match i % 3 {
            0 => format!("u{i},1.2.3.4,{i}\n"),
            1 => format!("u{i},2001:db8:0:{i:x}::1,{i}\r\n"),
            _ => format!("u{i},2001:DB8:0:{i:04X}:1:2:3:4,1970-01-01T00:{:02}:{:02}Z,x\n", i / 60, i % 60),
        })
        .collect();
    let options = ReadOptions {
        time_column: Some("3".into()),
        addresses: AddressFamilies::Both,
        ..ReadOptions::default()
    };
    let outcome = in_blocks(stream_of(&text), &options, 4096);
    assert_eq!(outcome, row_by_row(stream_of(&text), &options));
    for (i, TimedEvent { event, time, .. }) in (0..3000).zip(&outcome.events) {
        assert_eq!(*time, Some(i));
        let ipv6 = Address::from_bits(0x2001_0DB8_0000_0000 | u64::from(i));
        assert_eq!(event.address, if i % 3 == 0 { Address::from_ipv4(0x0102_0304) } else { ipv6 });
    }
}

fn stream_of(text: &str) -> Stream {
    in_pieces_that_may_break_off(text.into(), vec![1 << 16], false)
}

#[test]
fn lines_of_every_ending_and_every_column_are_parsed_in_their_block() {
    let cases: [(&str, ReadOptions); 8] = [
        ("a,1.2.3.4,x\n", ReadOptions::default()),
        ("a,1.2.3.4,\"x\r\n\"\r\n", ReadOptions::default()),
        ("a,1.2.3.4\n", ReadOptions::default()),
        ("a,1.2.3.4\r\n", ReadOptions::default()),
        ("a, 1.2.3.4,x\n", ReadOptions::default()),
        ("\"a\r\n\",\"1.2.3.4\"\n", ReadOptions::default()),
        ("x,1.2.3.4,a,1\n", columns(Some("3"), Some("2"), Some("4"))),
        ("\n\r\na,1.2.3.4\n", ReadOptions::default()),
    ];
    for (line, options) in cases {
        let outcome = in_blocks(stream_of(&line.repeat(1000)), &options, 300);
        let event =
            Event { entity: outcome.events[0].event.entity, address: Address::from_ipv4(0x0102_0304) };
        assert_eq!(outcome.events, vec![TimedEvent { event, time: None, unit: None }; 1000]);
        let columns = csv_rows_columns(&options);
        let mut parsed = Parsed::default();
        csv_blocks::parse(line.repeat(1000).as_bytes(), false, &columns, (IPV4, None), &mut parsed);
        assert_eq!(parsed.num_bytes, 1000 * line.len(), "{line:?}");
        assert_eq!(parsed.num_lines, 1000 * line.matches('\n').count() as u64, "{line:?}");
        assert_eq!(parsed.events().count(), 1000, "{line:?}");
    }
}

fn csv_rows_columns(options: &ReadOptions) -> Columns<usize> {
    let columns = Columns::of(options, ["1", "2", "3"]).unwrap();
    columns.try_map(|_, text| Ok(text.parse::<usize>().unwrap() - 1)).unwrap()
}

#[test]
fn a_block_of_bad_rows_is_given_up_before_it_takes_more_memory_than_its_text() {
    let text = "a,1.2.3.4\n".to_string() + &"x\n".repeat(3 * MAX_ODD_ROWS);
    let mut parsed = Parsed::default();
    csv_blocks::parse(text.as_bytes(), true, &csv_rows_columns(&skip(1.0)), (IPV4, None), &mut parsed);
    assert_eq!(parsed.num_bytes, 10 + 2 * MAX_ODD_ROWS);
    let options = skip(1.0);
    let outcome = in_blocks(stream_of(&text), &options, BLOCK);
    assert_eq!(outcome.result.as_ref().unwrap().num_bad, 3 * MAX_ODD_ROWS as u64);
    assert_eq!(outcome, row_by_row(stream_of(&text), &options));
}

/// Gives some text and then waits, as a pipe does whose other end stays open.
struct OpenPipe(std::io::Cursor<Vec<u8>>, mpsc::Receiver<()>);

impl Read for OpenPipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let num = self.0.read(buffer)?;
        if num == 0 {
            let _ = self.1.recv();
        }
        Ok(num)
    }
}

#[test]
fn an_error_is_told_while_a_pipe_stays_open() {
    let text = "a,1.2.3.4\n".repeat(100) + "bad\n" + &"a,1.2.3.4\n".repeat(100);
    let (open, end) = mpsc::channel();
    let pipe = OpenPipe(std::io::Cursor::new(text.into_bytes()), end);
    let stream = Stream::from_reader("test".into(), "test".into(), false, Box::new(pipe)).unwrap();
    let (error, _) = in_blocks(stream, &ReadOptions::default(), 64).result.unwrap_err();
    assert!(error.starts_with("test:101: too few columns"), "{error}");
    drop(open);
}

#[test]
fn text_is_read_in_a_pool_of_one_thread() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let text = "a,1.2.3.4\n".repeat(10_000);
    let num_events = pool.install(|| in_blocks(stream_of(&text), &ReadOptions::default(), 100).events.len());
    assert_eq!(num_events, 10_000);
}
