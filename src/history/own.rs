//! Looks up what one account has of the prefixes of one address.

use std::ops::Range;

use super::account::{Clock, Heading, Widths};
use super::bits::{BitReader, Cursor};
use super::trie_read::Visitor;
use super::trie_write::WIDTH_BITS;
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

const NONE: LevelOwn = LevelOwn { events: 0, children: 0, events_since: u32::MAX, seconds_before_last: 0 };

pub(super) struct OwnVisitor<'a> {
    pub(super) levels: [LevelOwn; NUM_LEVELS],
    reader: BitReader<'a>,
    widths: Widths,
    /// Of the values of a bucket.
    values_at: usize,
    events_width: u32,
    /// By the number of levels that addresses share with the one looked up.
    shared: [LevelOwn; NUM_LEVELS + 1],
}

impl<'a> OwnVisitor<'a> {
    pub(super) fn new(reader: BitReader<'a>, heading: &Heading<'_>, clock: Clock) -> Self {
        let mut widths = heading.widths;
        if !clock.is_timed {
            widths.seconds = 0;
        }
        let (levels, shared) = ([NONE; NUM_LEVELS], [NONE; NUM_LEVELS + 1]);
        Self { levels, reader, widths, values_at: 0, events_width: 0, shared }
    }

    fn stride(&self) -> usize {
        (self.widths.events + self.widths.seconds + self.events_width) as usize
    }
}

impl Visitor for OwnVisitor<'_> {
    type Values = LevelOwn;

    #[inline(always)]
    fn read_node(&mut self, cursor: &mut Cursor<'_>) -> LevelOwn {
        let events = (cursor.narrow(self.widths.events) as u32).saturating_add(1);
        let events_since = cursor.narrow(self.widths.events) as u32;
        let seconds_before_last = cursor.narrow(self.widths.seconds) as u32;
        LevelOwn { events, children: 1, events_since, seconds_before_last }
    }

    #[inline(always)]
    fn levels(&mut self, values: LevelOwn, levels: Range<usize>, num_last_children: u64) {
        let last = levels.end - 1;
        self.levels[levels].fill(values);
        self.levels[last].children = num_last_children as u32;
    }

    #[inline(always)]
    fn start_bucket(&mut self, cursor: &mut Cursor<'_>, num_leaves: usize, _: usize) {
        self.events_width = (cursor.narrow(WIDTH_BITS) as u32).min(u32::BITS);
        self.values_at = cursor.at;
        cursor.skip(num_leaves * self.stride());
    }

    #[inline(always)]
    fn leaf(&mut self, index: usize, num_shared: usize, num_before: usize) {
        let at = self.values_at.wrapping_add(index * self.stride());
        let mut cursor = Cursor { reader: self.reader, at };
        let events_since = cursor.narrow(self.widths.events) as u32;
        let seconds_before_last = cursor.narrow(self.widths.seconds) as u32;
        let events = (cursor.narrow(self.events_width) as u32).saturating_add(1);
        let shared = &mut self.shared[num_shared];
        shared.events = shared.events.saturating_add(events);
        shared.children += u32::from(num_before <= num_shared);
        if events_since < shared.events_since {
            (shared.events_since, shared.seconds_before_last) = (events_since, seconds_before_last);
        }
    }

    #[inline(always)]
    fn end_bucket(&mut self, base: usize) {
        let mut all = NONE;
        for num_shared in (base + 1..=NUM_LEVELS).rev() {
            let shared = self.shared[num_shared];
            all.children = match num_shared {
                NUM_LEVELS => 0,
                _ => shared.children + u32::from(all.events > 0),
            };
            all.events = all.events.saturating_add(shared.events);
            if shared.events_since < all.events_since {
                (all.events_since, all.seconds_before_last) =
                    (shared.events_since, shared.seconds_before_last);
            }
            self.levels[num_shared - 1] = all;
        }
    }
}
