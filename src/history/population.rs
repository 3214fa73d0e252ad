//! How many accounts and events each prefix has, of all accounts, and how that is written.
//!
//! Numbers of accounts of several addresses do not add up, because an account may use many of them. What adds
//! up: for each level, the accounts for which the address is the first one, in ascending order, of its prefix
//! of that level and of all longer ones. An account is counted at a prefix once, at its first address there.
//!
//! ```text
//! node:   events | accounts
//! bucket: note: width of events: 6, whether there are exceptions: 1
//!         (level: 3 | events - 1) of each address
//!         width: 6 | accounts of each level, of each exception
//! ```
//!
//! An address of one account has the level of this account; others are exceptions, at level 7.

use super::account::{Pair, num_shared_before};
use super::bits::{BitWriter, num_bytes, width};
use super::trie_read::MAX_VALUES;
use super::trie_write::{Codec, LEVEL_BITS, WIDTH_BITS};
use super::usage::NUM_LEVELS;
use crate::event::Address;

/// The level of an exception.
pub(super) const EXCEPTION: u64 = NUM_LEVELS as u64;

/// Ranges of addresses, in ascending order, that uses are sorted in.
pub(super) const NUM_RANGES: usize = 512;

/// One use of an address by one account, in the order of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use(u128);

impl Use {
    /// Bytes in a temporary file.
    pub(super) const NUM_BYTES: usize = size_of::<u128>();

    /// `level` is the widest level of which the address is the account's first, in ascending order.
    pub(super) fn new(address: Address, level: usize, events: u32) -> Self {
        Self(u128::from(address.bits()) << 64 | u128::from(events) << 8 | level as u128)
    }

    pub(super) fn address(self) -> Address {
        Address::from_bits((self.0 >> 64) as u64)
    }

    /// The range of addresses, of [`NUM_RANGES`], that it lies in: by the family and the first 8 bits.
    #[inline(always)]
    pub(super) fn range(self) -> usize {
        let address = (self.0 >> 64) as u64;
        match u32::try_from(address) {
            Ok(address) => (address >> 24) as usize,
            Err(_) => NUM_RANGES / 2 + (address >> 56) as usize,
        }
    }

    fn level(self) -> usize {
        (self.0 & 0xff) as usize
    }

    fn events(self) -> u64 {
        self.0 as u64 >> 8
    }

    pub(super) fn to_bytes(self) -> [u8; Self::NUM_BYTES] {
        self.0.to_le_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::NUM_BYTES]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

/// The uses of an account's pairs.
pub(super) fn uses(pairs: &[Pair]) -> impl Iterator<Item = Use> {
    pairs.iter().zip(num_shared_before(pairs)).map(|(pair, level)| Use::new(pair.address, level, pair.events))
}

/// Events, and accounts by the level at which they are new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) events: u64,
    /// By level.
    new: [u64; NUM_LEVELS],
}

impl Sum {
    pub(super) fn add(&mut self, other: &Sum) {
        self.events += other.events;
        self.new.iter_mut().zip(other.new).for_each(|(all, new)| *all += new);
    }

    /// Accounts of a prefix whose addresses are all summed and share `num_shared` levels.
    fn accounts(&self, num_shared: usize) -> u64 {
        self.new[..num_shared].iter().sum()
    }
}

/// An address with all its uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) address: u64,
    events: u64,
    accounts: Accounts,
}

#[derive(Clone, Copy, Debug)]
enum Accounts {
    /// One, which is new at this level.
    One(u8),
    /// An index of the exceptions.
    Several(u32),
}

/// Addresses in ascending order, with their values.
#[derive(Default)]
pub(super) struct Leaves {
    pub(super) leaves: Vec<Leaf>,
    /// Accounts by the level at which they are new.
    exceptions: Vec<[u64; NUM_LEVELS]>,
}

