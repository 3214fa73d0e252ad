//! Why a row is not an event, and what to do with it.

use super::source::MAX_LINE;
use crate::event::{Address, AddressFamilies, ReservedAddress, ipv6_of, parse_ipv4};

/// Why a row is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRow {
    EmptyEntity,
    LongEntity,
    TooFewColumns,
    UnclosedQuote,
    EscapedQuote,
    TextBehindQuote,
    Nobody,
    NotJson,
    NotUtf8,
    FloatingPoint,
    MissingKey,
    MissingValue,
    NotText,
    BadLabel,
    BadTime,
    TimeOutOfRange,
    NotAddress,
    Ipv6,
    UnspecifiedIpv6,
    LinkLocalIpv6,
    BracketsOrPort,
    PrefixLength,
    LeadingZeros,
    Integer,
    SeveralAddresses,
    WhiteSpace,
}

impl BadRow {
    /// Why these bytes cannot be an entity.
    pub(crate) fn of_entity(entity: &[u8]) -> Option<Self> {
        match entity.len() {
            0 => Some(BadRow::EmptyEntity),
            // In every format, so that what is read from one can be read from another.
            MAX_LINE.. => Some(BadRow::LongEntity),
            _ => None,
        }
    }

    /// Why `text` is no address of `families`.
    pub(crate) fn of_address(text: &[u8], families: AddressFamilies) -> Self {
        let Ok(text) = std::str::from_utf8(text) else { return BadRow::NotAddress };
        if text.contains(',') && text.split(',').all(is_address) {
            return BadRow::SeveralAddresses;
        }
        if text.trim() != text && is_address(text) {
            return BadRow::WhiteSpace;
        }
        if is_number(text) {
            return BadRow::Integer;
        }
        let (address, around) = match text.split_once('/') {
            Some((address, length)) if is_number(length) => (address, Some(BadRow::PrefixLength)),
            _ => match without_brackets_and_port(text) {
                Some(address) => (address, Some(BadRow::BracketsOrPort)),
                None => (text, None),
            },
        };
        if let Some(ip) = ipv6_of(address.as_bytes()) {
            return match (Address::try_from(ip), around) {
                (Ok(address), Some(around)) if families.take(address) => around,
                _ if families == AddressFamilies::Ipv4 => BadRow::Ipv6,
                (_, Some(around)) => around,
                (Err(ReservedAddress::LinkLocal), None) => BadRow::LinkLocalIpv6,
                (Err(ReservedAddress::Unspecified), None) => BadRow::UnspecifiedIpv6,
                (Ok(_), None) => BadRow::NotAddress,
            };
        }
        match around {
            Some(around) if parse_ipv4(address.as_bytes()).is_some() => around,
            _ if has_leading_zeros(text) => BadRow::LeadingZeros,
            _ => BadRow::NotAddress,
        }
    }

