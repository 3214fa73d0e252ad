//! Adds histories up, and leaves accounts out.
//!
//! All counts are exact. So are the order of an account's events and its days of use where, for each account,
//! no part has an event between two of another: the parts then follow each other by time, and where all their
//! events have one time, or none, in the order in which the parts are given. Where parts overlap in time, the
//! account's order is as near as it can be known: an event counts as many events of another part before it as
//! that part is known to have had by then, at the last uses of its addresses, and the days of an address are
//! the sum of its parts, or all days from the first to the last if these are fewer.
//! [`MergeReport::overlapping_accounts`] counts such accounts.

use std::collections::HashSet;

use super::account::{Account, Pair, count_distinct};
use super::base::History;
use super::clock::Clock;
use super::part::{PartSource, PartWriter, first_hash};
use super::usage::NUM_LEVELS;
use crate::{Error, Result};

/// Accounts of which parts are read.
pub(super) trait AccountSource: Sync {
    /// The accounts of a range of hashes, in ascending order.
    fn accounts(&self, partition: usize) -> Result<Vec<Account>>;
    fn clock(&self) -> Clock;
}

impl AccountSource for &History {
    fn accounts(&self, partition: usize) -> Result<Vec<Account>> {
        let bound = |partition: usize| {
            first_hash(partition).map_or(self.table.num_accounts(), |hash| self.table.lower_bound(hash))
        };
        let accounts = (bound(partition)..bound(partition + 1)).map(|index| {
            let account = self.account_at(index);
            check(&account, self.info.clock).map(|()| account)
        });
        accounts.collect()
    }

    fn clock(&self) -> Clock {
        self.info.clock
    }
}

/// Refuses an account that no history was written with.
fn check(account: &Account, clock: Clock) -> Result<()> {
    let is_right = |pair: &Pair| {
        (1..=account.events).contains(&pair.ordinal)
            && (account.first..=account.last).contains(&pair.last)
            && pair.first_day <= clock.day(pair.last)
            && pair.days <= pair.events
    };
    let events = account.pairs.iter().map(|pair| u64::from(pair.events)).sum::<u64>();
    let is_right = !account.pairs.is_empty()
        && account.pairs.is_sorted_by(|a, b| a.address < b.address)
        && account.pairs.iter().all(is_right)
        && events <= u64::from(account.events)
        && account.distinct.is_sorted()
        && account.distinct[NUM_LEVELS - 1] as usize >= account.pairs.len();
    if is_right {
        return Ok(());
    }
    let what = format!("what it has of the account with hash {:016x} contradicts itself", account.account);
    Err(Error::data(
        "history",
        what,
        "build the history again, or take the model folder from where it was copied",
    ))
}

/// The sum of several sources, without some accounts.
pub(super) struct Merge<'a, S> {
    pub(super) sources: &'a [S],
    pub(super) clock: Clock,
    pub(super) left_out: &'a HashSet<u64>,
}

impl<S: AccountSource> PartSource for Merge<'_, S> {
    fn write_part(&self, partition: usize, writer: &mut PartWriter) -> Result<()> {
        let mut all = Vec::new();
        for source in self.sources {
            let behind = (source.clock().base - self.clock.base) as u32;
            for mut account in source.accounts(partition)? {
                if self.left_out.contains(&account.account) {
                    continue;
                }
                if self.clock.is_timed {
                    shift(&mut account, behind)?;
                }
                all.push(account);
            }
        }
        // Stable: parts of one account stay in the order of the sources.
        all.sort_by_key(|account| account.account);
        for parts in all.chunk_by_mut(|a, b| a.account == b.account) {
            match parts {
                [only] => writer.push(only),
                parts => {
                    let (mut account, is_overlapping) = merge_account(parts, self.clock)?;
                    writer.push(&mut account);
                    if is_overlapping {
                        writer.count_overlapping();
                    }
                }
            }
        }
        Ok(())
    }
}

/// Counts times from an earlier base.
fn shift(account: &mut Account, seconds: u32) -> Result<()> {
    let times = account.pairs.iter_mut().map(|pair| &mut pair.last);
    for time in times.chain([&mut account.first, &mut account.last]) {
        *time = time.checked_add(seconds).ok_or_else(|| {
            let what = "their events lie more than 136 years apart";
            Error::data(
                "histories",
                what,
                "check the times of the events, and leave out those that are wrong",
            )
        })?;
    }
    Ok(())
}

