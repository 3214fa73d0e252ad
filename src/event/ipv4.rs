//! IPv4 addresses as text.

use super::bytes::{eight_bytes, equal_to, four_bytes, movemask, not_digits};

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
        let word = four_bytes(window, at);
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
}
