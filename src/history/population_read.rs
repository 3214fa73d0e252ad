//! Looks up what all accounts have of the prefixes of one address.

use super::bits::{BitReader, Cursor, mask};
use super::population::EXCEPTION;
use super::trie_read::{Bucket, BucketAt, Trie, Walk};
use super::trie_write::{LEVEL_BITS, MAX_BUCKET, WIDTH_BITS};
use super::usage::NUM_LEVELS;

/// What all accounts have of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LevelPopulation {
    pub(super) events: u64,
    pub(super) accounts: u64,
    pub(super) children: u64,
}

/// What all accounts have of each level, after a walk through their tree.
#[inline(always)]
pub(super) fn levels(trie: &Trie<'_>, walk: &Walk, address: u64) -> [LevelPopulation; NUM_LEVELS] {
    let chain = trie.chain();
    let mut levels = [LevelPopulation::default(); NUM_LEVELS];
    for (level, population) in levels.iter_mut().enumerate() {
        let ([events, accounts, _], children) = walk.level(trie, chain, level);
        *population = LevelPopulation { events, accounts, children };
    }
    if let Some(bucket) = walk.bucket() {
        read_bucket(trie, bucket, address, &mut levels);
    }
    levels
}

/// Sets the levels below the base of a bucket.
#[inline(always)]
fn read_bucket(trie: &Trie<'_>, at: BucketAt, address: u64, levels: &mut [LevelPopulation; NUM_LEVELS]) {
    let bucket = Bucket::read(trie, at);
    let values = Values::read(trie.reader, bucket.note, bucket.values_at(), bucket.num_leaves());
    let mut sums = Sums { base: at.base, ..Sums::default() };
    bucket.for_each_shared(address, |index, num_shared, num_before| {
        let level = values.level(index);
        if level == EXCEPTION {
            values.add_exception(index, num_shared, &mut sums);
        } else {
            sums.by_shared[num_shared].events += 1;
            sums.add_accounts(1, level as usize, num_shared);
        }
        sums.by_shared[num_shared].children += u64::from(num_before <= num_shared);
    });
    sums.finish(levels);
}

/// What addresses of a bucket have that share more than `base` levels with the one that is looked up.
#[derive(Default)]
struct Sums {
    base: usize,
    /// By the number of levels shared; accounts are not counted there.
    by_shared: [LevelPopulation; NUM_LEVELS + 1],
    /// Accounts of a level less those of the level before it.
    accounts: [u64; NUM_LEVELS + 1],
}

impl Sums {
    /// Counts accounts that are new at a level: at the levels that are shared from there on.
    #[inline(always)]
    fn add_accounts(&mut self, num: u64, level: usize, num_shared: usize) {
        let level = level.max(self.base).min(num_shared);
        self.accounts[level] = self.accounts[level].wrapping_add(num);
        self.accounts[num_shared] = self.accounts[num_shared].wrapping_sub(num);
    }

    #[inline(always)]
    fn finish(&self, levels: &mut [LevelPopulation; NUM_LEVELS]) {
        let (mut events, mut accounts) = (0_u64, 0_u64);
        for level in (0..NUM_LEVELS).rev() {
            let shared = self.by_shared[level + 1];
            let children = if level + 1 < NUM_LEVELS { shared.children + u64::from(events > 0) } else { 0 };
            events = events.wrapping_add(shared.events);
            // From the last level on backwards: what the levels behind add has to go.
            accounts = accounts.wrapping_sub(self.accounts[level + 1]);
            if level >= self.base {
                levels[level] = LevelPopulation { events, accounts, children };
            }
        }
    }
}

/// The values of a bucket's addresses.
struct Values<'a> {
    reader: BitReader<'a>,
    /// The level of each address.
    column: u64,
    exceptions_at: usize,
    events_width: u32,
    accounts_width: u32,
}

/// The lowest bit of each level of a column.
const LOWEST_BITS: u64 = {
    let mut bits = 0;
    let mut index = 0;
    while index < MAX_BUCKET {
        bits |= 1 << (index * LEVEL_BITS as usize);
        index += 1;
    }
    bits
};

impl<'a> Values<'a> {
    /// `note` is what the bucket notes of them, `at` the bit at which they start.
    #[inline(always)]
    fn read(reader: BitReader<'a>, note: u64, at: usize, num_leaves: usize) -> Self {
        let mut cursor = Cursor { reader, at };
        let column_width = num_leaves as u32 * LEVEL_BITS;
        let column = cursor.narrow(column_width);
        let (mut events_width, mut accounts_width) = (0, 0);
        if note != 0 {
            events_width = cursor.narrow(WIDTH_BITS) as u32;
            accounts_width = cursor.narrow(WIDTH_BITS) as u32;
        }
        Self { reader, column, exceptions_at: cursor.at, events_width, accounts_width }
    }

    #[inline(always)]
    fn level(&self, index: usize) -> u64 {
        self.column >> (index * LEVEL_BITS as usize) & mask(LEVEL_BITS)
    }

    #[inline(always)]
    fn add_exception(&self, index: usize, num_shared: usize, sums: &mut Sums) {
        let before = self.column & mask(index as u32 * LEVEL_BITS);
        let num_before = (before & before >> 1 & before >> 2 & LOWEST_BITS).count_ones() as usize;
        let num_bits = self.events_width as usize + NUM_LEVELS * self.accounts_width as usize;
        let at = self.exceptions_at.wrapping_add(num_before * num_bits);
        let mut cursor = Cursor { reader: self.reader, at };
        let events = cursor.read(self.events_width).wrapping_add(1);
        let all = &mut sums.by_shared[num_shared].events;
        *all = all.wrapping_add(events);
        for level in 0..num_shared {
            sums.add_accounts(cursor.read(self.accounts_width), level, num_shared);
        }
    }
}
