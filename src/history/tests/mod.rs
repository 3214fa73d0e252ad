//! Histories against the plain reference.

mod damage;
mod files;
mod golden;
pub(super) mod owners;

use std::collections::HashSet;

use proptest::prelude::*;

use super::reference::{Reference, prefix};
use super::*;
use crate::event::Address;

/// An event: account, address, seconds after [`BASE`].
type Event = (u64, Address, u32);

/// A time of day, so that days do not begin at second 0.
const BASE: i64 = 1_700_000_000;

/// Addresses that share every number of levels: few symbols at each.
fn address() -> impl Strategy<Value = Address> {
    let ipv4 = (0_u64..4, 0_u64..3, 0_u64..3, any::<u8>(), any::<bool>()).prop_map(|(a, b, c, d, is_any)| {
        let low = u64::from(d);
        let bits =
            if is_any { a << 30 | b << 22 | c << 13 | low } else { a << 24 | b << 12 | c << 4 | low & 15 };
        Address::from_bits(bits)
    });
    let ipv6 = (0_u64..3, 0_u64..3, 0_u64..4, any::<u8>()).prop_map(|(a, b, c, d)| {
        Address::from_bits(0x2000 << 48 | a << 40 | b << 30 | c << 17 | u64::from(d))
    });
    prop_oneof![3 => ipv4, 2 => ipv6, 1 => any::<u32>().prop_map(|bits| Address::from_bits(u64::from(bits)))]
}

fn account() -> impl Strategy<Value = u64> {
    // Hashes near the borders of the ranges of hashes, and others.
    prop_oneof![
        0_u64..3,
        (0_u64..3).prop_map(|n| u64::MAX - n),
        (0_u64..4).prop_map(|n| n << 55),
        any::<u64>()
    ]
}

/// Events in order of time. Few accounts have most of them.
fn events(max: usize) -> impl Strategy<Value = Vec<Event>> {
    let accounts = prop::collection::vec(account(), 1..8);
    let gap = prop_oneof![Just(0_u32), 0_u32..100, 0_u32..200_000];
    let events = prop::collection::vec((any::<prop::sample::Index>(), address(), gap), 0..max);
    (accounts, events).prop_map(|(accounts, events)| {
        let mut time = 0;
        let to_event = |(index, address, gap): (prop::sample::Index, Address, u32)| {
            time += gap;
            (*index.get(&accounts), address, time)
        };
        events.into_iter().map(to_event).collect()
    })
}

fn builder(events: &[Event], base: Option<i64>, options: Options) -> HistoryBuilder {
    let mut builder = HistoryBuilder::new(base, options).unwrap();
    for events in events.chunks(37) {
        let accounts: Vec<_> = events.iter().map(|event| event.0).collect();
        let addresses: Vec<_> = events.iter().map(|event| event.1).collect();
        let seconds: Vec<_> = events.iter().map(|event| event.2).collect();
        builder.push(&accounts, &addresses, base.map(|_| seconds.as_slice())).unwrap();
    }
    builder
}

fn build(events: &[Event], base: Option<i64>) -> History {
    builder(events, base, Options::default()).finish_in_memory().unwrap()
}

fn reference(events: &[Event], is_timed: bool) -> Reference {
    let mut reference = Reference::new(is_timed);
    for (account, address, second) in events {
        reference.count(*account, *address, BASE + i64::from(*second));
    }
    reference
}

/// Pairs of all accounts and addresses, and some that are near or unknown.
fn pairs(events: &[Event]) -> Vec<(u64, Address)> {
    let mut addresses: Vec<_> = events.iter().map(|event| event.1).collect();
    for flip in [1, 1 << 9, 1 << 18, 1 << 27, 1 << 40] {
        addresses.extend(events.iter().step_by(7).map(|event| Address::from_bits(event.1.bits() ^ flip)));
    }
    let accounts: Vec<_> = events.iter().map(|event| event.0).chain([77, u64::MAX / 3]).collect();
    let num = addresses.len() * 2;
    (0..num).map(|i| (accounts[i * 31 % accounts.len()], addresses[i % addresses.len()])).collect()
}

fn to_events(pairs: &[(u64, Address)]) -> Vec<crate::Event> {
    pairs.iter().map(|(entity, address)| crate::Event { entity: *entity, address: *address }).collect()
}

