//! Looks up what all accounts have of the prefixes of one address.

use super::bits::{BitReader, Cursor, MAX_NARROW, mask};
use super::population::EXCEPTION;
use super::trie_read::{Bucket, BucketAt, NodeValues, Trie, Walk};
use super::trie_write::{LEVEL_BITS, WIDTH_BITS};
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
    let values = Values::new(trie.reader, &bucket);
    let mut sums = Sums { base: at.base, ..Sums::default() };
    bucket.for_each_shared(address, |index, num_shared, num_before| {
        let (level, events) = values.read(index);
        sums.events[num_shared] = sums.events[num_shared].wrapping_add(events);
        sums.children[num_shared] += u64::from(num_before <= num_shared);
        if level == EXCEPTION {
            values
                .for_each_account(index, num_shared, |level, num| sums.add_accounts(num, level, num_shared));
        } else {
            sums.add_accounts(1, level as usize, num_shared);
        }
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
    num_leaves: usize,
    events_width: u32,
    /// The bit at which they start.
    at: usize,
}

impl<'a> Values<'a> {
    #[inline(always)]
    fn new(reader: BitReader<'a>, bucket: &Bucket<'a>) -> Self {
        let events_width = (bucket.note & mask(WIDTH_BITS)) as u32;
        Self { reader, num_leaves: bucket.num_leaves(), events_width, at: bucket.values_at() }
    }

    #[inline(always)]
    fn place(&self, index: usize) -> usize {
        self.at.wrapping_add(index * (LEVEL_BITS + self.events_width) as usize)
    }

    /// Level and events of the address at an index.
    #[inline(always)]
    fn read(&self, index: usize) -> (u64, u64) {
        let word = self.reader.word(self.place(index));
        let mut events = word >> LEVEL_BITS & mask(self.events_width);
        if self.events_width > MAX_NARROW - LEVEL_BITS {
            events = self.reader.read(self.place(index).wrapping_add(LEVEL_BITS as usize), self.events_width);
        }
        (word & mask(LEVEL_BITS), events.wrapping_add(1))
    }

    /// Calls `take` with each level below `end` of the exception at an index, and the accounts that are new there.
    #[inline(never)]
    fn for_each_account(&self, index: usize, end: usize, mut take: impl FnMut(usize, u64)) {
        let num_before = (0..index).filter(|before| self.read(*before).0 == EXCEPTION).count();
        let mut cursor = Cursor { reader: self.reader, at: self.place(self.num_leaves) };
        let width = cursor.narrow(WIDTH_BITS) as u32;
        cursor.skip(num_before * NUM_LEVELS * width as usize);
        for level in 0..end {
            take(level, cursor.read(width));
        }
    }
}
