//! An event: one entity used one IPv4 address.
//!
//! Entities are opaque bytes and are hashed as they are. The hash is part of a model's contract, so it has
//! a name and a version ([`ENTITY_HASH`]) that are written into prepared files and model folders.

mod address;

use std::net::Ipv6Addr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use address::{Address, ReservedAddress};

/// Name and version of the entity hash: XXH3-64 of the entity's bytes with seed 0
/// (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
pub const ENTITY_HASH: &str = "xxh3_64:v1";

/// One (entity, IP) pair as the trainer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// [`hash_entity`] of the entity's bytes.
    pub entity: u64,
    /// The IPv4 address as an integer, first octet in the highest byte.
    pub ip: u32,
}

/// Hashes an entity's bytes; any bytes do, valid UTF-8 or not.
pub fn hash_entity(entity: &[u8]) -> u64 {
    xxh3_64_with_seed(entity, 0)
}

/// The row of the embedding table that an entity hash belongs to, in `0..num_entity_vectors`.
pub fn entity_row(entity: u64, num_entity_vectors: usize) -> u32 {
    (entity % num_entity_vectors as u64) as u32
}

/// A bijection of 64-bit integers that looks random: the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast
/// Splittable Pseudorandom Number Generators", 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Which texts are taken as an IPv4 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpSyntax {
    /// Those that [`parse_ipv4`] takes.
    #[default]
    Ipv4,
    /// And IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2) in any form of theirs, such as `::ffff:1.2.3.4`: they stand for
    /// the IPv4 address that they hold.
    Ipv4OrMapped,
}

impl IpSyntax {
    /// With IPv4-mapped addresses or without.
    pub fn new(ipv4_mapped: bool) -> Self {
        if ipv4_mapped { Self::Ipv4OrMapped } else { Self::Ipv4 }
    }

    /// The address, where the text is one.
    #[inline]
    pub fn parse(self, text: &[u8]) -> Option<u32> {
        match self {
            Self::Ipv4 => parse_ipv4(text),
            Self::Ipv4OrMapped => parse_ipv4(text).or_else(|| parse_ipv4_mapped(text)),
        }
    }
}

/// The IPv4 address that an IPv4-mapped IPv6 address holds.
pub(crate) fn parse_ipv4_mapped(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok()?.to_ipv4_mapped().map(u32::from)
}

/// Bytes that [`ipv4_at`] looks at: the longest address has 15, and every octet is loaded as four.
pub(crate) const IPV4_WINDOW: usize = 20;

/// Parses an IPv4 address exactly as [`std::net::Ipv4Addr`] does: four decimal octets, no leading zeros, nothing
/// else.
pub fn parse_ipv4(text: &[u8]) -> Option<u32> {
    let mut window = [0; IPV4_WINDOW];
    // The longest address is shorter than this; the zero behind the text ends it.
    window.get_mut(..text.len()).filter(|place| place.len() <= 15)?.copy_from_slice(text);
    ipv4_at(&window).and_then(|(ip, len)| (len == text.len()).then_some(ip))
}

/// The address at the beginning of `window` and its length. It ends before the first byte that is neither a
/// digit nor a dot, which must be among the first 16.
///
/// Octets have one to three digits at random, which a branch on each byte mispredicts several times an address.
/// So there is no branch but the last: dots are found eight bytes at a time, and whatever is wrong is gathered.
#[inline]
pub(crate) fn ipv4_at(window: &[u8; IPV4_WINDOW]) -> Option<(u32, usize)> {
    let (low, high) = (eight_bytes(window, 0), eight_bytes(window, 8));
    let mut dots = movemask(equal_to(low, b'.')) | movemask(equal_to(high, b'.')) << 8;
    let others = movemask(not_digits(low)) | movemask(not_digits(high)) << 8;
    // Sixteen when all are digits or dots: too long, and the last octet is found to be.
    let len = ((others & !dots) | 1 << 16).trailing_zeros();
    dots &= (1 << len) - 1;
    let mut is_wrong = dots.count_ones() != 3;
    let mut ip = 0;
    let mut start = 0;
    for octet in 0..4 {
        // Where dots are missing the positions make no sense, but stay in the window.
        let end = if octet < 3 { (dots | 1 << 16).trailing_zeros() } else { len };
        dots &= dots.wrapping_sub(1);
        let num_digits = end.wrapping_sub(start);
        is_wrong |= num_digits.wrapping_sub(1) >= 3;
        let at = start as usize & 15;
        let word = u32::from_le_bytes([window[at], window[at + 1], window[at + 2], window[at + 3]]);
        is_wrong |= (num_digits > 1) & (word as u8 == b'0');
        // The last digit comes to bits 16 to 23, and zeros stand before the first.
        let digits = word << (3_u32.wrapping_sub(num_digits) << 3 & 31);
        let value = (digits & 15) * 100 + (digits >> 8 & 15) * 10 + (digits >> 16 & 15);
        is_wrong |= value > 255;
        ip = ip << 8 | value & 255;
        start = end + 1;
    }
    (!is_wrong).then_some((ip, len as usize))
}

