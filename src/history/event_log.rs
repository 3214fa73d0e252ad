//! A log of past events, and pairs whose counts are asked for at moments of it.

use crate::event::Address;

/// The mark of an event that brought its account or its address nothing new.
pub(super) const NOTHING_NEW: u8 = u8::MAX;

/// Seconds of a day.
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Past events in the order in which they are counted; fewer than 2^32.
#[derive(Clone, Copy, Debug)]
pub struct EventLog<'a> {
    /// Hashes of the accounts, `[events]`.
    pub entities: &'a [u64],
    /// Addresses, `[events]`.
    pub addresses: &'a [Address],
    /// Unix seconds, `[events]`; absent where events have no time.
    pub times: Option<&'a [i64]>,
    /// Which event is at a position, a permutation of `0..events`; absent where events lie in order.
    pub order: Option<&'a [u32]>,
}

impl EventLog<'_> {
    /// The number of events.
    pub fn len(&self) -> usize {
        self.entities.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    #[inline]
    fn row(&self, position: u32) -> usize {
        self.order.map_or(position, |order| order[position as usize]) as usize
    }

    /// The account of the event at a position.
    #[inline]
    pub fn entity(&self, position: u32) -> u64 {
        self.entities[self.row(position)]
    }

    /// The address of the event at a position.
    #[inline]
    pub fn address(&self, position: u32) -> Address {
        self.addresses[self.row(position)]
    }

    /// The time of the event at a position; 0 where events have none.
    #[inline]
    pub fn time(&self, position: u32) -> i64 {
        self.times.map_or(0, |times| times[self.row(position)])
    }
}

/// A pair whose counts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Hash of the account.
    pub entity: u64,
    /// The address.
    pub address: Address,
    /// How many events of the log were counted before: those at smaller positions.
    pub position: u32,
    /// When the pair occurs, in Unix seconds; counts for recency alone.
    pub time: i64,
}

/// Days from one time to a later one; never negative.
pub(super) fn days_between(earlier: i64, later: i64) -> f32 {
    (later.saturating_sub(earlier).max(0) as f64 / SECONDS_PER_DAY) as f32
}
