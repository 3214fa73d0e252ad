//! How many accounts and events each prefix has, of all accounts, and how that is written.
//!
//! Numbers of accounts of several addresses do not add up, because an account may use many of them. What adds
//! up: for each level, the accounts for which the address is the first one, in ascending order, of its prefix
//! of that level and of all longer ones. An account is counted at a prefix once, at its first address there.
//!
//! ```text
//! node:   events | accounts
//! bucket: note: whether there are exceptions
//!         level of each address: 3 each | widths of the values of exceptions: 6, 6 | exceptions
//! ```
//!
//! An address of one event has the level of its only account; others are exceptions, at level 7: their events
//! less 1, and the number of accounts of each level.

use super::account::{Pair, num_shared_before};
use super::bits::{BitWriter, num_bytes, width};
use super::trie_read::MAX_VALUES;
use super::trie_write::{Codec, LEVEL_BITS, WIDTH_BITS};
use super::usage::NUM_LEVELS;
use crate::event::Address;

/// The level of an exception.
pub(super) const EXCEPTION: u64 = NUM_LEVELS as u64;

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
    value: Value,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    /// One event of an account that is new at this level.
    Once(u8),
    /// An index of the exceptions.
    Exception(u32),
}

/// Addresses in ascending order, with their values.
#[derive(Default)]
pub(super) struct Leaves {
    pub(super) leaves: Vec<Leaf>,
    exceptions: Vec<Sum>,
}

impl Leaves {
    /// Sums up sorted uses by address.
    pub(super) fn new(uses: &[Use]) -> Self {
        let mut all = Self::default();
        for uses in uses.chunk_by(|a, b| a.address() == b.address()) {
            let value = match uses {
                [only] if only.events() == 1 => Value::Once(only.level() as u8),
                several => {
                    let mut sum = Sum::default();
                    for once in several {
                        sum.events += once.events();
                        sum.new[once.level()] += 1;
                    }
                    all.exceptions.push(sum);
                    Value::Exception(all.exceptions.len() as u32 - 1)
                }
            };
            all.leaves.push(Leaf { address: uses[0].address().bits(), value });
        }
        all
    }

    /// Appends greater addresses.
    pub(super) fn append(&mut self, other: &Leaves) {
        let first = self.exceptions.len() as u32;
        self.exceptions.extend_from_slice(&other.exceptions);
        self.leaves.extend(other.leaves.iter().map(|leaf| match leaf.value {
            Value::Once(_) => *leaf,
            Value::Exception(index) => Leaf { value: Value::Exception(first + index), ..*leaf },
        }));
    }

    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        self.exceptions.clear();
    }

    fn sum_of(&self, leaf: &Leaf) -> Sum {
        match leaf.value {
            Value::Exception(index) => self.exceptions[index as usize],
            Value::Once(level) => {
                let mut sum = Sum { events: 1, ..Sum::default() };
                sum.new[usize::from(level)] = 1;
                sum
            }
        }
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
            match leaf.value {
                Value::Once(level) => {
                    sum.events += 1;
                    sum.new[usize::from(level)] += 1;
                }
                Value::Exception(_) => sum.add(&self.leaves.sum_of(leaf)),
            }
        }
        sum
    }

    fn write_node(&self, sum: &Sum, num_shared: usize, out: &mut BitWriter) {
        out.push(sum.events, 8 * self.widths.events);
        out.push(sum.accounts(num_shared), 8 * self.widths.accounts);
    }

    fn note(&self, leaves: &[Leaf]) -> u64 {
        u64::from(leaves.iter().any(|leaf| matches!(leaf.value, Value::Exception(_))))
    }

    fn write_values(&self, leaves: &[Leaf], out: &mut BitWriter) {
        for leaf in leaves {
            let level = match leaf.value {
                Value::Once(level) => u64::from(level),
                Value::Exception(_) => EXCEPTION,
            };
            out.push(level, LEVEL_BITS);
        }
        if self.note(leaves) == 0 {
            return;
        }
        let exceptions = || {
            let is_exception = |leaf: &&Leaf| matches!(leaf.value, Value::Exception(_));
            leaves.iter().filter(is_exception).map(|leaf| self.leaves.sum_of(leaf))
        };
        let (mut events, mut accounts) = (0, 0);
        for sum in exceptions() {
            events |= sum.events - 1;
            accounts |= sum.new.iter().fold(0, |all, new| all | new);
        }
        let (events_width, accounts_width) = (width(events), width(accounts));
        out.push(u64::from(events_width), WIDTH_BITS);
        out.push(u64::from(accounts_width), WIDTH_BITS);
        for sum in exceptions() {
            out.push(sum.events - 1, events_width);
            sum.new.iter().for_each(|new| out.push(*new, accounts_width));
        }
    }
}
