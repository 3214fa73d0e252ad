//! Looks up what all accounts have of the prefixes of one address.

use super::bits::{BitReader, Cursor, mask};
use super::population::EXCEPTION;
use super::trie_read::{Bucket, BucketAt, NodeValues, Trie, Walk};
use super::trie_write::{LEVEL_BITS, MAX_BUCKET, WIDTH_BITS};
use super::usage::{LevelUsage, NUM_LEVELS, Usage};

/// Says of levels that no account uses them.
#[inline(always)]
pub(super) fn set_unused(levels: &mut [LevelUsage]) {
    for level in levels {
        (level.all_events, level.all_accounts, level.all_children) = (0, 0, 0);
    }
}

/// Takes the values of a node.
#[inline(always)]
pub(super) fn take_node(node: NodeValues, usage: &mut Usage) {
    let [events, accounts, _] = node.values;
    for index in node.start..node.end.min(NUM_LEVELS) {
        let children = if index + 1 == node.end { node.num_last_children } else { 1 };
        let level = &mut usage.levels[index];
        (level.all_events, level.all_accounts, level.all_children) = (events, accounts, children);
    }
}

/// Takes what is below the nodes that were passed.
#[inline(always)]
pub(super) fn finish(trie: &Trie<'_>, walk: &Walk, address: u64, usage: &mut Usage) {
    match walk.bucket() {
        Some(bucket) => read_bucket(trie, bucket, address, usage),
        None => set_unused(&mut usage.levels[walk.num_shared()..]),
    }
}

#[inline(always)]
fn read_bucket(trie: &Trie<'_>, at: BucketAt, address: u64, usage: &mut Usage) {
    let bucket = Bucket::read(trie, at);
    let values = Values::read(trie.reader, bucket.note, bucket.values_at(), bucket.num_leaves());
    let mut sums = Sums { base: at.base, ..Sums::default() };
    bucket.for_each_shared(address, |index, num_shared, num_before| {
        let level = values.level(index);
        if level == EXCEPTION {
            values.add_exception(index, num_shared, &mut sums);
        } else {
            sums.events[num_shared] += 1;
            sums.add_accounts(1, level as usize, num_shared);
        }
        sums.children[num_shared] += u64::from(num_before <= num_shared);
    });
    sums.finish(&mut usage.levels);
}

/// What addresses of a bucket have that share more than `base` levels with the one that is looked up.
#[derive(Default)]
struct Sums {
    base: usize,
    /// By the number of levels shared.
    events: [u64; NUM_LEVELS + 1],
    /// Prefixes of the first level not shared, by the number of levels shared.
    children: [u64; NUM_LEVELS + 1],
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
    fn finish(&self, levels: &mut [LevelUsage; NUM_LEVELS]) {
        let (mut events, mut accounts) = (0_u64, 0_u64);
        for index in (self.base..NUM_LEVELS).rev() {
            // Those that share more are one child.
            let children = self.children[index + 1] + u64::from(events > 0);
            events = events.wrapping_add(self.events[index + 1]);
            // From the last level on backwards: what the levels behind add has to go.
            accounts = accounts.wrapping_sub(self.accounts[index + 1]);
            let level = &mut levels[index];
            level.all_children = if index + 1 < NUM_LEVELS { children } else { 0 };
            (level.all_events, level.all_accounts) = (events, accounts);
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
        sums.events[num_shared] = sums.events[num_shared].wrapping_add(events);
        for level in 0..num_shared {
            sums.add_accounts(cursor.read(self.accounts_width), level, num_shared);
        }
    }
}