/// Adds up parts of one account. Returns also whether the order of its events is not known.
fn merge_account(parts: &mut [Account], clock: Clock) -> Result<(Account, bool)> {
    if clock.is_timed {
        parts.sort_by_key(|part| (part.first, part.last));
    }
    let is_overlapping = clock.is_timed && parts.windows(2).any(|pair| pair[1].first < pair[0].last);
    let events = parts.iter().map(|part| u64::from(part.events)).sum::<u64>();
    let events = u32::try_from(events).map_err(|_| {
        let what = format!("the account with hash {:016x} would have {events} events", parts[0].account);
        Error::data("histories", what, format!("at most {} events of an account are counted", u32::MAX))
    })?;
    let dropped = dropped_prefixes(parts);
    let mut pairs = if is_overlapping { by_time(parts) } else { one_after_another(parts) };
    pairs.sort_by_key(|pair| pair.address);
    let pairs: Vec<_> =
        pairs.chunk_by(|a, b| a.address == b.address).map(|pairs| merge_pairs(pairs, clock)).collect();
    let mut distinct = count_distinct(&pairs);
    distinct.iter_mut().zip(dropped).for_each(|(distinct, dropped)| *distinct += dropped);
    let first = parts.iter().map(|part| part.first).min().unwrap_or(0);
    let last = parts.iter().map(|part| part.last).max().unwrap_or(0);
    Ok((Account { account: parts[0].account, events, first, last, distinct, pairs }, is_overlapping))
}

/// Prefixes of each level that only pairs had that were dropped. Those of two parts are taken as different.
fn dropped_prefixes(parts: &[Account]) -> [u32; NUM_LEVELS] {
    let mut dropped = [0; NUM_LEVELS];
    for part in parts {
        let kept = count_distinct(&part.pairs);
        for ((dropped, all), kept) in dropped.iter_mut().zip(part.distinct).zip(kept) {
            *dropped += all.saturating_sub(kept);
        }
    }
    dropped
}

/// The pairs of parts that follow each other, with their ordinals in the whole.
fn one_after_another(parts: &[Account]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut before = 0;
    for part in parts {
        pairs.extend(part.pairs.iter().map(|pair| Pair { ordinal: before + pair.ordinal, ..*pair }));
        before += part.events;
    }
    pairs
}

/// The pairs of parts that overlap in time, with ordinals as near as they can be known.
fn by_time(parts: &[Account]) -> Vec<Pair> {
    let known: Vec<_> = parts.iter().map(KnownEvents::new).collect();
    let mut pairs = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        for pair in &part.pairs {
            let others = known.iter().enumerate().filter(|(other, _)| *other != index);
            let before: u32 = others.map(|(_, known)| known.up_to(pair.last)).sum();
            pairs.push(Pair { ordinal: pair.ordinal + before, ..*pair });
        }
    }
    pairs
}

/// How many events an account is known to have had by a time.
struct KnownEvents(Vec<(u32, u32)>);

impl KnownEvents {
    fn new(part: &Account) -> Self {
        let mut known: Vec<_> = part.pairs.iter().map(|pair| (pair.last, pair.ordinal)).collect();
        known.extend([(part.first, 1), (part.last, part.events)]);
        known.sort_unstable();
        Self(known)
    }

    fn up_to(&self, time: u32) -> u32 {
        let num = self.0.partition_point(|(known, _)| *known <= time);
        num.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// Adds up what is counted of one (account, address), in the order of its parts.
fn merge_pairs(parts: &[Pair], clock: Clock) -> Pair {
    let mut all = parts[0];
    for pair in &parts[1..] {
        if clock.is_timed {
            let is_same_day = clock.day(all.last) == pair.first_day;
            let days = all.days + pair.days - u32::from(is_same_day);
            all.first_day = all.first_day.min(pair.first_day);
            let last_day = clock.day(all.last.max(pair.last));
            all.days = days.min(u32::try_from(last_day - all.first_day + 1).unwrap_or(u32::MAX));
        }
        all.events += pair.events;
        if pair.ordinal > all.ordinal {
            all.ordinal = pair.ordinal;
        }
        all.last = all.last.max(pair.last);
    }
    all
}
