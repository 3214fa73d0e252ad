//! Addresses of either family as text.

use std::net::Ipv6Addr;

use super::address::Address;
use super::ipv4::{ipv4_at, parse_ipv4};
use super::ipv6::ipv6_at;

/// Parses an address: IPv4 as [`std::net::Ipv4Addr`] takes it, IPv6 as [`std::net::Ipv6Addr`] does, with a zone behind it
/// (RFC 4007) or without. A zone has no influence.
pub fn parse_address(text: &[u8]) -> Option<Address> {
    match parse_ipv4(text) {
        Some(ip) => Some(Address::from_ipv4(ip)),
        None => Address::try_from(ipv6_of(text)?).ok(),
    }
}

/// The IPv6 address of a text, without its zone.
pub(crate) fn ipv6_of(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = match text.split_once('%') {
        Some((address, zone)) if is_zone(zone) => address,
        Some(_) => return None,
        None => text,
    };
    address.parse().ok()
}

/// Whether this can be a zone: the name or the number of an interface, not a prefix length or a port behind a bracket.
fn is_zone(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/%[]".contains(&byte))
}

/// The address at the beginning of `rest` and its length, where it is plain: IPv4, or IPv6 of hexadecimal digits and
/// colons whose upper half alone says what it is, with enough bytes behind it. What follows the address is not looked
/// at: it may be more of an address that is not plain.
#[inline]
pub(crate) fn address_at(rest: &[u8]) -> Option<(Address, usize)> {
    // Before its first colon an IPv6 address has at most four digits.
    if rest.first_chunk::<5>()?.contains(&b':') {
        let (upper, len) = ipv6_at(rest.first_chunk()?)?;
        return Address::of_upper_half(upper).map(|address| (address, len));
    }
    ipv4_at(rest.first_chunk()?).map(|(ip, len)| (Address::from_ipv4(ip), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_dropped_and_what_is_around_an_address_is_not() {
        let address = Some(Address::from_bits(0x2001_0DB8 << 32));
        for text in
            ["2001:db8::1", "2001:db8::1%eth0", "2001:db8::1%2", "2001:DB8::1%br-lan.100", "2001:db8::1%a:b"]
        {
            assert_eq!(parse_address(text.as_bytes()), address, "{text}");
        }
        for text in [
            "2001:db8::1%",
            "2001:db8::1%a%b",
            "2001:db8::1%a/64",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "2001:db8::1/64",
            " 2001:db8::1",
            "2001:db8::1 ",
            "1.2.3.4%eth0",
            "2001:db8::12345",
            "2001:db8:::1",
            "",
            "%eth0",
        ] {
            assert_eq!(parse_address(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_address(b"2001:db8::1\xff"), None);
    }

    #[test]
    fn a_plain_address_ends_where_something_else_begins() {
        let at = |text: &str| address_at(format!("{text}{}", " ".repeat(64)).as_bytes());
        assert_eq!(at("1.2.3.4,"), Some((Address::from_ipv4(0x0102_0304), 7)));
        assert_eq!(at("2001:db8::1,"), Some((Address::from_bits(0x2001_0DB8 << 32), 11)));
        for text in ["fe80::1", "::1", "64:ff9b::1", "::ffff:1.2.3.4", "a:b", "a"] {
            assert_eq!(at(text), None, "{text}");
        }
        assert_eq!(address_at(b"2001:db8::1\n"), None, "too few bytes behind it");
    }
}
