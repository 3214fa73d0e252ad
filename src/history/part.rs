//! Accounts of a range of hashes, written.
//!
//! The hashes are cut into [`NUM_PARTITIONS`] ranges. Every step works on one range at a time, on as many
//! cores as there are, and the results follow each other in the order of the ranges: the bytes do not depend
//! on the number of threads.

use super::account::{Account, count_distinct, write_account};
use super::bits::BitWriter;
use super::chain::{NUM_FAMILIES, family};
use super::clock::Clock;
use super::info::FamilySummary;
use super::population::{Use, uses};
use super::use_sort::RangedUses;
use crate::Result;

/// Bits of a hash by which accounts are told apart.
const PARTITION_BITS: u32 = 9;
/// Ranges of hashes.
pub(super) const NUM_PARTITIONS: usize = 1 << PARTITION_BITS;

/// The range that a hash lies in.
#[inline(always)]
pub(super) fn partition(account: u64) -> usize {
    (account >> (u64::BITS - PARTITION_BITS)) as usize
}

/// The lowest hash of a range; none for the range behind the last.
pub(super) fn first_hash(partition: usize) -> Option<u64> {
    (partition < NUM_PARTITIONS).then_some((partition as u64) << (u64::BITS - PARTITION_BITS))
}

/// Yields the accounts of one range of hashes at a time.
pub(super) trait PartSource: Sync {
    /// Passes the accounts of a range, in ascending order of their hashes, to `writer`.
    fn write_part(&self, partition: usize, writer: &mut PartWriter) -> Result<()>;
}

/// Sums over accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Times of the first and the last event.
    pub(super) times: Option<(u32, u32)>,
    pub(super) events: u64,
    pub(super) dropped_pairs: u64,
    /// `addresses` is not counted.
    pub(super) families: [FamilySummary; NUM_FAMILIES],
    /// Accounts whose order of events is not known, see [`super::merge`].
    pub(super) overlapping: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Totals) {
        self.times = match (self.times, other.times) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        self.events += other.events;
        self.dropped_pairs += other.dropped_pairs;
        self.overlapping += other.overlapping;
        for (all, family) in self.families.iter_mut().zip(&other.families) {
            all.events += family.events;
            all.pairs += family.pairs;
            all.accounts += family.accounts;
        }
    }
}

/// The written accounts of one range of hashes.
pub(super) struct Part {
    pub(super) hashes: Vec<u64>,
    /// The byte of each account's heading.
    pub(super) positions: Vec<u64>,
    pub(super) blocks: Vec<u8>,
    /// Of all pairs.
    pub(super) uses: RangedUses,
    pub(super) totals: Totals,
}

/// Writes accounts.
pub(super) struct PartWriter {
    clock: Clock,
    max_networks: Option<usize>,
    out: BitWriter,
    hashes: Vec<u64>,
    positions: Vec<u64>,
    uses: Vec<Use>,
    totals: Totals,
}

impl PartWriter {
    pub(super) fn new(clock: Clock, max_networks: Option<usize>) -> Self {
        let (hashes, positions, uses) = Default::default();
        let (out, totals) = Default::default();
        Self { clock, max_networks, out, hashes, positions, uses, totals }
    }

    /// Appends an account, whose hash is greater than those before, with at least one pair.
    pub(super) fn push(&mut self, account: &mut Account) {
        self.drop_pairs(account);
        self.hashes.push(account.account);
        self.positions.push(write_account(account, self.clock, &mut self.out) as u64);
        self.uses.extend(uses(&account.pairs));
        self.count(account);
    }

    /// Says that the order of the account's events is not known.
    pub(super) fn count_overlapping(&mut self) {
        self.totals.overlapping += 1;
    }

    /// Keeps the pairs that were used last.
    fn drop_pairs(&self, account: &mut Account) {
        let Some(max) = self.max_networks.filter(|max| account.pairs.len() > *max) else { return };
        let latest_first = |pair: &super::account::Pair| std::cmp::Reverse((pair.ordinal, pair.address));
        account.pairs.select_nth_unstable_by_key(max - 1, latest_first);
        account.pairs.truncate(max);
        account.pairs.sort_unstable_by_key(|pair| pair.address);
    }

    fn count(&mut self, account: &Account) {
        let mut totals = Totals {
            times: Some((account.first, account.last)),
            events: u64::from(account.events),
            ..Totals::default()
        };
        let largest = account.distinct.last().copied().unwrap_or(0);
        totals.dropped_pairs = u64::from(largest).saturating_sub(account.pairs.len() as u64);
        for pair in &account.pairs {
            let family = &mut totals.families[family(pair.address)];
            family.events += u64::from(pair.events);
            family.pairs += 1;
            family.accounts = 1;
        }
        self.totals.add(&totals);
    }

    pub(super) fn finish(self) -> Part {
        let Self { hashes, positions, uses, totals, out, .. } = self;
        Part { hashes, positions, blocks: out.finish(), uses: RangedUses::new(&uses), totals }
    }
}

/// Sets what follows from an account's pairs.
pub(super) fn set_distinct(account: &mut Account) {
    account.distinct = count_distinct(&account.pairs);
}
