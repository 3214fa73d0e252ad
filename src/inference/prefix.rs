//! Networks: addresses that share their first bits.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};

/// The addresses that share their first bits; as text and in JSON `203.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub(super) ip: u32,
    length: u32,
}

impl Prefix {
    /// The prefix of an address; `length` is 0..=32.
    pub fn of(ip: u32, length: u32) -> Self {
        Self { ip: ip & u32::MAX.checked_shl(32 - length).unwrap_or(0), length }
    }

    /// The number of bits, 0..=32.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// An address of the prefix; `bits` are those behind it, in the highest places.
    pub(super) fn complete(&self, bits: u32) -> u32 {
        self.ip | bits.checked_shr(self.length).unwrap_or(0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", Ipv4Addr::from(self.ip), self.length))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
