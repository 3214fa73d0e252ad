//! Looks up what one account has of the prefixes of one address.

use super::account::Widths;
use super::bits::{BitReader, Cursor, MAX_NARROW, mask};
use super::trie_read::{Bucket, BucketAt, Trie, Walk};
use super::usage::NUM_LEVELS;

/// What an account has of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelOwn {
    pub(super) events: u32,
    pub(super) children: u32,
    /// Events of the account since the last one in the prefix.
    pub(super) events_since: u32,
    /// Seconds between the last event in the prefix and the last one of the account.
    pub(super) seconds_before_last: u32,
}

pub(super) const NONE: LevelOwn =
    LevelOwn { events: 0, children: 0, events_since: u32::MAX, seconds_before_last: 0 };

impl LevelOwn {
    /// Adds other events, and takes the last use of both.
    #[inline(always)]
    fn add(&mut self, events: u32, events_since: u32, seconds_before_last: u32) {
        self.events = self.events.wrapping_add(events);
        let is_later = events_since < self.events_since;
        self.seconds_before_last = if is_later { seconds_before_last } else { self.seconds_before_last };
        self.events_since = if is_later { events_since } else { self.events_since };
    }
}

/// What the account has of each level, after a walk through its tree.
#[inline(always)]
pub(super) fn levels(
    trie: &Trie<'_>,
    widths: Widths,
    walk: &Walk,
    address: u64,
) -> [LevelOwn; NUM_LEVELS] {
    let chain = trie.chain();
    let mut levels = [NONE; NUM_LEVELS];
    for (level, own) in levels.iter_mut().enumerate() {
        let ([last_event, events_since, seconds], children) = walk.level(trie, chain, level);
        own.events = (last_event as u32).wrapping_add(u32::from(walk.has_node(level)));
        own.children = children as u32;
        own.events_since = events_since as u32;
        own.seconds_before_last = seconds as u32;
    }
    if let Some(bucket) = walk.bucket() {
        read_bucket(trie, widths, bucket, address, &mut levels);
    }
    levels
}

/// Sets the levels below the base of a bucket.
#[inline(always)]
fn read_bucket(
    trie: &Trie<'_>,
    widths: Widths,
    at: BucketAt,
    address: u64,
    levels: &mut [LevelOwn; NUM_LEVELS],
) {
    let bucket = Bucket::read(trie, at);
    let values = Values::new(trie.reader, widths, bucket.note, bucket.values_at());
    // By the number of levels that addresses share with the one that is looked up.
    let mut by_shared = [NONE; NUM_LEVELS + 1];
    bucket.for_each_shared(address, |index, num_shared, num_before| {
        let all = &mut by_shared[num_shared];
        let leaf = values.read(index);
        all.add(leaf.events, leaf.events_since, leaf.seconds_before_last);
        all.children += u32::from(num_before <= num_shared);
    });
    let mut all = NONE;
    for level in (0..NUM_LEVELS).rev() {
        let shared = by_shared[level + 1];
        let children = shared.children + u32::from(all.events > 0);
        all.add(shared.events, shared.events_since, shared.seconds_before_last);
        if level >= at.base {
            levels[level] = LevelOwn { children: if level + 1 < NUM_LEVELS { children } else { 0 }, ..all };
        }
    }
}

/// The values of a bucket's addresses.
pub(super) struct Values<'a> {
    reader: BitReader<'a>,
    widths: Widths,
    events_width: u32,
    /// The bit at which they start.
    at: usize,
}

impl<'a> Values<'a> {
    /// `note` is what the bucket notes of them, `at` the bit at which they start.
    #[inline(always)]
    pub(super) fn new(reader: BitReader<'a>, widths: Widths, note: u64, at: usize) -> Self {
        Self { reader, widths, events_width: (note as u32).min(u32::BITS), at }
    }

    fn stride(&self) -> usize {
        (self.widths.events + self.widths.seconds + self.events_width) as usize
    }

    /// The values of the address at an index.
    #[inline(always)]
    pub(super) fn read(&self, index: usize) -> LevelOwn {
        let (stride, Widths { events: events_width, seconds: seconds_width }) = (self.stride(), self.widths);
        let at = self.at.wrapping_add(index * stride);
        let word = self.reader.word(at);
        let events_since = (word & mask(events_width)) as u32;
        let mut word = word >> events_width;
        if stride > MAX_NARROW as usize {
            word = self.reader.word(at.wrapping_add(events_width as usize));
        }
        let seconds_before_last = (word & mask(seconds_width)) as u32;
        let mut word = word >> seconds_width;
        if stride > MAX_NARROW as usize {
            word = self.reader.word(at.wrapping_add((events_width + seconds_width) as usize));
        }
        let events = ((word & mask(self.events_width)) as u32).wrapping_add(1);
        LevelOwn { events, children: 0, events_since, seconds_before_last }
    }

    /// A cursor behind the values.
    pub(super) fn end(&self, num_leaves: usize) -> Cursor<'a> {
        Cursor { reader: self.reader, at: self.at.wrapping_add(num_leaves * self.stride()) }
    }
}
