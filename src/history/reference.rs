//! The counts of a history in hash maps, event by event: what every other way of counting is held against.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::usage::{IPV4_LENGTHS, IPV6_LENGTHS, LevelUsage, NUM_LEVELS, Usage};
use super::{AccountHistory, AddressHistory, AddressTimes, days_between};
use crate::event::Address;

/// A prefix: its family, its level and its bits.
type Prefix = (bool, usize, u64);

pub(super) fn prefix(address: Address, level: usize) -> Prefix {
    let (bits, lengths) = if address.is_ipv4() { (32, IPV4_LENGTHS) } else { (64, IPV6_LENGTHS) };
    let prefix = address.bits().checked_shr(bits - lengths[level]).unwrap_or(0);
    (address.is_ipv4(), level, prefix)
}

#[derive(Default)]
struct Own {
    events: u32,
    children: HashSet<Prefix>,
    last_ordinal: u32,
    last: i64,
    days: BTreeSet<i64>,
}

#[derive(Default)]
struct All {
    events: u64,
    accounts: HashSet<u64>,
    children: HashSet<Prefix>,
}

#[derive(Default)]
struct OneAccount {
    events: u32,
    first: i64,
    last: i64,
    prefixes: HashMap<Prefix, Own>,
    addresses: BTreeSet<Address>,
}

/// Counts events one by one.
#[derive(Default)]
pub(super) struct Reference {
    is_timed: bool,
    events: u64,
    accounts: HashMap<u64, OneAccount>,
    prefixes: HashMap<Prefix, All>,
}

impl Reference {
    pub(super) fn new(is_timed: bool) -> Self {
        Self { is_timed, ..Self::default() }
    }

    /// Counts an event; `time` is in Unix seconds.
    pub(super) fn count(&mut self, account: u64, address: Address, time: i64) {
        self.events += 1;
        let own = self.accounts.entry(account).or_default();
        own.first = if own.events == 0 { time } else { own.first };
        own.last = time;
        own.events += 1;
        own.addresses.insert(address);
        for level in 0..NUM_LEVELS {
            let child = (level + 1 < NUM_LEVELS).then(|| prefix(address, level + 1));
            let used = own.prefixes.entry(prefix(address, level)).or_default();
            used.events += 1;
            used.children.extend(child);
            (used.last_ordinal, used.last) = (own.events, time);
            used.days.insert(time.div_euclid(86_400));
            let all = self.prefixes.entry(prefix(address, level)).or_default();
            all.events += 1;
            all.accounts.insert(account);
            all.children.extend(child);
        }
    }

    pub(super) fn usage(&self, account: u64, address: Address, now: Option<i64>) -> Usage {
        let now = now.filter(|_| self.is_timed);
        let days = |then: i64| now.map_or(-1., |now| days_between(then, now));
        let own = self.accounts.get(&account);
        let distinct = |level: usize| {
            own.map_or(0, |own| own.prefixes.keys().filter(|prefix| prefix.1 == level).count() as u32)
        };
        Usage {
            num_events: own.map_or(0, |own| own.events),
            days_since_last: own.map_or(-1., |own| days(own.last)),
            days_since_first: own.map_or(-1., |own| days(own.first)),
            distinct: std::array::from_fn(distinct),
            levels: std::array::from_fn(|level| {
                let prefix = prefix(address, level);
                let used = own.and_then(|own| own.prefixes.get(&prefix));
                let all = self.prefixes.get(&prefix);
                LevelUsage {
                    own_events: used.map_or(0, |used| used.events),
                    own_children: used.map_or(0, |used| used.children.len() as u32),
                    days_since_use: used.map_or(-1., |used| days(used.last)),
                    events_since_use: own
                        .zip(used)
                        .map_or(-1., |(own, used)| (own.events - used.last_ordinal) as f32),
                    all_events: all.map_or(0, |all| all.events),
                    all_accounts: all.map_or(0, |all| all.accounts.len() as u64),
                    all_children: all.map_or(0, |all| all.children.len() as u64),
                }
            }),
            total_events: self.events,
            total_accounts: self.accounts.len() as u64,
            total_top_prefixes: self.prefixes.keys().filter(|prefix| prefix.1 == 0).count() as u64,
            owners: Default::default(),
        }
    }

    pub(super) fn account(&self, account: u64) -> Option<AccountHistory> {
        let own = self.accounts.get(&account)?;
        let addresses = own.addresses.iter().map(|address| {
            let used = &own.prefixes[&prefix(*address, NUM_LEVELS - 1)];
            AddressHistory {
                address: *address,
                events: used.events,
                last_ordinal: used.last_ordinal,
                times: self.is_timed.then(|| AddressTimes {
                    first_day: *used.days.first().unwrap(),
                    last: used.last,
                    days: used.days.len() as u32,
                }),
            }
        });
        let any = addresses.clone().next()?.address;
        Some(AccountHistory {
            account,
            events: own.events,
            times: self.is_timed.then_some((own.first, own.last)),
            distinct: self.usage(account, any, None).distinct,
            addresses: addresses.collect(),
        })
    }
}
