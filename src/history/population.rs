//! How many accounts and events each prefix has, of all accounts, and how that is written.
//!
//! Numbers of accounts of several addresses do not add up, because an account may use many of them. What adds up: for each level,
//! the accounts for which the address is the first one, in ascending order, of its prefix of that level and of all longer
//! ones. An account is counted at a prefix once, at its first address there.
//!
//! ```text
//! node:   events | accounts
//! bucket: any exceptions: 1, widths of theirs: 6, 6 | level: 3 of each address | exceptions
//! ```
//!
//! An address of one event has the level of its only account; others are exceptions, at level 7: their events less 1, and the
//! number of accounts of each level.

use std::ops::Range;

use super::account::{Pair, num_shared_before};
use super::bits::{BitReader, BitWriter, Cursor, mask, width};
use super::trie_read::Visitor;
use super::trie_write::{Codec, LEVEL_BITS, MAX_BUCKET, WIDTH_BITS};
use super::usage::NUM_LEVELS;
use crate::event::Address;

/// The level of an exception.
const EXCEPTION: u64 = NUM_LEVELS as u64;

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

/// Bits of events and of accounts in nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Widths {
    events: u32,
    accounts: u32,
}

impl Widths {
    /// From the totals of a history.
    pub(super) fn new(events: u64, accounts: u64) -> Self {
        Self { events: width(events), accounts: width(accounts) }
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
        out.push(sum.events, self.widths.events);
        out.push(sum.accounts(num_shared), self.widths.accounts);
    }

    fn write_values(&self, leaves: &[Leaf], out: &mut BitWriter) {
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
        let has_exceptions = accounts > 0;
        out.push(u64::from(has_exceptions), 1);
        if has_exceptions {
            out.push(u64::from(events_width), WIDTH_BITS);
            out.push(u64::from(accounts_width), WIDTH_BITS);
        }
        for leaf in leaves {
            let level = match leaf.value {
                Value::Once(level) => u64::from(level),
                Value::Exception(_) => EXCEPTION,
            };
            out.push(level, LEVEL_BITS);
        }
        for sum in exceptions() {
            out.push(sum.events - 1, events_width);
            sum.new.iter().for_each(|new| out.push(*new, accounts_width));
        }
    }

    fn write_details(&self, _: &[Leaf], _: &mut BitWriter) {}
}

/// What all accounts have of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LevelPopulation {
    pub(super) events: u64,
    pub(super) accounts: u64,
    pub(super) children: u64,
}

/// Values in a bucket.
struct Bucket<'a> {
    reader: BitReader<'a>,
    base: usize,
    levels: u128,
    exceptions_at: usize,
    events_width: u32,
    accounts_width: u32,
}

/// The lowest bit of each level of a column.
const LOWEST_BITS: u128 = {
    let mut bits = 0;
    let mut index = 0;
    while index < MAX_BUCKET {
        bits |= 1 << (index * LEVEL_BITS as usize);
        index += 1;
    }
    bits
};

impl Bucket<'_> {
    fn level(&self, index: usize) -> u64 {
        (self.levels >> (index * LEVEL_BITS as usize)) as u64 & mask(LEVEL_BITS)
    }

    /// Exceptions among the first `num` addresses.
    fn num_exceptions(levels: u128, num: usize) -> usize {
        let before = LOWEST_BITS & ((1 << (num * LEVEL_BITS as usize)) - 1);
        (levels & levels >> 1 & levels >> 2 & before).count_ones() as usize
    }

    fn exception_bits(&self) -> usize {
        self.events_width as usize + NUM_LEVELS * self.accounts_width as usize
    }
}

/// Looks up what all accounts have of the prefixes of one address.
pub(super) struct PopulationVisitor<'a> {
    pub(super) levels: [LevelPopulation; NUM_LEVELS],
    widths: Widths,
    bucket: Bucket<'a>,
    /// By the number of levels that addresses share with the one looked up.
    shared: [LevelPopulation; NUM_LEVELS + 1],
    /// Accounts of a level less those of the level before it.
    accounts: [u64; NUM_LEVELS + 1],
}