    /// The reason's name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            BadRow::EmptyEntity => "empty entity",
            BadRow::LongEntity => "entity of 64 KiB or more",
            BadRow::TooFewColumns => "too few columns",
            BadRow::UnclosedQuote => "unclosed quote",
            BadRow::EscapedQuote => "quote escaped by a backslash",
            BadRow::TextBehindQuote => "text behind a closing quote",
            BadRow::Nobody => "a name that stands for nobody",
            BadRow::NotJson => "not a JSON object",
            BadRow::NotUtf8 => "text that is not UTF-8",
            BadRow::FloatingPoint => "floating-point number for an entity",
            BadRow::MissingKey => "missing key",
            BadRow::MissingValue => "missing value",
            BadRow::NotText => "not text or a number",
            BadRow::BadLabel => "bad label",
            BadRow::BadTime => "bad time",
            BadRow::TimeOutOfRange => "time before 1970 or after 2106",
            BadRow::NotAddress => "not an IP address",
            BadRow::Ipv6 => "IPv6 address",
            BadRow::UnspecifiedIpv6 => "IPv6 address in ::/32",
            BadRow::LinkLocalIpv6 => "link-local IPv6 address",
            BadRow::BracketsOrPort => "address with brackets or a port",
            BadRow::PrefixLength => "address with a prefix length",
            BadRow::LeadingZeros => "IPv4 with leading zeros",
            BadRow::Integer => "integer",
            BadRow::SeveralAddresses => "several addresses",
            BadRow::WhiteSpace => "white space around the address",
        }
    }

    /// What to do with the row.
    pub(crate) fn help(self) -> &'static str {
        match self {
            BadRow::EmptyEntity => "give the entity or remove the row",
            BadRow::LongEntity => {
                "a text file could not hold it either: shorten the entity or remove the row"
            }
            BadRow::TooFewColumns => "expected entity,address",
            BadRow::UnclosedQuote => "close the quote; a quote inside a quoted field is doubled",
            BadRow::EscapedQuote => {
                "Spark and MySQL write quotes so: read them with csv_escape '\\', or write the file with doubled quotes \
                 (Spark: option escape '\"')"
            }
            BadRow::TextBehindQuote => "a quote inside a quoted field is doubled",
            BadRow::Nobody => "remove the row; where it is an account's name, keep_nobody takes it",
            BadRow::NotJson => "write one JSON object a line, or read the file with --input-format csv",
            BadRow::MissingKey => "give the entity's and the address's key",
            BadRow::MissingValue => "give the value or remove the row",
            BadRow::NotUtf8 => "write the entity and the address in UTF-8",
            BadRow::FloatingPoint => {
                "a missing identifier made the column floating-point: cast it to Int64 or to text where the file is \
                 written (in pandas: astype('Int64'))"
            }
            BadRow::NotText => "write the entity and the address as strings",
            BadRow::BadLabel => {
                "a label is 0, 1, true or false (t, f, 1.0 and 0.0, too; case does not count)"
            }
            BadRow::BadTime => {
                "a time is a number of seconds, milli-, micro- or nanoseconds since 1970, or like 2024-05-31T23:59:59Z, \
                 2024-05-31 23:59:59.123+00, 31/May/2024:23:59:59 +0000"
            }
            BadRow::TimeOutOfRange => {
                "give a time from 1970 to 2106; a number is read as seconds, milli-, micro- or nanoseconds, as its size says"
            }
            BadRow::NotAddress => {
                "an IPv4 address is four numbers from 0 to 255 with dots between them, an IPv6 address eight groups of \
                 hexadecimal digits with colons between them, where :: stands for groups of zeros"
            }
            BadRow::Ipv6 => {
                "only IPv4 is taken here (model.addresses = \"ipv4\"): set model.addresses to \"both\", or remove the row"
            }
            BadRow::UnspecifiedIpv6 => {
                "the unspecified, the loopback and IPv4-compatible addresses are nobody's: log the client's address"
            }
            BadRow::LinkLocalIpv6 => {
                "every link has the network fe80::/64: log the client's global address, or remove the row"
            }
            BadRow::BracketsOrPort => "write the address alone: without brackets, without a port",
            BadRow::PrefixLength => "give one address, not a network",
            BadRow::LeadingZeros => {
                "write the octets without leading zeros, which some programs take as octal"
            }
            BadRow::SeveralAddresses => {
                "this looks like X-Forwarded-For: write the client's address alone; it is the last that none of your \
                 proxies has added"
            }
            BadRow::WhiteSpace => "remove the white space",
            BadRow::Integer => "write the address as four numbers with dots between them",
        }
    }
}

