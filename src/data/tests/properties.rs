//! Properties that hold for all inputs.

use std::io::{Cursor, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::csv_records::CsvRecords;
use super::text::Text;
use super::*;
use crate::event::Event;

/// Gives its bytes in pieces of the given sizes, as a pipe does.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    sizes: std::iter::Cycle<std::vec::IntoIter<usize>>,
    /// Whether there is an error behind the last byte.
    breaks_off: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.next().unwrap_or(1).min(buffer.len());
        match self.bytes.read(&mut buffer[..size])? {
            0 if self.breaks_off && !buffer.is_empty() => Err(std::io::Error::other("it broke off")),
            num => Ok(num),
        }
    }
}

fn in_pieces(bytes: Vec<u8>, sizes: Vec<usize>) -> Stream {
    in_pieces_that_may_break_off(bytes, sizes, false)
}

pub(super) fn in_pieces_that_may_break_off(bytes: Vec<u8>, sizes: Vec<usize>, breaks_off: bool) -> Stream {
    let reader = Pieces { bytes: Cursor::new(bytes), sizes: sizes.into_iter().cycle(), breaks_off };
    Stream::from_reader("test".into(), "test".into(), false, Box::new(reader)).unwrap()
}

fn records_here(bytes: Vec<u8>, sizes: Vec<usize>) -> Vec<Vec<Vec<u8>>> {
    let mut records = CsvRecords::new(Text::new(in_pieces(bytes, sizes)).unwrap(), None);
    let mut all = Vec::new();
    while let Some(record) = records.next().unwrap() {
        all.push(record.fields().map(<[u8]>::to_vec).collect());
    }
    all
}

fn records_of_the_csv_crate(bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes)
        .byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect()
}

/// Text that is likely to have the structure of CSV, well-formed or not; without spaces, which the `csv`
/// crate does not leave out.
fn csv_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => vec(prop::sample::select(&b"ab\xFF\xC3,,\"\"\n\r"[..]), 0..6),
        2 => Just(b"\r\n".to_vec()),
        2 => Just(b"\"a\"\"b\",\"1.2.3.4\"\n".to_vec()),
        1 => Just(b"a,1.2.3.4\r\n".to_vec()),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A line's worth of a file in any format, good or bad.
fn row() -> impl Strategy<Value = (Vec<u8>, IpAddr)> {
    let ipv6 = any::<u128>().prop_map(|bits| Ipv6Addr::from(bits >> 3 | 1 << 125));
    let ip =
        prop_oneof![any::<[u8; 4]>().prop_map(|ip| Ipv4Addr::from(ip).into()), ipv6.prop_map(IpAddr::from)];
    (vec(any::<u8>(), 1..8), ip)
}

fn quoted(entity: &[u8], ip: IpAddr) -> Vec<u8> {
    let doubled: Vec<u8> =
        entity.iter().flat_map(|&byte| if byte == b'"' { vec![byte; 2] } else { vec![byte] }).collect();
    [b"\"", &doubled[..], b"\",", ip.to_string().as_bytes(), b"\n"].concat()
}

fn csv_of_both_families() -> ReadOptions {
    ReadOptions {
        format: Some(Format::Csv),
        addresses: AddressFamilies::Both,
        keep_nobody: true,
        ..ReadOptions::default()
    }
}

fn load(folder: &Folder, bytes: &[u8], format: Option<Format>) -> Result<Vec<Event>> {
    let options = ReadOptions { format, addresses: AddressFamilies::Both, ..skip(1.0) };
    let (events, _) = load_events(&[folder.write("input", bytes)], &options)?;
    Ok(events.iter().collect())
}

const FORMATS: [Option<Format>; 5] =
    [None, Some(Format::Csv), Some(Format::JsonLines), Some(Format::Parquet), Some(Format::Arrow)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn csv_records_are_those_of_the_csv_crate(bytes in csv_like(), sizes in vec(1_usize..9, 1..4)) {
        prop_assert_eq!(records_here(bytes.clone(), sizes), records_of_the_csv_crate(&bytes));
    }

    #[test]
    fn lines_do_not_depend_on_the_pieces_in_which_they_arrive(
        bytes in csv_like(),
        sizes in vec(1_usize..9, 1..4),
    ) {
        let lines = |sizes| {
            let mut text = Text::new(in_pieces(bytes.clone(), sizes)).unwrap();
            let mut lines = Vec::new();
            while let Some(line) = text.next_line().unwrap() {
                lines.push((line.number, line.bytes.to_vec()));
            }
            lines
        };
        prop_assert_eq!(lines(sizes), lines(vec![1 << 16]));
    }

    #[test]
    fn quoted_entities_of_any_bytes_come_back(rows in vec(row(), 1..20)) {
        let text: Vec<u8> = rows.iter().flat_map(|(entity, ip)| quoted(entity, *ip)).collect();
        let wanted: Vec<String> = rows
            .iter()
            .map(|(entity, ip)| {
                let address = match ip {
                    IpAddr::V4(ip) => Address::from(*ip),
                    IpAddr::V6(ip) => Address::try_from(*ip).unwrap(),
                };
                format!("{} {address}", entity.escape_ascii())
            })
            .collect();
        let folder = Folder::new();
        let options = csv_of_both_families();
        prop_assert_eq!(read_inputs(&[folder.write("input", text)], &options).unwrap().0, wanted);
    }

    #[test]
    fn a_prepared_file_equals_its_text(rows in vec(row(), 1..50)) {
        let text: Vec<u8> = rows.iter().flat_map(|(entity, ip)| quoted(entity, *ip)).collect();
        let folder = Folder::new();
        let options = csv_of_both_families();
        let inputs = [folder.write("input", text)];
        let output = folder.path("prepared");
        let written = write_prepared(&inputs, &options, &output).unwrap();
        let (from_text, report) = load_events(&inputs, &options).unwrap();
        let (prepared, _) = load_events(&[Input::File(output)], &ReadOptions { format: None, ..options }).unwrap();
        prop_assert_eq!(written, report);
        prop_assert_eq!(prepared.iter().collect::<Vec<_>>(), from_text.iter().collect::<Vec<_>>());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), start in 0_usize..7) {
        let starts: [&[u8]; 7] =
            [b"", b"PAR1", b"ARROW1\0\0", b"{\"entity\":", b"\x1F\x8B\x08\0", b"\x28\xB5\x2F\xFD", b"a,1.2.3.4\n"];
        let folder = Folder::new();
        let bytes = [starts[start], &bytes].concat();
        for format in FORMATS {
            let _ = load(&folder, &bytes, format);
        }
    }

    #[test]
    fn damaged_files_never_panic(
        kind in 0_usize..5,
        flips in vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        len in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let text: &[u8] = b"a,1.2.3.4\n\"b\"\"\",5.6.7.8\r\nc,9.9.9.9\n";
        let ip = || -> arrow_array::ArrayRef {
            std::sync::Arc::new(arrow_array::StringArray::from(vec!["1.2.3.4", "5.6.7.8"]))
        };
        let mut bytes = match kind {
            0 => text.to_vec(),
            1 => compressed::gzip(text),
            2 => compressed::zstd(text),
            3 => parquet::write(vec![("entity", ip()), ("ip", ip())]),
            _ => prepared::small_file(7, 3),
        };
        for (index, bit) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        if is_cut {
            bytes.truncate(len.index(bytes.len()));
        }
        let folder = Folder::new();
        let format = [None, None, None, Some(Format::Parquet), Some(Format::Arrow)][kind];
        let _ = load(&folder, &bytes, format);
    }
}
