//! Totals of a history, in a section of fixed length.

use super::chain::NUM_FAMILIES;
use super::clock::{Clock, DAY};
use super::container::number_at;

/// Totals of one address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilySummary {
    /// Events, those of pairs that were dropped not included.
    pub events: u64,
    /// Distinct (account, address); an IPv6 address is its upper 64 bits.
    pub pairs: u64,
    /// Distinct addresses.
    pub addresses: u64,
    /// Accounts with at least one address.
    pub accounts: u64,
}

/// Totals of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) clock: Clock,
    /// Times of the first and the last event; 0 without times.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) events: u64,
    pub(super) accounts: u64,
    /// Distinct prefixes of level 0 of all accounts.
    pub(super) top_prefixes: u64,
    /// Distinct (account, address) that were counted and are not kept.
    pub(super) dropped_pairs: u64,
    pub(super) families: [FamilySummary; NUM_FAMILIES],
    /// The byte of the population at which each family's tree has its root.
    pub(super) roots: [Option<u64>; NUM_FAMILIES],
}

const NUM_FIXED: usize = 8;
const NUM_OF_FAMILY: usize = 5;
const NUM_NUMBERS: usize = NUM_FIXED + NUM_FAMILIES * NUM_OF_FAMILY;

/// Unix seconds beyond which no event's time lies, in either direction: some 30,000 years.
pub(super) const MAX_TIME: i64 = 1 << 40;

impl Info {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut numbers = vec![
            u64::from(self.clock.is_timed),
            self.clock.base as u64,
            u64::from(self.first),
            u64::from(self.last),
            self.events,
            self.accounts,
            self.top_prefixes,
            self.dropped_pairs,
        ];
        for (family, root) in self.families.iter().zip(self.roots) {
            numbers.extend([family.events, family.pairs, family.addresses, family.accounts]);
            numbers.push(root.map_or(0, |root| root + 1));
        }
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// # Errors
    ///
    /// What is wrong with the totals, as the end of a sentence about the history.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() != 8 * NUM_NUMBERS {
            return Err(format!("has {} bytes of totals; they are {}", bytes.len(), 8 * NUM_NUMBERS));
        }
        let number = |index: usize| number_at(bytes, 8 * index);
        let of_family = |family: usize, index: usize| number(NUM_FIXED + family * NUM_OF_FAMILY + index);
        let time = |index: usize| u32::try_from(number(index)).map_err(|_| "has times out of range");
        let info = Self {
            clock: Clock { is_timed: number(0) == 1, base: number(1) as i64 },
            first: time(2)?,
            last: time(3)?,
            events: number(4),
            accounts: number(5),
            top_prefixes: number(6),
            dropped_pairs: number(7),
            families: std::array::from_fn(|family| FamilySummary {
                events: of_family(family, 0),
                pairs: of_family(family, 1),
                addresses: of_family(family, 2),
                accounts: of_family(family, 3),
            }),
            roots: std::array::from_fn(|family| of_family(family, 4).checked_sub(1)),
        };
        info.check(number(0))
    }

    fn check(self, flags: u64) -> Result<Self, String> {
        let kept = self.families.iter().try_fold(0_u64, |sum, family| sum.checked_add(family.events));
        let are_sums_right = match kept {
            Some(kept) if self.dropped_pairs == 0 => kept == self.events,
            Some(kept) => kept <= self.events,
            None => false,
        };
        let is_family_right = |(family, root): (&FamilySummary, &Option<u64>)| {
            family.addresses <= family.pairs
                && family.pairs <= family.events
                && family.accounts <= family.pairs.min(self.accounts)
                && root.is_some() == (family.pairs > 0)
        };
        let are_times_right = flags <= 1
            && self.first <= self.last
            && (self.clock.is_timed || self.last == 0)
            && self.clock.base.unsigned_abs() <= MAX_TIME as u64;
        let are_right = are_sums_right
            && are_times_right
            && self.accounts <= self.events
            && self.families.iter().zip(&self.roots).all(is_family_right);
        if are_right { Ok(self) } else { Err("has totals that contradict each other".into()) }
    }

    /// Unix seconds of a time.
    pub(super) fn unix(&self, time: u32) -> Option<i64> {
        self.clock.is_timed.then(|| self.clock.base + i64::from(time))
    }
}

/// Days from one time to a later one, both in Unix seconds; 0 where it is not later.
#[inline(always)]
pub fn days_between(then: i64, now: i64) -> f32 {
    (now.saturating_sub(then).max(0) as f64 / DAY as f64) as f32
}
