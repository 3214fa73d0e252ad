//! The table of IPv4 address ranges from which the logins come.

use std::io::BufRead;
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::event::parse_ipv4;
use crate::{Error, Result};

/// A table of IPv4 address ranges, at least one, sorted and without overlap.
///
/// Neighbouring rows stand for neighbouring networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRanges {
    /// First and last address of each row, both inclusive.
    rows: Vec<(u32, u32)>,
}

impl AddressRanges {
    /// A synthetic but plausible table: the public unicast space split into some 400,000 networks from /12 to
    /// /24.
    ///
    /// It is the same for everyone, so that generated logins with the same seed are, too.
    pub fn built_in() -> Self {
        let mut rows = Vec::new();
        split(0, 0, &mut ChaCha8Rng::seed_from_u64(0), &mut rows);
        AddressRanges { rows }
    }

    /// Reads the table of iptoasn.com: `start end asn country name`, TAB-separated, sorted.
    ///
    /// IPv6 rows and rows that are not routed (asn 0) are left out. `name` stands for the input in errors.
    ///
    /// # Errors
    /// [`Error::Data`] with the line for a row that is malformed or out of order, and for an input without
    /// any range. [`Error::Io`] if reading fails.
    pub fn from_tsv(mut reader: impl BufRead, name: &str) -> Result<Self> {
        let mut rows: Vec<(u32, u32)> = Vec::new();
        let mut line = Vec::new();
        for line_number in 1.. {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(Error::io("read", name))? == 0 {
                break;
            }
            let refuse = |what: String| Error::data(format!("{name}:{line_number}"), what, TSV_HELP);
            let Some((start, end)) = parse_row(line.trim_ascii_end()).map_err(refuse)? else { continue };
            if rows.last().is_some_and(|&(_, previous)| start <= previous) {
                return Err(refuse("the range begins before the previous one ends".into()));
            }
            rows.push((start, end));
        }
        if rows.is_empty() {
            return Err(Error::data(name, "no routed IPv4 range", TSV_HELP));
        }
        Ok(AddressRanges { rows })
    }

    /// Number of rows, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// First and last address of a row, both inclusive.
    ///
    /// # Panics
    /// If `row` is not below [`AddressRanges::len`].
    pub fn get(&self, row: usize) -> (u32, u32) {
        self.rows[row]
    }

    /// The row that holds an address, if one does.
    pub fn row_of(&self, ip: u32) -> Option<usize> {
        let row = self.rows.partition_point(|&(_, end)| end < ip);
        self.rows.get(row).is_some_and(|&(start, _)| start <= ip).then_some(row)
    }

    /// The rows that hold any of the addresses from `first` to `last`, both inclusive.
    pub fn rows_within(&self, first: u32, last: u32) -> Range<usize> {
        let begin = self.rows.partition_point(|&(_, end)| end < first);
        begin..begin + self.rows[begin..].partition_point(|&(start, _)| start <= last)
    }
}

const TSV_HELP: &str = "rows are `start end asn country name`, separated by TABs and sorted by start";

/// The range of a row of the TSV, or `None` if the row is left out. The error says what is wrong.
fn parse_row(line: &[u8]) -> std::result::Result<Option<(u32, u32)>, String> {
    let mut fields = line.split(|&byte| byte == b'\t');
    let (Some(start), Some(end), Some(asn)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("fewer than three columns".into());
    };
    if start.contains(&b':') {
        return Ok(None);
    }
    let address = |text: &[u8]| {
        parse_ipv4(text).ok_or_else(|| format!("{:?} is not an IPv4 address", String::from_utf8_lossy(text)))
    };
    let (start, end) = (address(start)?, address(end)?);
    let asn_number = std::str::from_utf8(asn).ok().and_then(|text| text.parse::<u32>().ok());
    match asn_number {
        None => Err(format!("{:?} is not an AS number", String::from_utf8_lossy(asn))),
        Some(_) if end < start => Err("the range ends before it begins".into()),
        Some(0) => Ok(None),
        Some(_) => Ok(Some((start, end))),
    }
}

/// Networks that are not public unicast addresses (RFC 6890, RFC 5771), as first address and prefix length.
const RESERVED: [(u32, u32); 8] = [
    (0x0000_0000, 8),  // 0.0.0.0/8
    (0x0A00_0000, 8),  // 10.0.0.0/8
    (0x6440_0000, 10), // 100.64.0.0/10
    (0x7F00_0000, 8),  // 127.0.0.0/8
    (0xA9FE_0000, 16), // 169.254.0.0/16
    (0xAC10_0000, 12), // 172.16.0.0/12
    (0xC0A8_0000, 16), // 192.168.0.0/16
    (0xE000_0000, 3),  // 224.0.0.0/3, multicast and reserved
];

/// The share of networks of each prefix length, from /12, that are not split further. The lengths of rows
/// then are like those of routed networks: one in four a /22, one in three a /24, about 1 % a /14 or larger.
const WHOLE: [f64; 13] = [0.25, 0.23, 0.25, 0.22, 0.40, 0.22, 0.25, 0.26, 0.30, 0.30, 0.62, 0.40, 1.0];

