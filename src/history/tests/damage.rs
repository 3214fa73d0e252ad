//! Bytes that no history was written with.

use std::hint::black_box;

use bytes::Bytes;

use super::*;

/// Two accounts with nodes and buckets of both families, one with one event, several events of an address,
/// and one address of several accounts.
fn small_events() -> Vec<Event> {
    let mut events = Vec::new();
    for i in 0..40_u32 {
        let ipv4 = Address::from_bits(u64::from(0x0a00_0000 + i * 0x0001_2345 % 0x0100_0000));
        let ipv6 = Address::from_bits((0x2001_0db8 << 32) + u64::from(i) * 0x0003_0007);
        events.extend([(1, ipv4, i * 50_000), (1 << 60, ipv6, i * 50_000 + 1)]);
        if i % 5 == 0 {
            events.extend([(1, ipv6, i * 50_000 + 2), (1 << 60, ipv4, i * 50_000 + 3)]);
        }
    }
    events.push((u64::MAX, Address::from_bits(0x0a00_0000), 40 * 50_000));
    events
}

/// Asks a history what can be asked; it may answer anything.
fn use_history(history: &History, pairs: &[(u64, Address)], is_merged: bool) {
    let columns = Pairs { events: &to_events(pairs), seconds: None, time_base: 0 };
    history.usages(&columns, &mut vec![Usage::default(); pairs.len()]);
    for (account, address) in &pairs[..pairs.len().min(4)] {
        black_box(history.usage(*account, *address, Some(BASE)));
    }
    black_box(history.accounts().count());
    black_box((history.summary(), history.num_prefixes()));
    if !is_merged {
        return;
    }
    let _ = black_box(merge_in_memory(&[history, history], &Options::default()));
    let _ = black_box(forget_in_memory(history, &HashSet::from([1]), &Options::default()));
}

#[test]
fn damage_is_refused_or_gives_wrong_counts_only() {
    for base in [Some(BASE), None] {
        let events = small_events();
        let bytes = bytes_of(|path| {
            builder(&events, base, Options::default()).finish(path).unwrap();
        });
        let pairs: Vec<_> = pairs(&events).into_iter().step_by(5).collect();
        // Zeros behind sections are not read as values.
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 97 == 0) {
            for flip in [0xff, 1 << (at % 8)] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                if let Ok(history) = History::from_bytes(Bytes::from(bytes), "damaged") {
                    use_history(&history, &pairs, at % 5 == 0);
                }
            }
        }
    }
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let bytes = bytes_of(|path| {
        builder(&small_events(), Some(BASE), Options::default()).finish(path).unwrap();
    });
    for length in 0..bytes.len() {
        let cut = Bytes::copy_from_slice(&bytes[..length]);
        let Err(error) = History::from_bytes(cut, "cut") else {
            panic!("{length} bytes are taken for a history")
        };
        assert_eq!(error.exit_code(), 3);
    }
    assert!(History::from_bytes(Bytes::from(bytes), "whole").is_ok());
}

#[test]
fn a_merge_refuses_an_account_that_contradicts_itself() {
    let events: Vec<_> = (0..4).map(|i| (7, Address::from_bits(i), 0)).collect();
    let bytes = bytes_of(|path| {
        builder(&events, None, Options::default()).finish(path).unwrap();
    });
    let refused = (0..bytes.len()).step_by(3).filter(|at| {
        let mut bytes = bytes.clone();
        bytes[*at] ^= 0x55;
        let Ok(history) = History::from_bytes(Bytes::from(bytes), "damaged") else { return false };
        merge_in_memory(&[&history], &Options::default()).is_err_and(|error| error.exit_code() == 3)
    });
    assert!(refused.count() > 0);
}
