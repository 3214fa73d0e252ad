//! Networks: addresses that share their first bits.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Serialize, Serializer};

use crate::event::Address;

/// The addresses of one family that share their first bits; as text and in JSON `203.0.0.0/8` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// Those of an [`Address`], with zeros behind the prefix.
    pub(super) bits: u64,
    length: u32,
    is_ipv4: bool,
}

impl Prefix {
    /// The prefix of an address; `length` is 0..=32 for IPv4 and 0..=64 for IPv6.
    pub fn of(address: Address, length: u32) -> Self {
        let is_ipv4 = address.is_ipv4();
        let kept = u64::MAX.checked_shl(num_bits(is_ipv4) - length).unwrap_or(0);
        Self { bits: address.bits() & kept, length, is_ipv4 }
    }

    /// The number of bits: 0..=32 for IPv4, 0..=64 for IPv6.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Whether it is one address, as far as addresses are told apart.
    pub fn is_address(&self) -> bool {
        self.length == num_bits(self.is_ipv4)
    }

    /// An address of the prefix; `bits` are those behind it, in the highest of 64 places.
    pub(super) fn complete(&self, bits: u64) -> Address {
        let shift = u64::BITS - num_bits(self.is_ipv4) + self.length;
        Address::from_bits(self.bits | bits.checked_shr(shift).unwrap_or(0))
    }

    /// The first bits that it shares with another of its family, at most its length.
    pub(super) fn shared_bits(&self, other: &Self) -> u32 {
        let shared = (self.bits ^ other.bits).leading_zeros() - (u64::BITS - num_bits(self.is_ipv4));
        shared.min(self.length)
    }
}

/// The bits by which addresses of a family are told apart.
fn num_bits(is_ipv4: bool) -> u32 {
    if is_ipv4 { 32 } else { 64 }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.is_ipv4 {
            true => format!("{}/{}", Ipv4Addr::from(self.bits as u32), self.length),
            false => format!("{}/{}", Ipv6Addr::from(u128::from(self.bits) << 64), self.length),
        })
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Address {
        match text.parse().unwrap() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => ip.try_into().unwrap(),
        }
    }

    #[test]
    fn prefixes_are_written_as_networks_and_completed_within_themselves() {
        for (ip, length, text) in [
            ("203.0.113.7", 0, "0.0.0.0/0"),
            ("203.0.113.7", 8, "203.0.0.0/8"),
            ("203.0.113.7", 20, "203.0.112.0/20"),
            ("203.0.113.7", 24, "203.0.113.0/24"),
            ("203.0.113.7", 32, "203.0.113.7/32"),
            ("2001:db8:1:2::3", 3, "2000::/3"),
            ("2001:db8:1:2::3", 32, "2001:db8::/32"),
            ("2001:db8:1:2::3", 62, "2001:db8:1::/62"),
            ("2001:db8:1:2::3", 64, "2001:db8:1:2::/64"),
        ] {
            let prefix = Prefix::of(address(ip), length);
            assert_eq!(prefix.to_string(), text);
            for bits in [0, 1, 1 << 63, u64::MAX] {
                assert_eq!(Prefix::of(prefix.complete(bits), length), prefix, "{text}");
            }
            let last = u128::from(prefix.complete(u64::MAX).bits());
            let num_bits = if ip.contains(':') { 64 } else { 32 };
            assert_eq!(last - u128::from(prefix.bits) + 1, 1 << (num_bits - length), "{text}");
            assert_eq!(prefix.is_address(), length == num_bits);
        }
    }

    #[test]
    fn shared_bits_are_counted_from_the_first_and_within_the_prefix() {
        for (a, b, length, shared) in [
            ("10.1.0.0", "10.1.255.0", 16, 16),
            ("10.1.0.0", "10.0.0.0", 16, 15),
            ("10.1.0.0", "138.1.0.0", 16, 0),
            ("2001:db8::", "2001:db8:8000::", 32, 32),
            ("2001:db8::", "2001:db9::", 32, 31),
            ("2001:db8::", "a001:db8::", 32, 0),
        ] {
            let [a, b] = [a, b].map(|ip| Prefix::of(address(ip), length));
            assert_eq!((a.shared_bits(&b), b.shared_bits(&a)), (shared, shared), "{a} and {b}");
        }
    }
}
