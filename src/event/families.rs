//! Which addresses are taken.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::ipv4::parse_ipv4;
use super::parse::parse_address;
use crate::{Error, Result};

/// The families of addresses that a model knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressFamilies {
    /// IPv4 only, as the reference system. An IPv6 address that holds an IPv4 address is that.
    #[default]
    Ipv4,
    /// IPv4, and of IPv6 the /64.
    Both,
}

impl AddressFamilies {
    /// Every choice, in the order in which help texts list them.
    pub const ALL: [AddressFamilies; 2] = [AddressFamilies::Ipv4, AddressFamilies::Both];

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            AddressFamilies::Ipv4 => "ipv4",
            AddressFamilies::Both => "both",
        }
    }

    /// Whether an address is of these families.
    #[inline]
    pub fn take(self, address: Address) -> bool {
        self == AddressFamilies::Both || address.is_ipv4()
    }

    /// The address of a text ([`parse_address`]), where it is one of these families.
    #[inline]
    pub fn parse(self, text: &[u8]) -> Option<Address> {
        match parse_ipv4(text) {
            Some(ip) => Some(Address::from_ipv4(ip)),
            None => parse_address(text).filter(|address| self.take(*address)),
        }
    }
}

impl fmt::Display for AddressFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AddressFamilies {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        AddressFamilies::ALL.into_iter().find(|families| families.name() == text).ok_or_else(|| {
            let names = AddressFamilies::ALL.map(AddressFamilies::name).join(", ");
            Error::config("addresses", format!("no such families `{text}`"), format!("valid values: {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_taken_where_it_is_asked_for_and_held_ipv4_addresses_always() {
        for text in ["1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::1.2.3.4", "::ffff:1.2.3.4%eth0"] {
            for families in AddressFamilies::ALL {
                assert_eq!(families.parse(text.as_bytes()), Some(Address::from_ipv4(0x0102_0304)), "{text}");
            }
        }
        assert_eq!(AddressFamilies::Ipv4.parse(b"2001:db8::1"), None);
        assert_eq!(AddressFamilies::Both.parse(b"2001:db8::1"), Some(Address::from_bits(0x2001_0DB8 << 32)));
        for families in AddressFamilies::ALL {
            assert_eq!(families.name().parse::<AddressFamilies>().unwrap(), families);
            assert_eq!(families.parse(b"::1"), None);
        }
        assert!("ipv6".parse::<AddressFamilies>().is_err());
    }
}