fn assert_equals_reference(history: &History, events: &[Event], is_timed: bool) {
    let reference = reference(events, is_timed);
    let now = BASE + events.last().map_or(0, |event| i64::from(event.2)) - 1_000;
    for (account, address) in pairs(events) {
        for now in [Some(now), None] {
            let (found, expected) =
                (history.usage(account, address, now), reference.usage(account, address, now));
            assert_eq!(found, expected, "{account} {address:?}");
        }
    }
    let mut accounts: Vec<_> = events.iter().map(|event| event.0).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let expected: Vec<_> = accounts.iter().map(|account| reference.account(*account).unwrap()).collect();
    assert_eq!(history.accounts().collect::<Vec<_>>(), expected);
    assert_eq!(accounts.first().and_then(|account| history.account(*account)), expected.first().cloned());
    assert_summary(history, events, is_timed);
}

fn assert_summary(history: &History, events: &[Event], is_timed: bool) {
    let summary = history.summary();
    let num = |items: HashSet<(u64, u64)>| items.len() as u64;
    assert_eq!(summary.events, events.len() as u64);
    assert_eq!(summary.accounts, num(events.iter().map(|event| (event.0, 0)).collect()));
    assert_eq!(summary.dropped_pairs, 0);
    let time = |event: Option<&Event>| event.map(|event| BASE + i64::from(event.2));
    assert_eq!(summary.times, time(events.first()).zip(time(events.last())).filter(|_| is_timed));
    for (family, is_ipv4) in [(summary.ipv4, true), (summary.ipv6, false)] {
        let events = || events.iter().filter(|event| event.1.is_ipv4() == is_ipv4);
        assert_eq!(family.events, events().count() as u64);
        assert_eq!(family.pairs, num(events().map(|event| (event.0, event.1.bits())).collect()));
        assert_eq!(family.addresses, num(events().map(|event| (0, event.1.bits())).collect()));
        assert_eq!(family.accounts, num(events().map(|event| (event.0, 0)).collect()));
        for (level, num) in history.num_prefixes()[usize::from(!is_ipv4)].into_iter().enumerate() {
            let prefixes: HashSet<_> = events().map(|event| prefix(event.1, level)).collect();
            assert_eq!(num, prefixes.len() as u64);
        }
    }
}

fn bytes_of(build: impl FnOnce(&std::path::Path)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.bin");
    build(&path);
    std::fs::read(path).unwrap()
}

