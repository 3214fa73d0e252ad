//! What is counted of one account, and how it is written.
//!
//! ```text
//! block:   tree of IPv4 addresses | tree of IPv6 addresses | heading
//! heading: 2 bytes: bytes of events, seconds, prefixes and distances in 3, 3, 3 and 4 bits; has IPv4: 1; has IPv6: 1
//!          events - 1 | distinct prefixes of each level | first event: 4 bytes | last - first
//!          distance of the root of each family that it has
//! node:    events - 1 | events since use | seconds since use
//! bucket:  note: width of events
//!          (events since use | seconds since use | events - 1) of each address
//!          widths: 6, 6 | (days from first use to last | days of use - 1) of each address of several events
//! ```
//!
//! Numbers of headings and nodes are whole bytes; in buckets they have bits. Events have as many as the
//! account's number of events needs, seconds as many as the time between its first event and its last, from
//! which they count back. Distinct prefixes have no bytes where all are 1. Where events have no times,
//! seconds have no bits, and the first and the last event and days are left out.

use super::bits::{BitReader, BitWriter, mask, num_bytes, width};
use super::chain::{CHAINS, NUM_FAMILIES, shared};
use super::clock::Clock;
use super::own::{Values, Widths};
use super::trie_read::{BucketReader, Trie};
use super::trie_write::{Codec, TrieWriter, WIDTH_BITS};
use super::usage::NUM_LEVELS;
use crate::event::Address;

/// What is counted of one (account, address).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) address: Address,
    pub(super) events: u32,
    /// Which of the account's events was the last one with this address, from 1.
    pub(super) ordinal: u32,
    /// Time of the last event.
    pub(super) last: u32,
    /// Day of the first event, as [`Clock::day`]; 0 without times.
    pub(super) first_day: i64,
    /// Distinct days; 0 without times.
    pub(super) days: u32,
}

/// What is counted of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) account: u64,
    pub(super) events: u32,
    /// Times of the first and the last event; 0 without times.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Distinct prefixes of each level, those of pairs that were dropped included.
    pub(super) distinct: [u32; NUM_LEVELS],
    /// In ascending order of their addresses.
    pub(super) pairs: Vec<Pair>,
}

/// Distinct prefixes of each level of ascending addresses.
pub(super) fn count_distinct(pairs: &[Pair]) -> [u32; NUM_LEVELS] {
    let mut distinct = [0; NUM_LEVELS];
    for level in num_shared_before(pairs) {
        distinct[level] += 1;
    }
    for level in 1..NUM_LEVELS {
        distinct[level] += distinct[level - 1];
    }
    distinct
}

/// Levels that each address shares with the one before it: the widest level at which it is a new prefix.
pub(super) fn num_shared_before(pairs: &[Pair]) -> impl Iterator<Item = usize> {
    let before = pairs.windows(2).map(|pair| shared(pair[0].address, pair[1].address));
    (!pairs.is_empty()).then_some(0).into_iter().chain(before)
}

/// Where an account's pairs begin to be IPv6.
fn start_of_ipv6(pairs: &[Pair]) -> usize {
    pairs.partition_point(|pair| pair.address.is_ipv4())
}

struct OwnCodec<'a> {
    account: &'a Account,
    clock: Clock,
    widths: Widths,
}

impl OwnCodec<'_> {
    /// Events and seconds that the account's last event is behind a use.
    fn since(&self, ordinal: u32, last: u32) -> [u64; 2] {
        [u64::from(self.account.events - ordinal), u64::from(self.account.last - last)]
    }

    /// Days from the first use to the last, and days of use less 1.
    fn days(&self, pair: &Pair) -> [u64; 2] {
        [(self.clock.day(pair.last) - pair.first_day) as u64, u64::from(pair.days).saturating_sub(1)]
    }
}

/// Events, and ordinal and time of the last one, of several pairs.
struct OwnSum {
    events: u32,
    ordinal: u32,
    last: u32,
}

