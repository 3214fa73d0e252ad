use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::super::event_log::days_between;
use super::*;
use crate::history::usage::{IPV4_LENGTHS, IPV6_LENGTHS, LevelUsage};

/// The plain form: every event updates the nodes of its prefix chain in hash maps.
#[derive(Default)]
struct Plain {
    accounts: HashMap<u64, PlainAccount>,
    own: HashMap<(u64, Prefix), PlainNode>,
    all: HashMap<Prefix, PlainAll>,
    num_events: u64,
}

/// Family, level and leading bits.
type Prefix = (bool, usize, u64);

#[derive(Default)]
struct PlainAccount {
    num_events: u32,
    times: Option<(i64, i64)>,
    prefixes: HashSet<Prefix>,
}

#[derive(Default)]
struct PlainNode {
    num_events: u32,
    children: HashSet<Prefix>,
    last_event: u32,
    last_time: i64,
}

#[derive(Default)]
struct PlainAll {
    num_events: u64,
    accounts: HashSet<u64>,
    children: HashSet<Prefix>,
}

fn chain(address: Address) -> [Prefix; NUM_LEVELS] {
    let (lengths, num_bits) = if address.is_ipv4() { (IPV4_LENGTHS, 32) } else { (IPV6_LENGTHS, 64) };
    std::array::from_fn(|level| {
        let bits = address.bits().checked_shr(num_bits - lengths[level]).unwrap_or(0);
        (address.is_ipv4(), level, bits)
    })
}

impl Plain {
    fn count(&mut self, entity: u64, address: Address, time: i64) {
        let chain = chain(address);
        let account = self.accounts.entry(entity).or_default();
        account.num_events += 1;
        account.times = Some((account.times.map_or(time, |times| times.0), time));
        account.prefixes.extend(chain);
        self.num_events += 1;
        for (level, prefix) in chain.into_iter().enumerate() {
            let own = self.own.entry((entity, prefix)).or_default();
            own.num_events += 1;
            own.last_event = account.num_events;
            own.last_time = time;
            let all = self.all.entry(prefix).or_default();
            all.num_events += 1;
            all.accounts.insert(entity);
            if let Some(child) = chain.get(level + 1) {
                own.children.insert(*child);
                all.children.insert(*child);
            }
        }
    }

    fn usage(&self, query: &Query, has_times: bool) -> Usage {
        let nobody = PlainAccount::default();
        let account = self.accounts.get(&query.entity).unwrap_or(&nobody);
        let days = |time: Option<i64>| match time {
            Some(time) if has_times => days_between(time, query.time),
            _ => -1.0,
        };
        let levels = chain(query.address).map(|prefix| {
            let own = self.own.get(&(query.entity, prefix));
            let all = self.all.get(&prefix);
            LevelUsage {
                own_events: own.map_or(0, |own| own.num_events),
                own_children: own.map_or(0, |own| own.children.len() as u32),
                days_since_use: days(own.map(|own| own.last_time)),
                events_since_use: own.map_or(-1.0, |own| (account.num_events - own.last_event) as f32),
                all_events: all.map_or(0, |all| all.num_events),
                all_accounts: all.map_or(0, |all| all.accounts.len() as u64),
                all_children: all.map_or(0, |all| all.children.len() as u64),
            }
        });
        Usage {
            num_events: account.num_events,
            days_since_last: days(account.times.map(|times| times.1)),
            days_since_first: days(account.times.map(|times| times.0)),
            distinct: std::array::from_fn(|level| {
                account.prefixes.iter().filter(|prefix| prefix.1 == level).count() as u32
            }),
            levels,
            total_events: self.num_events,
            total_accounts: self.accounts.len() as u64,
            total_top_prefixes: self.all.keys().filter(|prefix| prefix.1 == 0).count() as u64,
            owners: Default::default(),
        }
    }
}

/// The answers of the plain form.
fn plain_usage(log: &EventLog, queries: &[Query]) -> Vec<Usage> {
    let mut answers = vec![Usage::default(); queries.len()];
    let mut plain = Plain::default();
    for position in 0..=log.len() as u32 {
        for (query, answer) in queries.iter().zip(&mut answers) {
            if query.position == position {
                *answer = plain.usage(query, log.times.is_some());
            }
        }
        if (position as usize) < log.len() {
            plain.count(log.entity(position), log.address(position), log.time(position));
        }
    }
    answers
}

