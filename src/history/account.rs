//! What is counted of one account, and how it is written.
//!
//! ```text
//! block:  tree of IPv4 addresses | tree of IPv6 addresses | heading
//! heading: events - 1: sized | one network: 1 | width: 6, distinct prefixes of each level | first: 32 | last - first: sized
//!          | has IPv4: 1, distance of its root: sized | has IPv6: 1, distance of its root: sized
//! node:   events - 1 | events since use | seconds since use
//! bucket: width: 6 | (events since use | seconds since use | events - 1) of each address
//!         details: widths: 6, 6 | (days from first use to last | days of use - 1) of each address of several events
//! ```
//!
//! Distinct prefixes are left out where all are 1; times and details where events have no times. Events have as many bits as
//! the account's number of events, seconds as many as the time between its first event and its last, from which they count
//! back.

use super::bits::{BitReader, BitWriter, Cursor, width};
use super::chain::{CHAINS, NUM_FAMILIES, shared};
use super::trie_read::{BucketReader, Trie};
use super::trie_write::{Codec, TrieWriter, WIDTH_BITS};
use super::usage::NUM_LEVELS;
use crate::event::Address;

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// How the times of a history's events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whether events have times.
    pub(super) is_timed: bool,
    /// Unix seconds of time 0.
    pub(super) base: i64,
}

impl Clock {
    /// Days from 1970-01-01, in UTC, to that of a time.
    pub(super) fn day(self, time: u32) -> i64 {
        self.base.saturating_add(i64::from(time)).div_euclid(DAY)
    }
}

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

/// Widths of values that depend on the account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) events: u32,
    pub(super) seconds: u32,
}

struct OwnCodec<'a> {
    account: &'a Account,
    clock: Clock,
    widths: Widths,
}

impl OwnCodec<'_> {
    /// Events and seconds that the account's last event is behind a use.
    fn write_last(&self, ordinal: u32, last: u32, out: &mut BitWriter) {
        out.push(u64::from(self.account.events - ordinal), self.widths.events);
        if self.clock.is_timed {
            out.push(u64::from(self.account.last - last), self.widths.seconds);
        }
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
        out.push(u64::from(sum.events) - 1, self.widths.events);
        self.write_last(sum.ordinal, sum.last, out);
    }

    fn write_values(&self, pairs: &[Pair], out: &mut BitWriter) {
        let events_width = pairs.iter().map(|pair| width(u64::from(pair.events) - 1)).max().unwrap_or(0);
        out.push(u64::from(events_width), WIDTH_BITS);
        for pair in pairs {
            self.write_last(pair.ordinal, pair.last, out);
            out.push(u64::from(pair.events) - 1, events_width);
        }
    }

    fn write_details(&self, pairs: &[Pair], out: &mut BitWriter) {
        if !self.clock.is_timed {
            return;
        }
        let details = |pair: &Pair| {
            ((self.clock.day(pair.last) - pair.first_day) as u64, u64::from(pair.days).saturating_sub(1))
        };
        let several = || pairs.iter().filter(|pair| pair.events > 1).map(details);
        if several().next().is_none() {
            return;
        }
        let (spans, days) = several().fold((0, 0), |widths, (span, days)| (widths.0 | span, widths.1 | days));
        let (span_width, days_width) = (width(spans), width(days));
        out.push(u64::from(span_width), WIDTH_BITS);
        out.push(u64::from(days_width), WIDTH_BITS);
        for (span, days) in several() {
            out.push(span, span_width);
            out.push(days, days_width);
        }
    }
}

/// Writes an account that has at least one pair. Returns the byte at which its heading starts.
pub(super) fn write_account(account: &Account, clock: Clock, out: &mut BitWriter) -> usize {
    let span = account.last - account.first;
    let widths = Widths { events: width(u64::from(account.events) - 1), seconds: width(u64::from(span)) };
    let codec = OwnCodec { account, clock, widths };
    let (ipv4, ipv6) = account.pairs.split_at(start_of_ipv6(&account.pairs));
    let mut roots = [None; NUM_FAMILIES];
    for ((root, pairs), chain) in roots.iter_mut().zip([ipv4, ipv6]).zip(&CHAINS) {
        if !pairs.is_empty() {
            *root = Some(TrieWriter { codec: &codec, chain, out }.write(pairs));
        }
    }
    let at = out.align();
    out.push_sized(u64::from(account.events) - 1);
    let largest = u64::from(account.distinct[NUM_LEVELS - 1]);
    out.push(u64::from(largest == 1), 1);
    if largest > 1 {
        let distinct_width = width(largest);
        out.push(u64::from(distinct_width), WIDTH_BITS);
        account.distinct.iter().for_each(|distinct| out.push(u64::from(*distinct), distinct_width));
    }
    if clock.is_timed {
        out.push(u64::from(account.first), u32::BITS);
        out.push_sized(u64::from(span));
    }
    for root in roots {
        out.push(u64::from(root.is_some()), 1);
        if let Some(root) = root {
            out.push_sized((at - root) as u64);
        }
    }
    at
}