impl Codec for OwnCodec<'_> {
    type Leaf = Pair;
    type Sum = OwnSum;

    fn address(&self, pair: &Pair) -> u64 {
        pair.address.bits()
    }

    fn sum(&self, pairs: &[Pair]) -> OwnSum {
        let mut sum = OwnSum { events: 0, ordinal: 0, last: 0 };
        for pair in pairs {
            sum.events += pair.events;
            if pair.ordinal > sum.ordinal {
                (sum.ordinal, sum.last) = (pair.ordinal, pair.last);
            }
        }
        sum
    }

    fn write_node(&self, sum: &OwnSum, _: usize, out: &mut BitWriter) {
        let [events_since, seconds] = self.since(sum.ordinal, sum.last);
        let values = [u64::from(sum.events) - 1, events_since, seconds];
        for (value, num_bytes) in values.into_iter().zip(self.widths.value_bytes()) {
            out.push(value, 8 * u32::from(num_bytes));
        }
    }

    fn note(&self, pairs: &[Pair]) -> u64 {
        u64::from(width(pairs.iter().fold(0, |events, pair| events | u64::from(pair.events - 1))))
    }

    fn write_values(&self, pairs: &[Pair], out: &mut BitWriter) {
        let events_width = self.note(pairs) as u32;
        for pair in pairs {
            let [events_since, seconds] = self.since(pair.ordinal, pair.last);
            out.push(events_since, self.widths.events);
            out.push(seconds, self.widths.seconds);
            out.push(u64::from(pair.events) - 1, events_width);
        }
        if self.clock.is_timed && events_width > 0 {
            self.write_days(pairs, out);
        }
    }
}

impl OwnCodec<'_> {
    fn write_days(&self, pairs: &[Pair], out: &mut BitWriter) {
        let several = || pairs.iter().filter(|pair| pair.events > 1).map(|pair| self.days(pair));
        let all = several().fold([0, 0], |all, days| [all[0] | days[0], all[1] | days[1]]);
        let widths = all.map(width);
        widths.iter().for_each(|width| out.push(u64::from(*width), WIDTH_BITS));
        for days in several() {
            days.into_iter().zip(widths).for_each(|(days, width)| out.push(days, width));
        }
    }
}

/// Writes an account that has at least one pair. Returns the byte at which its heading starts.
pub(super) fn write_account(account: &Account, clock: Clock, out: &mut BitWriter) -> usize {
    let span = account.last - account.first;
    let widths = Widths::new(account.events - 1, span);
    let codec = OwnCodec { account, clock, widths };
    let (ipv4, ipv6) = account.pairs.split_at(start_of_ipv6(&account.pairs));
    let mut roots = [None; NUM_FAMILIES];
    for ((root, pairs), chain) in roots.iter_mut().zip([ipv4, ipv6]).zip(&CHAINS) {
        if !pairs.is_empty() {
            *root = Some(TrieWriter { codec: &codec, chain, out }.write(pairs));
        }
    }
    let at = out.align();
    let distances = roots.map(|root| root.map(|root| (at - root) as u64));
    let largest = u64::from(account.distinct[NUM_LEVELS - 1]);
    let [events, _, seconds] = widths.value_bytes().map(u32::from);
    let distance = distances.iter().flatten().copied().map(num_bytes).max().unwrap_or(0);
    let layout = HeadingLayout {
        events,
        seconds,
        distinct: if largest == 1 { 0 } else { num_bytes(largest) },
        distance,
        has_family: roots.map(|root| root.is_some()),
    };
    layout.write(out);
    out.push(u64::from(account.events) - 1, 8 * events);
    let distinct_width = 8 * layout.distinct;
    for distinct in account.distinct {
        out.push(u64::from(distinct) & mask(distinct_width), distinct_width);
    }
    if clock.is_timed {
        out.push(u64::from(account.first), u32::BITS);
        out.push(u64::from(span), 8 * seconds);
    }
    distances.into_iter().flatten().for_each(|root| out.push(root, 8 * distance));
    at
}

/// Bytes of the values of a heading, and which families' trees there are.
struct HeadingLayout {
    events: u32,
    seconds: u32,
    distinct: u32,
    distance: u32,
    has_family: [bool; NUM_FAMILIES],
}

/// Bytes in which a heading has its layout.
const LAYOUT_BYTES: usize = 2;
/// Bits of each of its numbers.
const LAYOUT_BITS: [u32; 4] = [3, 3, 3, 4];

impl HeadingLayout {
    fn write(&self, out: &mut BitWriter) {
        let numbers = [self.events, self.seconds, self.distinct, self.distance];
        for (number, num_bits) in numbers.into_iter().zip(LAYOUT_BITS) {
            out.push(u64::from(number), num_bits);
        }
        self.has_family.iter().for_each(|has_family| out.push(u64::from(*has_family), 1));
        out.align();
    }