/// Whether this is an address, of either family and with white space around it.
fn is_address(text: &str) -> bool {
    ipv6_of(text.trim().as_bytes()).is_some() || parse_ipv4(text.trim().as_bytes()).is_some()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is in the brackets of `[…]` or `[…]:port`, or stands before the port of `…:port`.
pub(crate) fn without_brackets_and_port(text: &str) -> Option<&str> {
    let is_port = |text: &str| text.strip_prefix(':').is_some_and(is_number);
    if let Some(text) = text.strip_prefix('[') {
        let (address, rest) = text.split_once(']')?;
        return (rest.is_empty() || is_port(rest)).then_some(address);
    }
    let (address, port) = text.split_at(text.find(':')?);
    is_port(port).then_some(address)
}

/// Whether this would be an IPv4 address without zeros before its octets.
fn has_leading_zeros(text: &str) -> bool {
    let without_zeros = |octet: &&str| {
        is_number(octet)
            && matches!(octet.trim_start_matches('0'), rest if rest.parse::<u8>().is_ok() || rest.is_empty())
    };
    let octets: Vec<&str> = text.split('.').collect();
    octets.len() == 4 && octets.iter().all(without_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_what_the_address_is_instead() {
        let cases = [
            ("16909060", BadRow::Integer),
            ("1.2.3.4:80", BadRow::BracketsOrPort),
            ("[1.2.3.4]", BadRow::BracketsOrPort),
            ("[2001:db8::1]", BadRow::BracketsOrPort),
            ("[2001:db8::1]:443", BadRow::BracketsOrPort),
            ("[2001:db8::1%eth0]:443", BadRow::BracketsOrPort),
            ("[fe80::1]", BadRow::BracketsOrPort),
            ("[::ffff:1.2.3.4]", BadRow::BracketsOrPort),
            ("1.2.3.0/24", BadRow::PrefixLength),
            ("2001:db8::/32", BadRow::PrefixLength),
            ("::1", BadRow::UnspecifiedIpv6),
            ("::", BadRow::UnspecifiedIpv6),
            ("::1.2.3.4", BadRow::UnspecifiedIpv6),
            ("fe80::1", BadRow::LinkLocalIpv6),
            ("fe80::1%eth0", BadRow::LinkLocalIpv6),
            ("FEBF::1", BadRow::LinkLocalIpv6),
            ("01.2.3.4", BadRow::LeadingZeros),
            ("001.002.003.000", BadRow::LeadingZeros),
            ("1.2.3.256", BadRow::NotAddress),
            ("1.2.3", BadRow::NotAddress),
            ("", BadRow::NotAddress),
            ("1.2.3.4 ", BadRow::WhiteSpace),
            ("\t1.2.3.4", BadRow::WhiteSpace),
            ("192.0.2.77, 198.51.100.16", BadRow::SeveralAddresses),
            ("1.2.3.4,", BadRow::NotAddress),
            ("1.2.3.4, unknown", BadRow::NotAddress),
            ("host", BadRow::NotAddress),
            ("host:80", BadRow::NotAddress),
            ("...", BadRow::NotAddress),
            ("2001:db8::1::2", BadRow::NotAddress),
            ("2001:db8::1%", BadRow::NotAddress),
            ("2001:db8::12345", BadRow::NotAddress),
            ("[2001:db8::1", BadRow::NotAddress),
            ("[2001:db8::1]443", BadRow::NotAddress),
            ("[]", BadRow::NotAddress),
        ];
        for (text, reason) in cases {
            assert_eq!(BadRow::of_address(text.as_bytes(), AddressFamilies::Both), reason, "{text:?}");
            let is_ipv6 = text.contains("::") && !text.contains("ffff") && reason != BadRow::NotAddress;
            let for_ipv4 = if is_ipv6 { BadRow::Ipv6 } else { reason };
            assert_eq!(BadRow::of_address(text.as_bytes(), AddressFamilies::Ipv4), for_ipv4, "{text:?}");
        }
        for (text, reason) in [("2001:db8::1", BadRow::Ipv6), ("2002:102:304::", BadRow::Ipv6)] {
            assert_eq!(BadRow::of_address(text.as_bytes(), AddressFamilies::Ipv4), reason, "{text:?}");
        }
        assert_eq!(BadRow::of_address(b"\xFF", AddressFamilies::Both), BadRow::NotAddress);
        assert!(BadRow::Ipv6.help().contains("model.addresses"));
        assert!(BadRow::BracketsOrPort.help().contains("without brackets, without a port"));
    }
}