#[test]
fn many_scores_are_those_of_single_pairs() {
    let events = files::many_events(3_000);
    let detector =
        Detector { history: build(&events, Some(BASE)), head: super::head::tests::head(5), owners: None };
    let pairs: Vec<_> = to_events(&pairs(&events)).into_iter().cycle().take(10_000).collect();
    let times: Vec<u32> = (0..pairs.len() as u32).map(|i| BASE as u32 + i * 113).collect();
    for times in [None, Some(&times[..])] {
        for num in [2, 300, pairs.len()] {
            let scores = detector.scores(&pairs[..num], times.map(|times| &times[..num]));
            for (i, (pair, score)) in pairs.iter().zip(scores).enumerate() {
                assert_eq!(detector.score(*pair, times.map(|times| times[i])), score, "pair {i} of {num}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_count_is_that_of_the_reference(events in events(400), is_timed: bool) {
        let history = build(&events, is_timed.then_some(BASE));
        assert_equals_reference(&history, &events, is_timed);
    }

    #[test]
    fn many_at_once_are_as_one_by_one(events in events(200), is_timed: bool, ask_timed: bool) {
        let history = build(&events, is_timed.then_some(BASE));
        let pairs = pairs(&events);
        let seconds: Vec<_> = (0..pairs.len() as u32).map(|i| i * 7_919).collect();
        let mut usages = vec![Usage { num_events: 9, ..Usage::default() }; pairs.len()];
        let columns = Pairs {
            events: &to_events(&pairs),
            seconds: ask_timed.then_some(&seconds),
            time_base: BASE,
        };
        history.usages(&columns, &mut usages);
        for (((account, address), second), usage) in pairs.iter().zip(&seconds).zip(&usages) {
            let now = ask_timed.then(|| BASE + i64::from(*second));
            prop_assert_eq!(usage, &history.usage(*account, *address, now));
        }
    }

    #[test]
    fn parts_add_up_to_the_whole_in_any_order(
        events in events(300), is_timed: bool, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        by_account: bool, order in any::<u64>(),
    ) {
        // Parts differ in time, or in accounts.
        let mut parts: Vec<Vec<Event>> = Vec::new();
        if by_account {
            for part in 0..=cuts.len() as u64 {
                parts.push(events.iter().filter(|event| event.0 % (cuts.len() as u64 + 1) == part).copied().collect());
            }
        } else {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(events.len() + 1)).collect();
            cuts.extend([0, events.len()]);
            cuts.sort_unstable();
            parts.extend(cuts.windows(2).map(|cut| events[cut[0]..cut[1]].to_vec()));
        }
        // Their times count from different moments.
        let mut histories: Vec<_> = (0_i64..).zip(&parts).map(|(i, part)| {
            let behind = if part.is_empty() { 0 } else { (i as u32 * 1_000).min(part[0].2) };
            let part: Vec<_> = part.iter().map(|event| (event.0, event.1, event.2 - behind)).collect();
            build(&part, is_timed.then(|| BASE + i64::from(behind)))
        }).collect();
        // Without times, and where all of an account's events have one time, the order of the parts is that
        // of the events.
        let has_one_time = events.iter().all(|event| event.2 == events[0].2);
        let is_any_order = by_account || is_timed && !has_one_time && parts.iter().all(|part| spans_time(part));
        if is_any_order {
            let num = histories.len();
            histories.rotate_left(order as usize % num);
            if order & 1 << 40 > 0 {
                histories.reverse();
            }
        }
        let histories: Vec<_> = histories.iter().collect();
        let merged = merge_in_memory(&histories, &Options::default()).unwrap();
        assert_equals_reference(&merged, &events, is_timed);
        let whole = bytes_of(|path| { builder(&events, is_timed.then_some(BASE), Options::default()).finish(path).unwrap(); });
        let parts = bytes_of(|path| {
            let report = merge(&histories, &Options::default(), path).unwrap();
            assert_eq!(report.overlapping_accounts, 0);
        });
        if !events.is_empty() && (!is_timed || !by_account || events[0].2 == 0) {
            let base = merged.summary().times.map(|times| times.0 - i64::from(events[0].2));
            if base.is_none_or(|base| base == BASE) && merged.info.clock.base == history_base(is_timed) {
                prop_assert_eq!(parts, whole);
            }
        }
    }

    #[test]
    fn a_forgotten_account_leaves_no_trace(events in events(300), is_timed: bool, forgotten in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let mut accounts = HashSet::from([12_345]);
        if !events.is_empty() {
            accounts.extend(forgotten.iter().map(|index| index.get(&events).0));
        }
        let base = is_timed.then_some(BASE);
        let rest: Vec<_> = events.iter().filter(|event| !accounts.contains(&event.0)).copied().collect();
        let expected = bytes_of(|path| { builder(&rest, base, Options::default()).finish(path).unwrap(); });
        let history = build(&events, base);
        let found = bytes_of(|path| { forget(&history, &accounts, &Options::default(), path).unwrap(); });
        prop_assert_eq!(found, expected);
        let in_memory = forget_in_memory(&history, &accounts, &Options::default()).unwrap();
        assert_equals_reference(&in_memory, &rest, is_timed);
    }

    #[test]
    fn a_bound_keeps_the_last_used_and_the_totals(events in events(300), is_timed: bool, max in 1_usize..6) {
        let base = is_timed.then_some(BASE);
        let options = Options { max_networks: Some(max), ..Options::default() };
        let bounded = builder(&events, base, options).finish_in_memory().unwrap();
        let whole = build(&events, base);
        prop_assert_eq!(bounded.summary().events, events.len() as u64);
        let pairs = |history: &History| history.summary().ipv4.pairs + history.summary().ipv6.pairs;
        prop_assert_eq!(bounded.summary().dropped_pairs, pairs(&whole) - pairs(&bounded));
        for (bounded, mut whole) in bounded.accounts().zip(whole.accounts()) {
            whole.addresses.sort_by_key(|address| std::cmp::Reverse(address.last_ordinal));
            whole.addresses.truncate(max);
            whole.addresses.sort_by_key(|address| address.address);
            prop_assert_eq!(bounded, whole);
        }
        // A history that was bounded later is the same.
        let options = Options { max_networks: Some(max), ..Options::default() };
        let later = merge_in_memory(&[&whole], &options).unwrap();
        prop_assert_eq!(later.accounts().collect::<Vec<_>>(), bounded.accounts().collect::<Vec<_>>());
    }
}

fn history_base(is_timed: bool) -> i64 {
    if is_timed { BASE } else { 0 }
}

/// Whether each account's events have several times, so that they tell which part comes first.
fn spans_time(events: &[Event]) -> bool {
    events.iter().all(|event| {
        let times: HashSet<_> =
            events.iter().filter(|other| other.0 == event.0).map(|event| event.2).collect();
        times.len() > 1
    })
}