/// Splits the network of `start` and `length` into halves until chance keeps one whole.
fn split(start: u32, length: u32, rng: &mut ChaCha8Rng, rows: &mut Vec<(u32, u32)>) {
    let last = start | (u32::MAX.checked_shr(length).unwrap_or(0));
    let last_of = |(reserved, length): (u32, u32)| reserved | (u32::MAX >> length);
    if RESERVED.iter().any(|&network| network.0 <= start && last <= last_of(network)) {
        return;
    }
    let overlaps = RESERVED.iter().any(|&network| network.0 <= last && start <= last_of(network));
    if length >= 12 && !overlaps && rng.random::<f64>() < WHOLE[length as usize - 12] {
        rows.push((start, last));
        return;
    }
    split(start, length + 1, rng, rows);
    split(start | (1 << (31 - length)), length + 1, rng, rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AddressRanges> {
        AddressRanges::from_tsv(text.as_bytes(), "asn.tsv")
    }

    #[test]
    fn the_built_in_table_partitions_the_public_space() {
        let table = AddressRanges::built_in();
        assert_eq!(table, AddressRanges::built_in());
        assert!((350_000..450_000).contains(&table.len()), "{} rows", table.len());
        let mut lengths = [0_usize; 33];
        let mut num_addresses = 0_u64;
        for row in 0..table.len() {
            let (start, end) = table.get(row);
            assert!(start <= end && (row == 0 || table.get(row - 1).1 < start), "row {row}");
            let size = u64::from(end - start) + 1;
            assert!(size.is_power_of_two());
            num_addresses += size;
            lengths[32 - size.ilog2() as usize] += 1;
        }
        assert_eq!(lengths[12..=24].iter().sum::<usize>(), table.len());
        let share = |length: usize| lengths[length] as f64 / table.len() as f64;
        assert!((0.2..0.35).contains(&share(22)), "/22 {}", share(22));
        assert!((0.25..0.45).contains(&share(24)), "/24 {}", share(24));
        let reserved: u64 = RESERVED.iter().map(|&(_, length)| 1_u64 << (32 - length)).sum();
        assert_eq!(num_addresses, (1 << 32) - reserved);
        for private in ["0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.31.255.255"] {
            let ip = parse_ipv4(private.as_bytes()).unwrap();
            assert!(table.rows.iter().all(|&(start, end)| !(start..=end).contains(&ip)), "{private}");
        }
    }

    #[test]
    fn the_rows_of_an_address_and_of_a_network_are_found() {
        let table =
            read("1.0.0.0\t1.0.0.255\t1\tUS\tA\n1.0.2.0\t1.0.2.0\t1\tUS\tA\n1.0.4.0\t1.1.0.9\t1\tUS\tA\n")
                .unwrap();
        let row_of = |ip: &str| table.row_of(parse_ipv4(ip.as_bytes()).unwrap());
        for (ip, row) in [("1.0.0.0", 0), ("1.0.0.255", 0), ("1.0.2.0", 1), ("1.0.4.0", 2), ("1.1.0.9", 2)] {
            assert_eq!(row_of(ip), Some(row), "{ip}");
        }
        for ip in ["0.0.0.0", "1.0.1.0", "1.0.2.1", "1.1.0.10", "255.255.255.255"] {
            assert_eq!(row_of(ip), None, "{ip}");
        }
        assert_eq!(table.rows_within(0x0100_0000, 0x0100_FFFF), 0..3);
        assert_eq!(table.rows_within(0x0101_0000, 0x0101_FFFF), 2..3);
        assert!(table.rows_within(0x0100_0100, 0x0100_01FF).is_empty());
    }

    #[test]
    fn the_table_of_iptoasn_is_read() {
        let text = "1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET\n\
                    1.0.1.0\t1.0.3.255\t0\tNone\tNot routed\r\n\
                    1.0.4.0\t1.0.7.255\t38803\tAU\tGTELECOM\r\n\
                    2001:200::\t2001:200:5ff:ffff:ffff:ffff:ffff:ffff\t2500\tJP\tWIDE-BB";
        let table = read(text).unwrap();
        assert_eq!(table.rows, [(0x0100_0000, 0x0100_00FF), (0x0100_0400, 0x0100_07FF)]);
        let latin1 = AddressRanges::from_tsv(&b"1.0.0.0\t1.0.0.0\t1\tBR\tS\xE3o Paulo\n"[..], "x").unwrap();
        assert_eq!((latin1.len(), latin1.get(0)), (1, (0x0100_0000, 0x0100_0000)));
    }

    #[test]
    fn a_malformed_table_is_refused_with_its_line() {
        let good = "1.0.0.0\t1.0.0.255\t13335\tUS\tA\n";
        let cases = [
            ("1.0.1.0\t1.0.1.255", "fewer than three columns"),
            ("", "fewer than three columns"),
            ("1.0.1.0,1.0.1.255,1,US,A", "fewer than three columns"),
            ("1.0.1\t1.0.1.255\t1\tUS\tA", "\"1.0.1\" is not an IPv4 address"),
            ("16777472\t1.0.1.255\t1\tUS\tA", "\"16777472\" is not an IPv4 address"),
            ("1.0.1.0\t1.0.1.256\t1\tUS\tA", "\"1.0.1.256\" is not an IPv4 address"),
            ("1.0.1.0\t1.0.1.255\tAS1\tUS\tA", "\"AS1\" is not an AS number"),
            ("1.0.1.9\t1.0.1.8\t1\tUS\tA", "the range ends before it begins"),
            ("1.0.0.255\t1.0.1.8\t1\tUS\tA", "the range begins before the previous one ends"),
        ];
        for (row, what) in cases {
            let error = read(&format!("{good}{row}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("asn.tsv:2: {what}"));
            assert_eq!(error.exit_code(), 3);
        }
        for text in ["", "1.0.1.0\t1.0.3.255\t0\tNone\tNot routed\n"] {
            assert_eq!(read(text).unwrap_err().to_string(), "asn.tsv: no routed IPv4 range");
        }
    }
}