    #[inline(always)]
    fn read(word: u64) -> Self {
        let mut rest = word;
        let [events, seconds, distinct, distance] = LAYOUT_BITS.map(|num_bits| {
            let number = rest & mask(num_bits);
            rest >>= num_bits;
            number as u32
        });
        // Numbers of 4 bytes at most, but for the distances.
        let [events, seconds, distinct] = [events, seconds, distinct].map(|bytes| bytes.min(4));
        let has_family = std::array::from_fn(|family| rest >> family & 1 == 1);
        Self { events, seconds, distinct, distance: distance.min(8), has_family }
    }
}

/// What the heading of an account's block says.
pub(super) struct Heading<'a> {
    reader: BitReader<'a>,
    pub(super) events: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) distinct: [u32; NUM_LEVELS],
    pub(super) widths: Widths,
    /// The byte at which each family's tree has its root.
    roots: [Option<usize>; NUM_FAMILIES],
}

impl<'a> Heading<'a> {
    /// Reads the heading at byte `at` of a block.
    #[inline(always)]
    pub(super) fn read(reader: BitReader<'a>, at: usize, clock: Clock) -> Self {
        let window = reader.window_at(at);
        let layout = HeadingLayout::read(window.word(0));
        let mut place = LAYOUT_BYTES;
        let mut next = |num_bytes: u32| {
            let value = window.word(place) & mask(8 * num_bytes);
            place += num_bytes as usize;
            value
        };
        let last_event = next(layout.events) as u32;
        let only = u32::from(layout.distinct == 0);
        let distinct = std::array::from_fn(|_| next(layout.distinct) as u32 | only);
        let first = if clock.is_timed { next(4) as u32 } else { 0 };
        let span = next(layout.seconds) as u32;
        let roots = layout.has_family.map(|has_family| {
            let distance = next(if has_family { layout.distance } else { 0 }) as usize;
            if has_family { at.checked_sub(distance) } else { None }
        });
        let (events, last) = (last_event.saturating_add(1), first.saturating_add(span));
        Self { reader, events, first, last, distinct, widths: Widths::new(last_event, span), roots }
    }

    #[inline(always)]
    pub(super) fn has_family(&self, family: usize) -> bool {
        self.roots[family].is_some()
    }

    /// The tree of a family's addresses.
    #[inline(always)]
    pub(super) fn trie(&self, family: usize) -> Option<Trie<'a>> {
        let value_bytes = self.widths.value_bytes();
        self.roots[family].map(|root| Trie::new(self.reader, family, root, value_bytes))
    }

    /// Reads all of the account, whose block starts at byte `start`.
    pub(super) fn read_all(&self, account: u64, start: usize, clock: Clock) -> Account {
        let mut pairs = Vec::new();
        for trie in (0..NUM_FAMILIES).filter_map(|family| self.trie(family)) {
            trie.read_all(start, &mut PairReader { heading: self, clock, pairs: &mut pairs });
        }
        let Self { events, first, last, distinct, .. } = *self;
        Account { account, events, first, last, distinct, pairs }
    }
}

/// Collects an account's pairs.
struct PairReader<'a> {
    heading: &'a Heading<'a>,
    clock: Clock,
    pairs: &'a mut Vec<Pair>,
}

impl BucketReader for PairReader<'_> {
    fn bucket(&mut self, addresses: &[u64], note: u64, values_at: usize) {
        let Heading { reader, widths, events: all, last, .. } = *self.heading;
        let values = Values::new(reader, widths, note, values_at);
        let start = self.pairs.len();
        for (index, address) in addresses.iter().enumerate() {
            let value = values.read(index);
            let last = last.saturating_sub(value.seconds_before_last);
            let (first_day, days) = if self.clock.is_timed { (self.clock.day(last), 1) } else { (0, 0) };
            let (address, ordinal) = (Address::from_bits(*address), all.saturating_sub(value.events_since));
            self.pairs.push(Pair { address, events: value.events, ordinal, last, first_day, days });
        }
        if !self.clock.is_timed || note == 0 {
            return;
        }
        let mut cursor = values.end(addresses.len());
        let widths: [_; 2] = std::array::from_fn(|_| (cursor.narrow(WIDTH_BITS) as u32).min(u32::BITS));
        for pair in self.pairs[start..].iter_mut().filter(|pair| pair.events != 1) {
            let [span, days] = widths.map(|width| cursor.narrow(width));
            pair.first_day = pair.first_day.saturating_sub(span as i64);
            pair.days = (days as u32).saturating_add(1);
        }
    }
}
