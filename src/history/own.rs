//! Looks up what one account has of the prefixes of one address.

use super::bits::{BitReader, Cursor, MAX_NARROW, mask, width};
use super::info::days_between;
use super::trie_read::{Bucket, BucketAt, MAX_VALUES, NodeValues, Trie, Walk};
use super::usage::{LevelUsage, NUM_LEVELS, Usage};

/// Bits of values that depend on the account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) events: u32,
    pub(super) seconds: u32,
}

impl Widths {
    /// Those of an account's number of events less 1, and of the seconds from its first event to its last.
    #[inline(always)]
    pub(super) fn new(last_event: u32, span: u32) -> Self {
        Self { events: width(u64::from(last_event)), seconds: width(u64::from(span)) }
    }

    /// Bytes of each value of a node.
    #[inline(always)]
    pub(super) fn value_bytes(self) -> [u8; MAX_VALUES] {
        let [events, seconds] = [self.events, self.seconds].map(|width| width.div_ceil(8) as u8);
        [events, events, seconds]
    }
}

/// Whence days since a use are counted: none where times are not known.
#[derive(Clone, Copy)]
pub(super) struct Since {
    /// Unix seconds of the account's last event and of the moment that is asked for.
    pub(super) times: Option<(i64, i64)>,
}

impl Since {
    /// Days since an event some seconds before the account's last one.
    #[inline(always)]
    pub(super) fn days(self, seconds_before_last: u32) -> f32 {
        match self.times {
            Some((last, now)) => days_between(last - i64::from(seconds_before_last), now),
            None => -1.,
        }
    }
}

/// What an account has of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) events: u32,
    children: u32,
    /// Events of the account since the last one in the prefix.
    pub(super) events_since: u32,
    /// Seconds between the last event in the prefix and the last one of the account.
    pub(super) seconds_before_last: u32,
}

const NONE: Own = Own { events: 0, children: 0, events_since: u32::MAX, seconds_before_last: 0 };

impl Own {
    /// Adds other events, and takes the last use of both.
    #[inline(always)]
    fn add(&mut self, other: &Own) {
        self.events = self.events.wrapping_add(other.events);
        let is_later = other.events_since < self.events_since;
        self.seconds_before_last =
            if is_later { other.seconds_before_last } else { self.seconds_before_last };
        self.events_since = if is_later { other.events_since } else { self.events_since };
    }

    #[inline(always)]
    fn set(&self, children: u32, since: Since, level: &mut LevelUsage) {
        level.own_events = self.events;
        level.own_children = children;
        level.days_since_use = since.days(self.seconds_before_last);
        level.events_since_use = self.events_since as f32;
    }
}

/// Says of levels that the account has no use of them.
#[inline(always)]
pub(super) fn set_unused(levels: &mut [LevelUsage]) {
    for level in levels {
        (level.own_events, level.own_children) = (0, 0);
        (level.days_since_use, level.events_since_use) = (-1., -1.);
    }
}

/// Takes the values of a node.
#[inline(always)]
pub(super) fn take_node(node: NodeValues, since: Since, usage: &mut Usage) {
    let [last_event, events_since, seconds_before_last] = node.values.map(|value| value as u32);
    let own = Own { events: last_event.wrapping_add(1), children: 0, events_since, seconds_before_last };
    for level in node.start..node.end.min(NUM_LEVELS) {
        let children = if level + 1 == node.end { node.num_last_children as u32 } else { 1 };
        own.set(children, since, &mut usage.levels[level]);
    }
}

/// Takes what is below the nodes that were passed.
#[inline(always)]
pub(super) fn finish(
    trie: &Trie<'_>,
    widths: Widths,
    walk: &Walk,
    address: u64,
    since: Since,
    usage: &mut Usage,
) {
    match walk.bucket() {
        Some(bucket) => read_bucket(trie, widths, bucket, address, since, usage),
        None => set_unused(&mut usage.levels[walk.num_shared()..]),
    }
}

#[inline(always)]
fn read_bucket(trie: &Trie<'_>, widths: Widths, at: BucketAt, address: u64, since: Since, usage: &mut Usage) {
    let bucket = Bucket::read(trie, at);
    let values = Values::new(trie.reader, widths, bucket.note, bucket.values_at());
    // By the number of levels that addresses share with the one that is looked up.
    let mut by_shared = [NONE; NUM_LEVELS + 1];
    bucket.for_each_shared(address, |index, num_shared, num_before| {
        let all = &mut by_shared[num_shared];
        all.add(&values.read(index));
        all.children += u32::from(num_before <= num_shared);
    });
    let mut all = NONE;
    for level in (at.base..NUM_LEVELS).rev() {
        let shared = &by_shared[level + 1];
        // Those that share more are one child.
        let children = shared.children + u32::from(all.events > 0);
        all.add(shared);
        if all.events == 0 {
            set_unused(&mut usage.levels[level..=level]);
        } else {
            let children = if level + 1 < NUM_LEVELS { children } else { 0 };
            all.set(children, since, &mut usage.levels[level]);
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

    #[inline(always)]
    fn stride(&self) -> usize {
        (self.widths.events + self.widths.seconds + self.events_width) as usize
    }

    /// The values of the address at an index.
    #[inline(always)]
    pub(super) fn read(&self, index: usize) -> Own {
        let (stride, Widths { events: events_width, seconds: seconds_width }) = (self.stride(), self.widths);
        let at = self.at.wrapping_add(index * stride);
        let mut word = self.reader.word(at);
        let events_since = (word & mask(events_width)) as u32;
        word >>= events_width;
        if stride > MAX_NARROW as usize {
            word = self.reader.word(at.wrapping_add(events_width as usize));
        }
        let seconds_before_last = (word & mask(seconds_width)) as u32;
        word >>= seconds_width;
        if stride > MAX_NARROW as usize {
            word = self.reader.word(at.wrapping_add((events_width + seconds_width) as usize));
        }
        let events = ((word & mask(self.events_width)) as u32).wrapping_add(1);
        Own { events, children: 0, events_since, seconds_before_last }
    }

    /// A cursor behind the values.
    pub(super) fn end(&self, num_leaves: usize) -> Cursor<'a> {
        Cursor { reader: self.reader, at: self.at.wrapping_add(num_leaves * self.stride()) }
    }
}