/// What the heading of an account's block says.
pub(super) struct Heading<'a> {
    pub(super) events: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) distinct: [u32; NUM_LEVELS],
    pub(super) widths: Widths,
    pub(super) tries: [Option<Trie<'a>>; NUM_FAMILIES],
}

impl<'a> Heading<'a> {
    /// Reads the heading at byte `at` of a block that starts at byte `start`.
    #[inline(always)]
    pub(super) fn read(reader: BitReader<'a>, start: usize, at: usize, clock: Clock) -> Self {
        let mut cursor = reader.cursor(at);
        let last_event = cursor.sized() as u32;
        let mut distinct = [1; NUM_LEVELS];
        if !cursor.flag() {
            let distinct_width = (cursor.narrow(WIDTH_BITS) as u32).min(u32::BITS);
            distinct = std::array::from_fn(|_| cursor.narrow(distinct_width) as u32);
        }
        let (mut first, mut span) = (0, 0);
        if clock.is_timed {
            first = cursor.narrow(u32::BITS) as u32;
            span = cursor.sized() as u32;
        }
        let tries = std::array::from_fn(|family| {
            let root = cursor.flag().then(|| at.checked_sub(cursor.sized() as usize))??;
            Some(Trie { reader, chain: &CHAINS[family], root, start })
        });
        let widths = Widths { events: width(u64::from(last_event)), seconds: width(u64::from(span)) };
        let events = last_event.saturating_add(1);
        Self { events, first, last: first.saturating_add(span), distinct, widths, tries }
    }

    /// Reads all of the account.
    pub(super) fn read_all(&self, account: u64, clock: Clock) -> Account {
        let mut pairs = Vec::new();
        for trie in self.tries.iter().flatten() {
            trie.read_all(&mut PairReader { heading: self, clock, pairs: &mut pairs, start: 0 });
        }
        let Self { events, first, last, distinct, .. } = *self;
        Account { account, events, first, last, distinct, pairs }
    }

    /// Ordinal and time of a use, as [`OwnCodec::write_last`] wrote them.
    fn read_last(&self, cursor: &mut Cursor<'_>, clock: Clock) -> (u32, u32) {
        let ordinal = self.events.saturating_sub(cursor.narrow(self.widths.events) as u32);
        if !clock.is_timed {
            return (ordinal, 0);
        }
        (ordinal, self.last.saturating_sub(cursor.narrow(self.widths.seconds) as u32))
    }
}

struct PairReader<'a> {
    heading: &'a Heading<'a>,
    clock: Clock,
    pairs: &'a mut Vec<Pair>,
    /// Index of the bucket's first pair.
    start: usize,
}

impl BucketReader for PairReader<'_> {
    fn start(&mut self, cursor: &mut Cursor<'_>, num_leaves: usize) {
        self.start = self.pairs.len();
        let events_width = (cursor.narrow(WIDTH_BITS) as u32).min(u32::BITS);
        for _ in 0..num_leaves {
            let (ordinal, last) = self.heading.read_last(cursor, self.clock);
            let events = (cursor.narrow(events_width) as u32).saturating_add(1);
            let (first_day, days) = if self.clock.is_timed { (self.clock.day(last), 1) } else { (0, 0) };
            let address = Address::from_bits(0);
            self.pairs.push(Pair { address, events, ordinal, last, first_day, days });
        }
    }

    fn skip_node(&mut self, cursor: &mut Cursor<'_>) {
        cursor.skip(self.heading.widths.events as usize);
        self.heading.read_last(cursor, self.clock);
    }

    fn leaves(&mut self, addresses: &[u64], cursor: &mut Cursor<'_>) {
        let pairs = &mut self.pairs[self.start..];
        for (pair, address) in pairs.iter_mut().zip(addresses) {
            pair.address = Address::from_bits(*address);
        }
        if !self.clock.is_timed || pairs.iter().all(|pair| pair.events == 1) {
            return;
        }
        let [span_width, days_width] =
            std::array::from_fn(|_| (cursor.narrow(WIDTH_BITS) as u32).min(u32::BITS));
        for pair in pairs.iter_mut().filter(|pair| pair.events > 1) {
            pair.first_day = pair.first_day.saturating_sub(cursor.narrow(span_width) as i64);
            pair.days = (cursor.narrow(days_width) as u32).saturating_add(1);
        }
    }
}
