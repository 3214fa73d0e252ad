//! IPv6 addresses as text, as far as hexadecimal digits and colons go.

use super::bytes::{eight_bytes, equal_to, four_bytes, hex_digits, movemask};

/// Bytes that [`ipv6_at`] looks at: the longest address of digits and colons has 39, and every group is loaded as four.
pub(super) const IPV6_WINDOW: usize = 44;

/// Groups in the upper half of an address.
const UPPER_GROUPS: usize = 4;

/// The upper half of the address at the beginning of `window` and the address's length. It ends before the first byte
/// that is neither a hexadecimal digit nor a colon, which must be among the first 40. `None` for what is no address, and
/// for the few whose `::` stands for groups of the upper half with more than four groups behind it.
///
/// As for IPv4 there is no branch but the last: the lengths of groups and the place of `::` are known as sets of bits, of
/// which rules are asked all at once.
#[inline]
pub(super) fn ipv6_at(window: &[u8; IPV6_WINDOW]) -> Option<(u64, usize)> {
    let (mut colons, mut digits) = (0_u64, 0_u64);
    for at in (0..40).step_by(8) {
        let word = eight_bytes(window, at);
        colons |= u64::from(movemask(equal_to(word, b':'))) << at;
        digits |= u64::from(movemask(hex_digits(word))) << at;
    }
    // Forty when there is no end: too long.
    let len = (!(colons | digits) | 1 << 40).trailing_zeros();
    let within = (1 << len) - 1;
    colons &= within;
    digits &= within;
    // The first colon of `::`, the colons that are not of it, and the first digits of groups.
    let double = colons & colons >> 1;
    let single = colons & !(double | double << 1);
    let mut starts = digits & !(digits << 1);
    let num_groups = starts.count_ones();
    let (min_groups, max_groups) = if double == 0 { (8, 8) } else { (0, 7) };
    let num_head = (starts & double.wrapping_sub(1)).count_ones();

    let mut is_wrong = len == 40;
    is_wrong |= num_groups < min_groups || num_groups > max_groups;
    is_wrong |= double & double.wrapping_sub(1) != 0;
    // A colon at either end is one of `::`.
    is_wrong |= single & (1 | 1 << len >> 1) != 0;
    is_wrong |= digits & digits >> 1 & digits >> 2 & digits >> 3 & digits >> 4 != 0;
    is_wrong |= num_groups - num_head > UPPER_GROUPS as u32 && num_head < UPPER_GROUPS as u32;

    let mut upper = 0;
    for group in 0..UPPER_GROUPS as u32 {
        // Where groups are missing the positions make no sense, but stay in the window.
        let start = starts.trailing_zeros().min(40);
        starts &= starts.wrapping_sub(1);
        let num_digits = (!digits >> start).trailing_zeros();
        let value = hex_value(four_bytes(window, start as usize), num_digits);
        upper = upper << 16 | if group < num_head { value } else { 0 };
    }
    (!is_wrong).then_some((upper, len as usize))
}

