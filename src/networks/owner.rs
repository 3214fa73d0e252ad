//! The owner of a network, and the groups of addresses that have it in common.

use std::fmt;

use serde::Serialize;

/// Levels of owners: the autonomous system, the country.
pub const NUM_OWNER_LEVELS: usize = 2;

/// A level of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerLevel {
    /// The autonomous system that announces the address.
    As,
    /// The country that the table has for it.
    Country,
}

impl OwnerLevel {
    /// All levels, in their order.
    pub const ALL: [Self; NUM_OWNER_LEVELS] = [Self::As, Self::Country];

    /// Its name in tables and in the names of inputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Country => "country",
        }
    }

    /// Its name in sentences.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::As => "AS number",
            Self::Country => "country",
        }
    }
}

/// The owner of a network, as far as a table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Owner<'a> {
    /// The number of its autonomous system.
    pub asn: Option<u32>,
    /// Its country, two letters of ISO 3166-1.
    pub country: Option<&'a str>,
    /// The name of the organisation; empty where the table has none.
    pub name: &'a str,
}

impl fmt::Display for Owner<'_> {
    /// "AS64500 Example ISP, NL", with what the table has of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(asn) = self.asn {
            write!(f, "AS{asn}")?;
            separator = " ";
        }
        if !self.name.is_empty() {
            // A terminal does not get what a name might have of its control sequences.
            let shown: String = self.name.chars().filter(|char| !char.is_control()).collect();
            write!(f, "{separator}{shown}")?;
            separator = ", ";
        } else if !separator.is_empty() {
            separator = ", ";
        }
        match self.country {
            Some(country) => write!(f, "{separator}{country}"),
            None => Ok(()),
        }
    }
}

/// The addresses that have an owner of one level in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnerGroup {
    /// Which group: an index of the table's, or a block of addresses without an owner ([`OwnerGroup::is_block`]).
    pub code: u32,
    /// Its share of the address space; 0 where the table has no such level.
    pub share: f32,
}

/// The bit of the codes of blocks without an owner.
const BLOCK: u32 = 1 << 31;

/// The bit of those of IPv6 among them.
const BLOCK_IPV6: u32 = 1 << 30;

/// Bits by which addresses without an owner are grouped: a /16 of IPv4, a /24 of IPv6.
const BLOCK_LENGTHS: [u32; 2] = [16, 24];

/// The share of a block without an owner: that of a /16 among all IPv4 addresses.
const BLOCK_SHARE: f32 = 1.0 / 65_536.0;

impl OwnerGroup {
    /// The group of an address that no owner has.
    pub(super) fn block(bits: u64) -> Self {
        let code = match bits >> 32 {
            0 => BLOCK | (bits >> (32 - BLOCK_LENGTHS[0])) as u32,
            _ => BLOCK | BLOCK_IPV6 | (bits >> (64 - BLOCK_LENGTHS[1])) as u32,
        };
        Self { code, share: BLOCK_SHARE }
    }

    /// Whether it is a block of addresses without an owner.
    pub fn is_block(self) -> bool {
        self.code & BLOCK != 0
    }
}
