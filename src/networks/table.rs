//! The table: ranges of addresses, and their owners.
//!
//! Ranges follow each other without gaps, so that each has a start alone; what nobody owns is a range, too. IPv4 starts are
//! 16 bits behind an index by the upper 16, IPv6 starts are the upper 64 bits of an address. A /64 belongs to the network
//! that has its first address.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::owner::{NUM_OWNER_LEVELS, Owner, OwnerGroup};
use super::sections::Numbers;
use crate::event::Address;

/// The owner of a range that nobody owns.
pub(super) const NOBODY: u32 = (1 << 24) - 1;

/// The index of the group of an owner that is in none.
pub(super) const NO_GROUP: u32 = u32::MAX;

/// Entries of the index of IPv4: one for each value of the upper 16 bits, and the end.
pub(super) const INDEX_LEN: usize = (1 << 16) + 1;

/// Bytes of an owner: AS number, index of its group, index of the country's group, country, start of the name.
pub(super) const OWNER_BYTES: usize = 20;

/// Where a table came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworksSource {
    /// The name of the file, without its folder.
    pub file: String,
    /// What it is: `TSV`, or `MaxMind DB` with its type.
    pub kind: String,
    /// When it was made, in Unix seconds: the build time of a MaxMind DB, the last change of a TSV.
    pub time: Option<i64>,
    /// The BLAKE3 hash of the file in hexadecimal.
    pub blake3: String,
    /// Networks of IPv4 that have an owner.
    pub num_ipv4: u64,
    /// Networks of IPv6 that have one.
    pub num_ipv6: u64,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworksSummary {
    /// Where it came from.
    #[serde(flatten)]
    pub source: NetworksSource,
    /// Autonomous systems.
    pub num_as: u64,
    /// Countries.
    pub num_countries: u64,
    /// Bytes of its arrays.
    pub bytes: u64,
}

/// Names of the sections of a table, in the order of [`Networks::sections`].
const NAMES: [&str; 9] = [
    "networks source",
    "ipv4 index",
    "ipv4 starts",
    "ipv4 owners",
    "ipv6 starts",
    "ipv6 owners",
    "owners",
    "owner names",
    "owner shares",
];

/// Networks and their owners.
#[derive(Clone, Debug)]
pub struct Networks {
    pub(super) source: NetworksSource,
    pub(super) ipv4_index: Numbers<4>,
    pub(super) ipv4_starts: Numbers<2>,
    pub(super) ipv4_owners: Numbers<3>,
    pub(super) ipv6_starts: Numbers<8>,
    pub(super) ipv6_owners: Numbers<3>,
    pub(super) owners: Bytes,
    pub(super) names: Bytes,
    /// Bits of the f32 of each AS, then of each country.
    pub(super) shares: Numbers<4>,
    pub(super) num_groups: [u32; NUM_OWNER_LEVELS],
}

impl Networks {
    /// The table as sections of a file, each with its name.
    pub fn sections(&self) -> Vec<(&'static str, Bytes)> {
        let head = Head { source: self.source.clone(), num_groups: self.num_groups };
        let source = serde_json::to_vec(&head).expect("a value without maps is always JSON");
        let bytes = [
            source.into(),
            self.ipv4_index.bytes(),
            self.ipv4_starts.bytes(),
            self.ipv4_owners.bytes(),
            self.ipv6_starts.bytes(),
            self.ipv6_owners.bytes(),
            self.owners.clone(),
            self.names.clone(),
            self.shares.bytes(),
        ];
        NAMES.into_iter().zip(bytes).collect()
    }

    /// Takes the sections that [`Networks::sections`] gave.
    ///
    /// # Errors
    ///
    /// What is wrong with them, as the end of a sentence about the file.
    pub fn from_sections(section: impl Fn(&str) -> Result<Bytes, String>) -> Result<Self, String> {
        let [source, index, starts4, owners4, starts6, owners6, owners, names, shares] = NAMES;
        let head: Head = serde_json::from_slice(&section(source)?)
            .map_err(|_| format!("has a section \"{source}\" that cannot be read"))?;
        let networks = Self {
            source: head.source,
            ipv4_index: Numbers::new(section(index)?, index)?,
            ipv4_starts: Numbers::new(section(starts4)?, starts4)?,
            ipv4_owners: Numbers::new(section(owners4)?, owners4)?,
            ipv6_starts: Numbers::new(section(starts6)?, starts6)?,
            ipv6_owners: Numbers::new(section(owners6)?, owners6)?,
            owners: section(owners)?,
            names: section(names)?,
            shares: Numbers::new(section(shares)?, shares)?,
            num_groups: head.num_groups,
        };
        let num_shares: u64 = head.num_groups.iter().map(|num| u64::from(*num)).sum();
        let are_lengths_right = networks.ipv4_index.len() == INDEX_LEN
            && networks.ipv4_starts.len() == networks.ipv4_owners.len()
            && networks.ipv6_starts.len() == networks.ipv6_owners.len()
            && networks.owners.len().is_multiple_of(OWNER_BYTES)
            && networks.shares.len() as u64 == num_shares;
        match are_lengths_right {
            true => Ok(networks),
            false => Err("has sections whose lengths contradict each other".into()),
        }
    }