/// Addresses that share prefixes of every length.
fn address() -> impl Strategy<Value = Address> {
    let ipv4 = proptest::collection::vec(prop::sample::select(&[0u64, 1, 0x80][..]), 4)
        .prop_map(|octets| octets.iter().fold(0, |bits, octet| bits << 8 | octet));
    let ipv6 = proptest::collection::vec(prop::sample::select(&[0u64, 1, 0x80][..]), 8)
        .prop_map(|octets| octets.iter().fold(0, |bits, octet| bits << 8 | octet) | 0x2000 << 48);
    prop_oneof![3 => ipv4, 2 => ipv6].prop_map(Address::from_bits)
}

prop_compose! {
    fn events()(events in proptest::collection::vec((0u64..6, address(), 0i64..300_000), 0..80))
        -> (Vec<u64>, Vec<Address>, Vec<i64>) {
        let (accounts, rest): (Vec<_>, Vec<_>) = events.into_iter().map(|(a, b, c)| (a, (b, c))).unzip();
        let (addresses, mut times): (Vec<_>, Vec<_>) = rest.into_iter().unzip();
        times.sort_unstable();
        (accounts, addresses, times)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_the_plain_form(
        (entities, addresses, times) in events(),
        asked in proptest::collection::vec((0u64..8, address(), 0u32..90, 0i64..400_000), 0..60),
        has_times in any::<bool>(),
        rotation in 0u32..80,
    ) {
        let len = entities.len() as u32;
        // With times the order is that of the times; without them it may be any.
        let order: Option<Vec<u32>> =
            (!has_times && len > 0).then(|| (0..len).map(|i| (i + rotation) % len).collect());
        let times = has_times.then_some(&times[..]);
        let log = EventLog { entities: &entities, addresses: &addresses, times, order: order.as_deref() };
        let query = |(entity, address, position, time): (u64, Address, u32, i64)| {
            Query { entity, address, position: position.min(len), time }
        };
        let queries: Vec<Query> = asked.into_iter().map(query).collect();
        let (ours, plain) = (prequential_usage(&log, &queries), plain_usage(&log, &queries));
        for ((ours, plain), query) in ours.iter().zip(&plain).zip(&queries) {
            prop_assert_eq!(ours, plain, "{:?}", query);
        }
    }
}

/// Prefixes with more events than one task counts, and accounts with more than one task has.
#[test]
fn parts_of_a_prefix_are_added() {
    let len = 3 * EVENTS_PER_TASK as u64;
    let entities: Vec<u64> = (0..len).map(|i| i * i % 5).collect();
    let addresses: Vec<Address> = (0..len).map(|i| Address::from_bits(0x0A00_0000 + i * 7 % 1000)).collect();
    let log = EventLog { entities: &entities, addresses: &addresses, times: None, order: None };
    let query = |position| Query { entity: 4, address: Address::from_bits(0x0A00_0105), position, time: 0 };
    let positions = [0, 1, 70_000, 140_000, len as u32];
    let usage = prequential_usage(&log, &positions.map(query));
    for (position, usage) in positions.into_iter().zip(usage) {
        let before = 0..position as usize;
        let of_account = before.clone().filter(|i| entities[*i] == 4).count();
        assert_eq!(usage.num_events as usize, of_account);
        assert_eq!(usage.levels[0].all_events, u64::from(position));
        let of_address = before.filter(|i| addresses[*i].bits() == 0x0A00_0105).count();
        assert_eq!(usage.levels[NUM_LEVELS - 1].all_events as usize, of_address);
    }
}

#[test]
fn an_empty_log_knows_nothing() {
    let log = EventLog { entities: &[], addresses: &[], times: None, order: None };
    let query = Query { entity: 1, address: Address::from_bits(9), position: 0, time: 0 };
    let usage = prequential_usage(&log, &[query])[0];
    assert_eq!((usage.num_events, usage.total_accounts, usage.levels[3].all_events), (0, 0, 0));
    assert_eq!(usage.levels[3].events_since_use, -1.0);
    assert_eq!(prequential_usage(&log, &[]), []);
}

#[test]
fn any_number_of_threads_counts_alike() {
    let entities: Vec<u64> = (0..5000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57).collect();
    let addresses: Vec<Address> =
        (0..5000u64).map(|i| Address::from_bits(i.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40)).collect();
    let log = EventLog { entities: &entities, addresses: &addresses, times: None, order: None };
    let queries: Vec<Query> = (0..5000u32)
        .map(|i| Query {
            entity: entities[i as usize],
            address: addresses[(i as usize * 31) % 5000],
            position: i,
            time: 0,
        })
        .collect();
    let with_threads = |num_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        pool.install(|| prequential_usage(&log, &queries))
    };
    assert_eq!(with_threads(1), with_threads(3));
}