fn eight_bytes(window: &[u8; IPV4_WINDOW], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| window[at + i]))
}

/// One in every byte.
const ONES: u64 = u64::MAX / 255;
const TOP_BITS: u64 = 0x80 * ONES;

/// The top bit of every byte that is `byte`; the others are zero.
fn equal_to(word: u64, byte: u8) -> u64 {
    let differing = word ^ (u64::from(byte) * ONES);
    !(((differing & !TOP_BITS) + !TOP_BITS) | differing) & TOP_BITS
}

/// The top bit of every byte that is not a digit; the others are zero.
fn not_digits(word: u64) -> u64 {
    // Digits become 0 to 9; adding 118 to what is larger sets the top bit.
    let digits = word ^ (u64::from(b'0') * ONES);
    (((digits & !TOP_BITS) + 118 * ONES) | digits) & TOP_BITS
}

/// The eight top bits, the first byte's lowest.
fn movemask(top_bits: u64) -> u32 {
    // The product moves bit 7 + 8i to bit 56 + i; no two terms meet.
    ((top_bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn parsed_by_the_standard_library(text: &[u8]) -> Option<u32> {
        std::str::from_utf8(text).ok()?.parse::<Ipv4Addr>().ok().map(u32::from)
    }

    #[track_caller]
    fn assert_as_the_standard_library(text: &[u8]) {
        assert_eq!(parse_ipv4(text), parsed_by_the_standard_library(text), "{}", text.escape_ascii());
    }

    #[test]
    fn ipv4_is_taken_as_the_standard_library_takes_it() {
        assert_eq!(parse_ipv4(b"1.2.3.4"), Some(0x0102_0304));
        assert_eq!(parse_ipv4(b"255.255.255.255"), Some(u32::MAX));
        let refused = [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "01.2.3.4",
            "1.2.3.256",
            "1.2.3.4:80",
            "1.2.3.0/24",
            "16909060",
            "::1",
            "::ffff:1.2.3.4",
            " 1.2.3.4",
            "1.2.3.4 ",
            "+1.2.3.4",
            "1.2.3.４",
        ];
        for text in refused {
            assert_eq!(parse_ipv4(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_ipv4(b"1.2.3.\xff"), None);
    }

    #[test]
    fn ipv4_mapped_addresses_are_taken_where_that_is_chosen() {
        let mapped = ["::ffff:1.2.3.4", "::FFFF:1.2.3.4", "0:0:0:0:0:ffff:1.2.3.4", "::ffff:102:304"];
        for text in mapped {
            assert_eq!(IpSyntax::Ipv4OrMapped.parse(text.as_bytes()), Some(0x0102_0304), "{text:?}");
            assert_eq!(IpSyntax::Ipv4.parse(text.as_bytes()), None, "{text:?}");
        }
        let others = [
            "::1.2.3.4",
            "::1",
            "::ffff:1.2.3.4%eth0",
            "[::ffff:1.2.3.4]",
            "::ffff:1.2.3.4/128",
            "::ffff:01.2.3.4",
            "::fffe:1.2.3.4",
            "64:ff9b::1.2.3.4",
            " ::ffff:1.2.3.4",
            "",
        ];
        for text in others {
            assert_eq!(IpSyntax::Ipv4OrMapped.parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(IpSyntax::Ipv4OrMapped.parse(b"1.2.3.4"), Some(0x0102_0304));
    }

    #[test]
    fn octets_in_every_place_are_taken_as_the_standard_library_takes_them() {
        let numbers = (0..1100).map(|number| number.to_string());
        let octets: Vec<String> = numbers
            .flat_map(|number| [format!("0{number}"), format!("00{number}"), number])
            .chain(
                ["", "0", "00", "000", "0000", "-1", "+1", " 1", "1 ", "1\0", "x", "1e1", "12345"]
                    .map(String::from),
            )
            .collect();
        for octet in &octets {
            for others in [["0", "0", "0"], ["1", "22", "133"], ["255", "255", "255"]] {
                for place in 0..4 {
                    let mut all = others.to_vec();
                    all.insert(place, octet);
                    assert_as_the_standard_library(all.join(".").as_bytes());
                }
            }
        }
    }

    /// Every byte of an address replaced by, preceded by and cut at every byte.
    #[test]
    fn mutated_addresses_are_taken_as_the_standard_library_takes_them() {
        let lengths = ["0", "7", "10", "99", "100", "255"];
        for number in 0..lengths.len().pow(4) {
            let octets: Vec<&str> =
                (0..4).map(|i| lengths[number / lengths.len().pow(i) % lengths.len()]).collect();
            let text = octets.join(".").into_bytes();
            assert_eq!(parse_ipv4(&text), parsed_by_the_standard_library(&text));
            assert!(parse_ipv4(&text).is_some());
            // All bytes in all places of some, those that could matter in all places of the others.
            let bytes: Vec<u8> = if number % 61 == 0 {
                (0..=255).collect()
            } else {
                b"\0\r\n ,-./0123456789:;@A\x80\xAE\xB0\xFF".to_vec()
            };
            for place in 0..=text.len() {
                assert_as_the_standard_library(&text[..place]);
                assert_as_the_standard_library(&text[place..]);
                for &byte in &bytes {
                    let mut mutated = text.clone();
                    mutated.insert(place, byte);
                    assert_as_the_standard_library(&mutated);
                    mutated.remove((place + 1) % mutated.len());
                    assert_as_the_standard_library(&mutated);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_address_is_parsed_and_any_text_is_as_in_the_standard_library(
            ip in any::<u32>(),
            bytes in proptest::collection::vec(prop::sample::select(&b"0129...."[..]), 0..20),
            noise in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            prop_assert_eq!(parse_ipv4(Ipv4Addr::from(ip).to_string().as_bytes()), Some(ip));
            for text in [bytes, noise] {
                prop_assert_eq!(parse_ipv4(&text), parsed_by_the_standard_library(&text));
            }
        }

        #[test]
        fn an_address_ends_where_something_else_begins(ip in any::<u32>(), behind in any::<[u8; IPV4_WINDOW]>()) {
            let text = Ipv4Addr::from(ip).to_string();
            let mut window = behind;
            window[..text.len()].copy_from_slice(text.as_bytes());
            let next = window[text.len()];
            let wanted = (next != b'.' && !next.is_ascii_digit()).then_some((ip, text.len()));
            if let Some(wanted) = wanted {
                prop_assert_eq!(ipv4_at(&window), Some(wanted));
            }
        }
    }

    /// Reference values of the published XXH3-64, seed 0.
    #[test]
    fn the_entity_hash_is_the_published_one() {
        assert_eq!(hash_entity(b""), 0x2D06_8005_38D3_94C2);
        // From Python's xxhash: xxhash.xxh3_64_intdigest(…).
        assert_eq!(hash_entity(b"user_1"), 0x20F9_09AB_6F54_D5A1);
        assert_eq!(hash_entity(&[0xFF, 0x00, 0x41]), 0x488E_A76F_C147_DD30);
    }

    #[test]
    fn entity_rows_stay_in_the_table() {
        for size in [1, 2, 3, 100_000, 250_000_000] {
            for entity in [0, 1, u64::MAX, 0x2D06_8005_38D3_94C2] {
                assert!((entity_row(entity, size) as usize) < size);
            }
        }
    }
}