    /// Where the table came from.
    pub fn source(&self) -> &NetworksSource {
        &self.source
    }

    /// What the table holds.
    pub fn summary(&self) -> NetworksSummary {
        let bytes = self.sections().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let [num_as, num_countries] = self.num_groups.map(u64::from);
        NetworksSummary { source: self.source.clone(), num_as, num_countries, bytes }
    }

    /// The number of groups of each level that have an owner; 0 where the table has no such level.
    pub fn num_groups(&self) -> [u32; NUM_OWNER_LEVELS] {
        self.num_groups
    }

    /// Whose network an address is in.
    pub fn owner(&self, address: Address) -> Option<Owner<'_>> {
        let record = self.record(self.owner_index(address))?;
        let country = self.owners.get(record.at + 12..record.at + 14).filter(|country| country[0] != 0);
        let name_start = self.word(record.at + 16) as usize;
        let next = record.at + OWNER_BYTES;
        let name_end =
            if next < self.owners.len() { self.word(next + 16) as usize } else { self.names.len() };
        Some(Owner {
            asn: (record.groups[0] != NO_GROUP).then(|| self.word(record.at)),
            country: country.and_then(|country| str::from_utf8(country).ok()),
            name: self
                .names
                .get(name_start..name_end)
                .and_then(|name| str::from_utf8(name).ok())
                .unwrap_or(""),
        })
    }

    /// The groups that an address is in, by level.
    #[inline]
    pub fn groups(&self, address: Address) -> [OwnerGroup; NUM_OWNER_LEVELS] {
        let groups =
            self.record(self.owner_index(address)).map_or([NO_GROUP; NUM_OWNER_LEVELS], |r| r.groups);
        let mut first_share = 0;
        std::array::from_fn(|level| {
            let (num, first) = (self.num_groups[level], first_share);
            first_share += num;
            match groups[level] {
                _ if num == 0 => OwnerGroup::default(),
                code if code < num => OwnerGroup {
                    code,
                    share: f32::from_bits(self.shares.get((first + code) as usize) as u32),
                },
                _ => OwnerGroup::block(address.bits()),
            }
        })
    }

    /// The index of the owner of an address; [`NOBODY`] where it has none.
    #[inline(always)]
    fn owner_index(&self, address: Address) -> u32 {
        let bits = address.bits();
        let owner = if address.is_ipv4() {
            let upper = (bits >> 16) as usize;
            let (start, end) = (self.ipv4_index.get(upper) as usize, self.ipv4_index.get(upper + 1) as usize);
            let end = end.min(self.ipv4_starts.len());
            let place = self.ipv4_starts.first_above(start, end, bits & 0xFFFF);
            place.checked_sub(1).map(|place| self.ipv4_owners.get(place))
        } else {
            let place = self.ipv6_starts.first_above(0, self.ipv6_starts.len(), bits);
            place.checked_sub(1).map(|place| self.ipv6_owners.get(place))
        };
        owner.map_or(NOBODY, |owner| owner as u32)
    }

    #[inline(always)]
    fn record(&self, owner: u32) -> Option<Record> {
        let at = owner as usize * OWNER_BYTES;
        if owner == NOBODY || at + OWNER_BYTES > self.owners.len() {
            return None;
        }
        Some(Record { at, groups: [self.word(at + 4), self.word(at + 8)] })
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        let bytes = self.owners.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

/// An owner as it lies in the section.
struct Record {
    at: usize,
    groups: [u32; NUM_OWNER_LEVELS],
}

/// The first section, as JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    source: NetworksSource,
    num_groups: [u32; NUM_OWNER_LEVELS],
}