impl Leaves {
    /// Sums up sorted uses by address.
    pub(super) fn new(uses: &[Use]) -> Self {
        let mut all = Self::default();
        for uses in uses.chunk_by(|a, b| a.address() == b.address()) {
            let accounts = match uses {
                [only] => Accounts::One(only.level() as u8),
                several => {
                    let mut new = [0; NUM_LEVELS];
                    several.iter().for_each(|once| new[once.level()] += 1);
                    all.exceptions.push(new);
                    Accounts::Several(all.exceptions.len() as u32 - 1)
                }
            };
            let events = uses.iter().map(|once| once.events()).sum();
            all.leaves.push(Leaf { address: uses[0].address().bits(), events, accounts });
        }
        all
    }

    /// Appends greater addresses.
    pub(super) fn append(&mut self, other: &Leaves) {
        let first = self.exceptions.len() as u32;
        self.exceptions.extend_from_slice(&other.exceptions);
        self.leaves.extend(other.leaves.iter().map(|leaf| match leaf.accounts {
            Accounts::One(_) => *leaf,
            Accounts::Several(index) => Leaf { accounts: Accounts::Several(first + index), ..*leaf },
        }));
    }

    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        self.exceptions.clear();
    }

    /// The accounts of each address that several use.
    fn several<'a>(&'a self, leaves: &'a [Leaf]) -> impl Iterator<Item = &'a [u64; NUM_LEVELS]> {
        leaves.iter().filter_map(|leaf| match leaf.accounts {
            Accounts::One(_) => None,
            Accounts::Several(index) => Some(&self.exceptions[index as usize]),
        })
    }
}

/// Bytes of events and of accounts in nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Widths {
    events: u32,
    accounts: u32,
}

impl Widths {
    /// From the totals of a history.
    pub(super) fn new(events: u64, accounts: u64) -> Self {
        Self { events: num_bytes(events), accounts: num_bytes(accounts) }
    }

    /// Bytes of each value of a node.
    pub(super) fn value_bytes(self) -> [u8; MAX_VALUES] {
        [self.events as u8, self.accounts as u8, 0]
    }
}

pub(super) struct PopulationCodec<'a> {
    pub(super) leaves: &'a Leaves,
    pub(super) widths: Widths,
}

impl Codec for PopulationCodec<'_> {
    type Leaf = Leaf;
    type Sum = Sum;

    fn address(&self, leaf: &Leaf) -> u64 {
        leaf.address
    }

    fn sum(&self, leaves: &[Leaf]) -> Sum {
        let mut sum = Sum::default();
        for leaf in leaves {
            sum.events += leaf.events;
            if let Accounts::One(level) = leaf.accounts {
                sum.new[usize::from(level)] += 1;
            }
        }
        for several in self.leaves.several(leaves) {
            sum.new.iter_mut().zip(several).for_each(|(all, new)| *all += new);
        }
        sum
    }

    fn write_node(&self, sum: &Sum, num_shared: usize, out: &mut BitWriter) {
        out.push(sum.events, 8 * self.widths.events);
        out.push(sum.accounts(num_shared), 8 * self.widths.accounts);
    }

    fn note(&self, leaves: &[Leaf]) -> u64 {
        let has_exceptions = self.leaves.several(leaves).next().is_some();
        u64::from(events_width(leaves)) | u64::from(has_exceptions) << WIDTH_BITS
    }

    fn write_values(&self, leaves: &[Leaf], out: &mut BitWriter) {
        let events_width = events_width(leaves);
        for leaf in leaves {
            let level = match leaf.accounts {
                Accounts::One(level) => u64::from(level),
                Accounts::Several(_) => EXCEPTION,
            };
            out.push(level, LEVEL_BITS);
            out.push(leaf.events - 1, events_width);
        }
        let several = || self.leaves.several(leaves).flatten().copied();
        if several().next().is_none() {
            return;
        }
        let width = width(several().fold(0, |all, new| all | new));
        out.push(u64::from(width), WIDTH_BITS);
        several().for_each(|new| out.push(new, width));
    }
}

/// Bits of the events, less 1, of addresses.
fn events_width(leaves: &[Leaf]) -> u32 {
    // At most 63 bits: they are fewer than the events of 2^32 accounts of 2^32 events less 1.
    width(leaves.iter().fold(0, |events, leaf| events | (leaf.events - 1))).min(63)
}
