//! Networks, of which trusted proxies are.

use std::str::FromStr;

use crate::event::{Address, ipv6_of, parse_ipv4};
use crate::{At, Error, Result};

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: u128,
    /// How many of the 128 bits count; IPv4 addresses are the last 32 of `::ffff:0:0/96`.
    num_bits: u32,
}

/// What IPv4 addresses begin with among those of IPv6.
const IPV4: u128 = 0xFFFF << 32;

impl Network {
    /// Whether an address is of the network. Of IPv6 addresses the first 64 bits are known.
    pub(super) fn contains(&self, address: Address) -> bool {
        let (address, num_known) = match address.ipv4() {
            Some(ip) => (IPV4 | u128::from(ip), 128),
            None => (u128::from(address.bits()) << 64, 64),
        };
        let num_bits = self.num_bits.min(num_known);
        num_bits == 0 || (self.address ^ address) >> (128 - num_bits) == 0
    }
}

impl FromStr for Network {
    type Err = Error;

    /// Parses `192.0.2.0/24`, `2001:db8::/32` or one address.
    fn from_str(text: &str) -> Result<Self> {
        let no_network = || {
            let help = "give networks such as 192.0.2.0/24 or 2001:db8::/32, or addresses";
            Error::config(At::option("trusted_proxies"), format!("`{text}` is no network"), help)
        };
        let (address, length) = text.split_once('/').map_or((text, None), |(a, length)| (a, Some(length)));
        let (address, first) = match parse_ipv4(address.as_bytes()) {
            Some(ip) => (IPV4 | u128::from(ip), 96),
            None => (u128::from(ipv6_of(address.as_bytes()).ok_or_else(no_network)?), 0),
        };
        let length = length.map_or(Ok(128 - first), str::parse::<u32>).map_err(|_| no_network())?;
        let num_bits = Some(first + length).filter(|num_bits| *num_bits <= 128).ok_or_else(no_network)?;
        Ok(Network { address, num_bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::parse_address;

    #[test]
    fn addresses_are_of_networks_of_their_family() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(parse_address(address.as_bytes()).unwrap())
        };
        assert!(contains("192.0.2.0/24", "192.0.2.255") && !contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("0.0.0.0/0", "203.0.113.1") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("2001:db8::7", "2001:db8::7"));
        for text in ["", "x", "192.0.2.0/33", "192.0.2.0/", "2001:db8::/129", "192.0.2/24"] {
            assert_eq!(text.parse::<Network>().unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
