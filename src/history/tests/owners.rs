//! Counts of owners: of a history and of a log, by plain counting.

use std::collections::HashSet;
use std::fs;

use proptest::prelude::*;

use super::super::*;
use super::{BASE, Event, build, events, files, pairs, to_events};
use crate::event::Address;
use crate::networks::{NUM_OWNER_LEVELS, Networks};

/// Owners of a part of the addresses that the tests draw.
pub(super) fn networks() -> Networks {
    let lines = "0.0.0.0\t0.0.0.99\t64500\tNL\tA\n0.0.16.0\t0.0.63.255\t64501\tNone\tB\n1.0.0.0\t1.255.255.255\t64500\tDE\tA\n\
                 64.0.0.0\t130.255.255.255\t0\tDE\t\n2000::\t2000:1ff:ffff:ffff:ffff:ffff:ffff:ffff\t64501\tSE\tB\n";
    of_text(lines)
}

pub(in crate::history) fn of_text(lines: &str) -> Networks {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("networks.tsv");
    fs::write(&path, lines).unwrap();
    Networks::read(&path).unwrap()
}

fn counted(
    events: &[Event],
    networks: &Networks,
    account: u64,
    address: Address,
    level: usize,
) -> OwnerUsage {
    let code = |event: &Event| networks.groups(event.1)[level].code;
    let group = networks.groups(address)[level];
    let inside = || events.iter().filter(|event| code(event) == group.code);
    let own = || events.iter().filter(|event| event.0 == account);
    OwnerUsage {
        share: group.share,
        own_events: inside().filter(|event| event.0 == account).count() as u32,
        own_groups: own().map(code).collect::<HashSet<_>>().len() as u32,
        all_events: inside().count() as u64,
        all_accounts: inside().map(|event| event.0).collect::<HashSet<_>>().len() as u64,
        all_groups: events.iter().map(code).collect::<HashSet<_>>().len() as u64,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_history_and_a_log_have_the_same_counts_of_owners(events in events(120)) {
        let (networks, history) = (networks(), build(&events, Some(BASE)));
        let owners = Owners::count(&history, networks.clone());
        let owners = Owners::from_bytes(&owners.to_bytes().into(), "networks.bin", &history).unwrap();
        let pairs = pairs(&events);
        let mut found = history.usages_at(&to_events(&pairs), None);
        owners.add(&history, &to_events(&pairs), &mut found);

        let (entities, addresses): (Vec<_>, Vec<_>) = events.iter().map(|event| (event.0, event.1)).unzip();
        let log = EventLog { entities: &entities, addresses: &addresses, times: None, order: None };
        for end in [events.len(), events.len() / 2] {
            let query = |(entity, address): &(u64, Address)| Query {
                entity: *entity, address: *address, position: end as u32, time: 0,
            };
            let queries: Vec<Query> = pairs.iter().map(query).collect();
            let mut of_log = prequential_usage(&log, &queries);
            add_prequential_owners(&networks, &log, &queries, &mut of_log);
            for ((account, address), usage) in pairs.iter().zip(&of_log) {
                for level in 0..NUM_OWNER_LEVELS {
                    let expected = counted(&events[..end], &networks, *account, *address, level);
                    prop_assert_eq!(usage.owners[level], expected);
                }
            }
            if end == events.len() {
                for (found, of_log) in found.iter().zip(&of_log) {
                    prop_assert_eq!(found.owners, of_log.owners);
                }
            }
        }
    }
}

#[test]
fn many_scores_with_owners_are_those_of_single_pairs() {
    let events = files::many_events(3_000);
    let history = build(&events, Some(BASE));
    let owners = Some(Owners::count(&history, networks()));
    let detector = Detector { history, head: crate::history::head::tests::head(5), owners };
    let pairs: Vec<_> = to_events(&pairs(&events)).into_iter().cycle().take(10_000).collect();
    for num in [2, 300, pairs.len()] {
        let scores = detector.scores(&pairs[..num], None);
        for (i, (pair, score)) in pairs.iter().zip(scores).enumerate() {
            assert_eq!(detector.score(*pair, None), score, "pair {i} of {num}");
        }
    }
}

#[test]
fn another_table_changes_the_accounts_whose_addresses_have_another_owner() {
    let at = |bits: u64| Address::from_bits(bits);
    let events = [(1, at(10), 0), (1, at(0x0200_0000), 1), (2, at(0x0100_0001), 2), (3, at(0x0900_0000), 3)];
    let history = build(&events, Some(BASE));
    let before = Owners::count(&history, networks());
    assert_eq!(before.num_pairs(), [4, 4]);
    let changes =
        |lines: &str| before.changes(&history, &Owners::count(&history, of_text(lines))).num_changed;
    let same = "0.0.0.0\t0.0.0.255\t64500\tNL\tOther name\n1.0.0.0\t1.0.0.255\t64500\tDE\tA\n";
    assert_eq!(changes(same), [0, 0]);
    assert_eq!(changes("0.0.0.0\t0.0.0.255\t64500\tNL\tA\n"), [1, 1]);
    assert_eq!(changes("0.0.0.0\t1.255.255.255\t64500\tSE\tA\n9.0.0.0\t9.0.0.0\t7\tNone\tC\n"), [1, 2]);
}

#[test]
fn a_file_of_another_history_or_with_damage_is_refused_or_gives_no_panic() {
    let events = files::many_events(200);
    let history = build(&events, Some(BASE));
    let bytes = Owners::count(&history, networks()).to_bytes();
    let other = build(&events[..3], Some(BASE));
    let error = Owners::from_bytes(&bytes.clone().into(), "networks.bin", &other).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("networks.bin: the file is of another history"), "{error}");
    let error = Owners::from_bytes(&bytes[..bytes.len() - 1].to_vec().into(), "x", &history).unwrap_err();
    assert!(error.to_string().contains("is not a table of networks, or not all of one"), "{error}");
    let pairs = to_events(&pairs(&events));
    for at in (0..bytes.len()).step_by(211) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x5A;
        if let Ok(owners) = Owners::from_bytes(&bytes.into(), "x", &history) {
            let mut usages = history.usages_at(&pairs, None);
            owners.add(&history, &pairs, &mut usages);
            owners.num_pairs();
        }
    }
}
