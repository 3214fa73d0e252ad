//! Why a row is not an event, in words that say how to mend it.

use std::net::Ipv6Addr;

use super::source::MAX_LINE;
use crate::event::{parse_ipv4, parse_ipv4_mapped};

/// Why a row is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRow {
    EmptyEntity,
    LongEntity,
    TooFewColumns,
    UnclosedQuote,
    NotJson,
    MissingKey,
    MissingValue,
    NotText,
    BadLabel,
    BadTime,
    NotIpv4,
    Ipv6,
    Ipv4Mapped,
    Ipv4WithPort,
    Ipv4WithPrefix,
    LeadingZeros,
    Integer,
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

    /// Why `text`, which is not an IPv4 address, is none.
    pub(crate) fn of_ip(text: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(text) else { return BadRow::NotIpv4 };
        let is_ipv4 = |text: &str| parse_ipv4(text.as_bytes()).is_some();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number(text) {
            return BadRow::Integer;
        }
        if let Some((address, prefix)) = text.split_once('/')
            && is_ipv4(address)
            && is_number(prefix)
        {
            return BadRow::Ipv4WithPrefix;
        }
        if let Some((address, port)) = text.split_once(':')
            && is_ipv4(address)
            && is_number(port)
        {
            return BadRow::Ipv4WithPort;
        }
        if parse_ipv4_mapped(text.as_bytes()).is_some() {
            return BadRow::Ipv4Mapped;
        }
        // Also with brackets, a port, a zone or a prefix length around it.
        let address = text.trim_start_matches('[').split([']', '%', '/']).next().unwrap_or(text);
        if address.parse::<Ipv6Addr>().is_ok() {
            return BadRow::Ipv6;
        }
        let octets: Vec<&str> = text.split('.').collect();
        let without_zeros = |octet: &&str| {
            is_number(octet)
                && matches!(octet.trim_start_matches('0'), rest if rest.parse::<u8>().is_ok() || rest.is_empty())
        };
        if octets.len() == 4 && octets.iter().all(without_zeros) {
            return BadRow::LeadingZeros;
        }
        BadRow::NotIpv4
    }

    /// The reason's name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            BadRow::EmptyEntity => "empty entity",
            BadRow::LongEntity => "entity of 64 KiB or more",
            BadRow::TooFewColumns => "too few columns",
            BadRow::UnclosedQuote => "unclosed quote",
            BadRow::NotJson => "not a JSON object",
            BadRow::MissingKey => "missing key",
            BadRow::MissingValue => "missing value",
            BadRow::NotText => "not text or a number",
            BadRow::BadLabel => "bad label",
            BadRow::BadTime => "bad time",
            BadRow::NotIpv4 => "not an IPv4 address",
            BadRow::Ipv6 => "IPv6 address",
            BadRow::Ipv4Mapped => "IPv4-mapped IPv6 address",
            BadRow::Ipv4WithPort => "IPv4 with a port",
            BadRow::Ipv4WithPrefix => "IPv4 with a prefix length",
            BadRow::LeadingZeros => "IPv4 with leading zeros",
            BadRow::Integer => "integer",
        }
    }

    /// How to mend the row.
    pub(crate) fn mend(self) -> &'static str {
        match self {
            BadRow::EmptyEntity => "give the entity or remove the row",
            BadRow::LongEntity => {
                "a text file could not hold it either: shorten the entity or remove the row"
            }
            BadRow::TooFewColumns => "expected entity,ipv4",
            BadRow::UnclosedQuote => "close the quote; a quote inside a quoted field is doubled",
            BadRow::NotJson => "write one JSON object a line, or read the file with --input-format csv",
            BadRow::MissingKey => "give the entity's and the IPv4 address's key",
            BadRow::MissingValue => "give the value or remove the row",
            BadRow::NotText => "write the entity and the IPv4 address as strings",
            BadRow::BadLabel => "a label is 0, 1, true or false",
            BadRow::BadTime => "a time is a number of Unix seconds or like 2024-05-31T23:59:59Z",
            BadRow::NotIpv4 => "an IPv4 address is four numbers from 0 to 255 with dots between them",
            BadRow::Ipv6 => "IPv6 is not supported, the model knows IPv4 addresses only: remove the row",
            BadRow::Ipv4Mapped => {
                "give --ipv4-mapped to have it taken as the IPv4 address that it holds, or write that address"
            }
            BadRow::Ipv4WithPort => "remove the port",
            BadRow::Ipv4WithPrefix => "give one address, not a network",
            BadRow::LeadingZeros => {
                "write the octets without leading zeros, which some programs take as octal"
            }
            BadRow::Integer => "write the address as four numbers with dots between them",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_what_the_address_is_instead() {
        let cases = [
            ("16909060", BadRow::Integer),
            ("1.2.3.4:80", BadRow::Ipv4WithPort),
            ("1.2.3.0/24", BadRow::Ipv4WithPrefix),
            ("::1", BadRow::Ipv6),
            ("::ffff:1.2.3.4", BadRow::Ipv4Mapped),
            ("::FFFF:102:304", BadRow::Ipv4Mapped),
            ("[::ffff:1.2.3.4]", BadRow::Ipv6),
            ("::1.2.3.4", BadRow::Ipv6),
            ("[2001:db8::1]:443", BadRow::Ipv6),
            ("fe80::1%eth0", BadRow::Ipv6),
            ("2001:db8::/32", BadRow::Ipv6),
            ("01.2.3.4", BadRow::LeadingZeros),
            ("001.002.003.000", BadRow::LeadingZeros),
            ("1.2.3.256", BadRow::NotIpv4),
            ("1.2.3", BadRow::NotIpv4),
            ("", BadRow::NotIpv4),
            ("1.2.3.4 ", BadRow::NotIpv4),
            ("host", BadRow::NotIpv4),
            ("...", BadRow::NotIpv4),
        ];
        for (text, reason) in cases {
            assert_eq!(BadRow::of_ip(text.as_bytes()), reason, "{text:?}");
        }
        assert_eq!(BadRow::of_ip(b"\xFF"), BadRow::NotIpv4);
    }
}