impl<'a> PopulationVisitor<'a> {
    pub(super) fn new(reader: BitReader<'a>, widths: Widths) -> Self {
        let bucket =
            Bucket { reader, base: 0, levels: 0, exceptions_at: 0, events_width: 0, accounts_width: 0 };
        let (levels, shared) = Default::default();
        Self { levels, widths, bucket, shared, accounts: Default::default() }
    }

    fn add_accounts(&mut self, num: u64, level: usize, num_shared: usize) {
        let level = level.max(self.bucket.base);
        if level < num_shared {
            self.accounts[level] = self.accounts[level].wrapping_add(num);
            self.accounts[num_shared] = self.accounts[num_shared].wrapping_sub(num);
        }
    }
}

impl Visitor for PopulationVisitor<'_> {
    type Values = (u64, u64);

    #[inline(always)]
    fn read_node(&mut self, cursor: &mut Cursor<'_>) -> (u64, u64) {
        (cursor.read(self.widths.events), cursor.read(self.widths.accounts))
    }

    #[inline(always)]
    fn levels(&mut self, (events, accounts): (u64, u64), levels: Range<usize>, num_last_children: u64) {
        let last = levels.end - 1;
        self.levels[levels].fill(LevelPopulation { events, accounts, children: 1 });
        self.levels[last].children = num_last_children;
    }

    #[inline(always)]
    fn start_bucket(&mut self, cursor: &mut Cursor<'_>, num_leaves: usize, base: usize) {
        let bucket = &mut self.bucket;
        bucket.base = base;
        let has_exceptions = cursor.flag();
        if has_exceptions {
            bucket.events_width = cursor.narrow(WIDTH_BITS) as u32;
            bucket.accounts_width = cursor.narrow(WIDTH_BITS) as u32;
        }
        let num_bits = num_leaves * LEVEL_BITS as usize;
        let half = mask(MAX_NARROW_LEVELS);
        let low = bucket.reader.word(cursor.at) & half;
        let high = bucket.reader.word(cursor.at.wrapping_add(MAX_NARROW_LEVELS as usize)) & half;
        bucket.levels = u128::from(low) | u128::from(high) << MAX_NARROW_LEVELS;
        cursor.skip(num_bits);
        if has_exceptions {
            bucket.exceptions_at = cursor.at;
            let num = Bucket::num_exceptions(bucket.levels, num_leaves);
            cursor.skip(num * bucket.exception_bits());
        }
    }

    #[inline(always)]
    fn leaf(&mut self, index: usize, num_shared: usize, num_before: usize) {
        let shared = &mut self.shared[num_shared];
        shared.children += u64::from(num_before <= num_shared);
        let level = self.bucket.level(index);
        if level != EXCEPTION {
            shared.events += 1;
            return self.add_accounts(1, level as usize, num_shared);
        }
        let bucket = &self.bucket;
        let reader = bucket.reader;
        let place = Bucket::num_exceptions(bucket.levels, index) * bucket.exception_bits();
        let mut at = bucket.exceptions_at.wrapping_add(place);
        let (events_width, accounts_width) = (bucket.events_width, bucket.accounts_width);
        shared.events = shared.events.wrapping_add(reader.read(at, events_width).wrapping_add(1));
        at = at.wrapping_add(events_width as usize);
        for level in 0..num_shared {
            self.add_accounts(reader.read(at, accounts_width), level, num_shared);
            at = at.wrapping_add(accounts_width as usize);
        }
    }

    #[inline(always)]
    fn end_bucket(&mut self, base: usize) {
        let mut all = LevelPopulation::default();
        for num_shared in (base + 1..=NUM_LEVELS).rev() {
            let shared = self.shared[num_shared];
            all.children = match num_shared {
                NUM_LEVELS => 0,
                _ => shared.children + u64::from(all.events > 0),
            };
            all.events = all.events.wrapping_add(shared.events);
            self.levels[num_shared - 1] = all;
        }
        let mut accounts = 0_u64;
        for level in base..NUM_LEVELS {
            accounts = accounts.wrapping_add(self.accounts[level]);
            self.levels[level].accounts = accounts;
        }
    }
}

/// Bits of a column of levels that are read at once.
const MAX_NARROW_LEVELS: u32 = super::bits::MAX_NARROW / LEVEL_BITS * LEVEL_BITS;