/// The value of the first `num_digits` (1 to 4) of four hexadecimal digits, the first in the lowest byte.
fn hex_value(word: u32, num_digits: u32) -> u64 {
    // The last digit comes to the highest byte, and zeros stand before the first.
    let digits = (word << (32_u32.wrapping_sub(8 * num_digits) & 31)).swap_bytes();
    let nibbles = (digits & 0x0F0F_0F0F) + 9 * (digits >> 6 & 0x0101_0101);
    let pairs = (nibbles | nibbles >> 4) & 0x00FF_00FF;
    u64::from((pairs | pairs >> 8) & 0xFFFF)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    /// The first bytes of `text` in a window, and zeros behind them.
    fn window_of(text: &[u8]) -> [u8; IPV6_WINDOW] {
        let mut window = [0; IPV6_WINDOW];
        let len = text.len().min(IPV6_WINDOW);
        window[..len].copy_from_slice(&text[..len]);
        window
    }

    /// Compares with the standard library, for a text that has no dots: it takes the address, or neither does. Whether the
    /// address is one that is left to others is known from it.
    #[track_caller]
    fn assert_as_the_standard_library(text: &[u8]) {
        let found = ipv6_at(&window_of(text)).filter(|(_, len)| *len == text.len()).map(|(upper, _)| upper);
        let by_std = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Ipv6Addr>().ok());
        let expected = by_std.map(|ip| (ip.to_bits() >> 64) as u64);
        if found != expected {
            let shown = text.escape_ascii();
            assert_eq!(found, None, "{shown}");
            let head = text.windows(2).position(|two| two == b"::").expect("a short form");
            let groups =
                |text: &[u8]| text.split(|byte| *byte == b':').filter(|group| !group.is_empty()).count();
            assert!(groups(&text[..head]) < 4 && groups(&text[head..]) > 4, "{shown}");
        }
    }

    #[test]
    fn groups_are_read_in_every_place() {
        let upper = |text: &str| ipv6_at(&window_of(text.as_bytes())).map(|(upper, _)| upper);
        assert_eq!(upper("1:23:456:789a:bcde:f:0:1"), Some(0x0001_0023_0456_789A));
        assert_eq!(upper("ABCD:EF01:2345:6789:abcd:ef01:2345:6789"), Some(0xABCD_EF01_2345_6789));
        assert_eq!(upper("::"), Some(0));
        assert_eq!(upper("1::"), Some(1 << 48));
        assert_eq!(upper("::1"), Some(0));
        assert_eq!(upper("1:2:3:4::5:6:7"), Some(0x0001_0002_0003_0004));
        assert_eq!(upper("1:2:3::4:5:6:7"), Some(0x0001_0002_0003_0000));
        assert_eq!(upper("1:2::4:5:6:7"), Some(0x0001_0002_0000_0000));
        assert_eq!(upper("1:2::3:4:5:6:7"), None, "left to others");
        // What follows may be anything.
        assert_eq!(ipv6_at(&window_of(b"1::2,1::3")), Some((1 << 48, 4)));
        assert_eq!(ipv6_at(&window_of(b"::ffff:1.2.3.4")), Some((0, 8)));
    }

    #[test]
    fn short_forms_of_every_shape_are_taken_as_the_standard_library_takes_them() {
        for num_head in 0..=9 {
            for num_tail in 0..=9 {
                for group in ["0", "a", "Fe", "123", "ffff", "0000", "00000", "g", ""] {
                    let groups = |num| vec![group; num].join(":");
                    for middle in ["::", ":", ":::", "", "::::", ":0:", "::0::"] {
                        let text = format!("{}{middle}{}", groups(num_head), groups(num_tail));
                        assert_as_the_standard_library(text.as_bytes());
                        assert_as_the_standard_library(format!(":{text}").as_bytes());
                        assert_as_the_standard_library(format!("{text}:").as_bytes());
                    }
                }
            }
        }
    }

    /// Every byte of an address replaced by, preceded by and cut at every byte.
    #[test]
    fn mutated_addresses_are_taken_as_the_standard_library_takes_them() {
        for text in
            ["1:23:456:789a:bcde:f:0:1", "2001:db8::1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            let text = text.as_bytes();
            for place in 0..=text.len() {
                assert_as_the_standard_library(&text[..place]);
                assert_as_the_standard_library(&text[place..]);
                for byte in (0..=255).filter(|byte| *byte != b'.') {
                    let mut mutated = text.to_vec();
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
            bits in any::<u128>(),
            zeros in any::<u8>(),
            text in proptest::collection::vec(prop::sample::select(&b"019afAF::::::"[..]), 0..42),
            noise in proptest::collection::vec(any::<u8>(), 0..24).prop_map(|mut noise| {
                noise.retain(|byte| *byte != b'.');
                noise
            }),
        ) {
            // Groups of zeros, so that there are short forms.
            let groups = Ipv6Addr::from(bits).segments();
            let ip = Ipv6Addr::from(std::array::from_fn(|i| if zeros >> i & 1 == 1 { 0 } else { groups[i] }));
            let written = ip.to_string();
            if !written.contains('.') {
                assert_as_the_standard_library(written.as_bytes());
            }
            let whole = ip.segments().map(|group| format!("{group:04X}")).join(":");
            prop_assert_eq!(ipv6_at(&window_of(whole.as_bytes())), Some(((ip.to_bits() >> 64) as u64, 39)));
            assert_as_the_standard_library(&text);
            assert_as_the_standard_library(&noise);
        }
    }
}
