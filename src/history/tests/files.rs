//! Files, memory, threads and refusals.

use super::*;

/// Events of many accounts, most of which have few.
pub(super) fn many_events(num: u64) -> Vec<Event> {
    let mut state = 1_u64;
    let mut next = |below: u64| {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let event = |i: u64| {
        let account = next(40).pow(2).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let network = next(9) * next(9);
        let bits = match next(3) {
            0 => (0x2a00 + network) << 48 | next(300) << 8,
            _ => (10 + network) << 24 | next(2_000),
        };
        (account, Address::from_bits(bits), (i * 400) as u32)
    };
    (0..num).map(event).collect()
}

fn with_threads<T: Send>(num_threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap().install(work)
}

#[test]
fn bytes_do_not_depend_on_threads_or_memory() {
    let events = many_events(30_000);
    for base in [Some(BASE), None] {
        let build = |memory_bytes| {
            let options = Options { memory_bytes, ..Options::default() };
            bytes_of(|path| {
                builder(&events, base, options).finish(path).unwrap();
            })
        };
        let whole = with_threads(1, || build(1 << 30));
        assert_eq!(with_threads(2, || build(1 << 30)), whole);
        assert_eq!(with_threads(7, || build(1 << 30)), whole);
        // Many runs of events in temporary files, and many of pairs.
        assert_eq!(build(200_000), whole);
        let parts = events.chunks(9_000).map(|part| builder(part, base, Options::default()));
        let parts: Vec<_> = parts.map(|part| part.finish_in_memory().unwrap()).collect();
        let add = || {
            bytes_of(|path| {
                merge(&parts.iter().collect::<Vec<_>>(), &Options::default(), path).unwrap();
            })
        };
        assert_eq!(with_threads(1, add), whole);
        assert_eq!(with_threads(5, add), whole);
    }
}

#[test]
fn large_histories_are_those_of_the_reference() {
    let events = many_events(20_000);
    assert_equals_reference(&build(&events, Some(BASE)), &events, true);
    let options = Options { memory_bytes: 100_000, ..Options::default() };
    let spilled = builder(&events, Some(BASE), options).finish_in_memory().unwrap();
    assert_equals_reference(&spilled, &events, true);
}

#[test]
fn temporary_files_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary_folder = folder.path().to_path_buf();
    let options = Options { memory_bytes: 50_000, temporary_folder, ..Options::default() };
    builder(&many_events(5_000), None, options).finish(&folder.path().join("history.bin")).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_history_knows_nothing() {
    for base in [Some(BASE), None] {
        let history = build(&[], base);
        assert_equals_reference(&history, &[], base.is_some());
        let usage = history.usage(1, Address::from_bits(2), Some(BASE));
        assert_eq!((usage.num_events, usage.total_accounts, usage.days_since_last), (0, 0, -1.));
        // It takes the times of what it is merged with.
        let other = build(&many_events(50), Some(BASE - 7));
        let merged = merge_in_memory(&[&history, &other, &history], &Options::default()).unwrap();
        assert_eq!(merged.accounts().collect::<Vec<_>>(), other.accounts().collect::<Vec<_>>());
        assert_eq!(merge_in_memory(&[], &Options::default()).unwrap().summary().events, 0);
    }
}

#[test]
fn parts_that_overlap_in_time_keep_their_counts_and_are_told() {
    let events = many_events(4_000);
    let [even, odd]: [Vec<_>; 2] = [0, 1].map(|rest| {
        events.iter().copied().enumerate().filter(|(i, _)| i % 2 == rest).map(|(_, event)| event).collect()
    });
    let [even, odd] = [build(&even, Some(BASE)), build(&odd, Some(BASE))];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged");
    let report = merge(&[&even, &odd], &Options::default(), &path).unwrap();
    assert!(report.overlapping_accounts > 0);
    let merged = History::open(&path).unwrap();
    assert_eq!(merged.summary(), report.summary);
    // The order of the parts makes no difference.
    let turned = merge_in_memory(&[&odd, &even], &Options::default()).unwrap();
    assert_eq!(turned.accounts().collect::<Vec<_>>(), merged.accounts().collect::<Vec<_>>());
    let whole = build(&events, Some(BASE));
    for (account, address, _) in &events {
        let without_order = |history: &History| {
            let mut usage = history.usage(*account, *address, Some(BASE + 2_000_000));
            usage.levels.iter_mut().for_each(|level| level.events_since_use = 0.);
            usage
        };
        assert_eq!(without_order(&merged), without_order(&whole));
    }
    for (merged, whole) in merged.accounts().zip(whole.accounts()) {
        let last =
            |account: &AccountHistory| account.addresses.iter().map(|address| address.last_ordinal).max();
        assert_eq!(last(&merged), last(&whole));
        for (merged, whole) in merged.addresses.iter().zip(&whole.addresses) {
            assert!(merged.last_ordinal <= whole.last_ordinal);
            let (merged, whole) = (merged.times.unwrap(), whole.times.unwrap());
            assert!(
                merged.days >= whole.days && merged.first_day == whole.first_day && merged.last == whole.last
            );
        }
    }
}

#[test]
fn histories_that_do_not_fit_together_are_refused() {
    let timed = build(&many_events(10), Some(BASE));
    let error =
        merge_in_memory(&[&timed, &build(&many_events(10), None)], &Options::default()).err().unwrap();
    assert_eq!(error.exit_code(), 2);
    let far = build(&many_events(10), Some(BASE + (1 << 33)));
    let error = merge_in_memory(&[&timed, &far], &Options::default()).err().unwrap();
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn wrong_options_and_times_are_refused() {
    let options = Options { max_networks: Some(0), ..Options::default() };
    assert_eq!(HistoryBuilder::new(None, options.clone()).err().unwrap().exit_code(), 2);
    let history = build(&many_events(10), None);
    assert_eq!(merge_in_memory(&[&history], &options).err().unwrap().exit_code(), 2);
    assert_eq!(HistoryBuilder::new(Some(i64::MAX), Options::default()).err().unwrap().exit_code(), 3);
    let mut builder = HistoryBuilder::new(Some(BASE), Options::default()).unwrap();
    let address = Address::from_bits(1);
    builder.push(&[1, 1], &[address; 2], Some(&[5, 6])).unwrap();
    let error = builder.push(&[1, 1], &[address; 2], Some(&[6, 4])).err().unwrap();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("event 3 is 2 seconds before"), "{error}");
    let missing = History::open(std::path::Path::new("no such file")).err().unwrap();
    assert_eq!(missing.exit_code(), 4);
}
