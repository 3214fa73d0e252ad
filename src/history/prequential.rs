//! Exact counts as they were at any moment of a log, for a sample of (account, address) pairs.
//!
//! A head must be fitted on what was known *before* each event (Dawid's prequential principle, 1984). Counting the
//! whole log with a hash table of all nodes of all prefix chains would need some hundred bytes an event, so the log is
//! sorted instead, twice:
//!
//! 1. by account: an account's events are walked in their order over the nodes of its own prefix chains, and every
//!    event is marked with the first level that was new to its account;
//! 2. by address: the events of a prefix lie next to each other, and every event is marked with the first level that
//!    was new to everyone. What a query asks of a prefix is then how many events (of those with a mark below some
//!    level) of one range have a position below the query's: a histogram over the positions of the prefix's queries.
//!
//! Memory beside the log: 17 bytes an event and about 480 a query ([`prequential_bytes`]). All counts are sums of integers, so the result
//! does not depend on the number of threads.

use std::sync::atomic::{AtomicU8, Ordering};

use rayon::prelude::*;

use super::event_log::{EventLog, NOTHING_NEW, Query};
use super::levels::{prefix_range, shared_levels};
use super::own_usage::AccountWalk;
use super::usage::{NUM_LEVELS, Usage};
use crate::event::Address;

/// The counts of each query, in the order of the queries. With `position` = the number of events this is what a
/// history of the whole log says.
pub fn prequential_usage(log: &EventLog, queries: &[Query]) -> Vec<Usage> {
    let num_counted = queries.iter().map(|query| query.position).max().unwrap_or(0);
    let num_counted = num_counted.min(log.len() as u32);
    let mut by_account: Vec<u32> = (0..queries.len() as u32).collect();
    by_account.par_sort_unstable_by_key(|i| {
        let query = &queries[*i as usize];
        (query.entity, query.position, *i)
    });
    let (mut usage, new_to_account) = count_own(log, num_counted, queries, &by_account);
    move_to(by_account, &mut usage);
    count_accounts(&new_to_account, queries, &mut usage);
    count_all(log, &new_to_account, queries, &mut usage);
    usage
}

/// Bytes that [`prequential_usage`] takes beside the log, its result included.
pub(super) fn prequential_bytes(num_events: u64, num_queries: u64) -> u64 {
    // Sorted by account and then by address, each time with the marks of what was new to an account.
    let of_event = size_of::<Seen>().max(size_of::<(u64, u32)>()) + size_of::<u8>();
    // The order of the queries, and the counts of one level with the allocation of a list.
    const OF_QUERY: usize = size_of::<u32>() + 2 * size_of::<[u32; 3]>() + 40;
    num_events * of_event as u64 + num_queries * (size_of::<Usage>() + OF_QUERY) as u64
}

/// Moves each value to its place, a permutation, where they stand: a second array of usage would be the largest of all.
fn move_to(mut places: Vec<u32>, values: &mut [Usage]) {
    for i in 0..places.len() {
        while places[i] as usize != i {
            let place = places[i] as usize;
            values.swap(i, place);
            places.swap(i, place);
        }
    }
}

/// What accounts did: usage in the order of `by_account`, and of each position the first level that was new to its
/// account, plus one; 0 where the account itself was new.
fn count_own(
    log: &EventLog,
    num_counted: u32,
    queries: &[Query],
    by_account: &[u32],
) -> (Vec<Usage>, Vec<u8>) {
    let mut events: Vec<(u64, u32)> =
        (0..num_counted).into_par_iter().map(|position| (log.entity(position), position)).collect();
    events.par_sort_unstable();
    let marks: Vec<AtomicU8> = (0..num_counted).map(|_| AtomicU8::new(NOTHING_NEW)).collect();
    let mut usage = vec![Usage::default(); by_account.len()];

    let mut tasks = Vec::new();
    let (mut events, mut asked, mut answers) = (&events[..], by_account, &mut usage[..]);
    let events_per_task = (events.len() / TASKS).max(1);
    while !events.is_empty() || !asked.is_empty() {
        // Whole accounts only: the task ends with the account of its last event.
        let last = events.get(events_per_task - 1).map_or(u64::MAX, |event| event.0);
        let num_events = events.partition_point(|event| event.0 <= last);
        let num_asked = asked.partition_point(|i| queries[*i as usize].entity <= last);
        let (of_task, rest) = answers.split_at_mut(num_asked);
        tasks.push((&events[..num_events], &asked[..num_asked], of_task));
        (events, asked, answers) = (&events[num_events..], &asked[num_asked..], rest);
    }
    tasks.into_par_iter().for_each_init(
        AccountWalk::default,
        |walk, (mut events, mut asked, mut answers)| {
            loop {
                let next_asked = asked.first().map(|i| queries[*i as usize].entity);
                let Some(entity) = events.first().map(|event| event.0).into_iter().chain(next_asked).min()
                else {
                    break;
                };
                let num_events = events.iter().take_while(|event| event.0 == entity).count();
                let num_asked = asked.iter().take_while(|i| queries[**i as usize].entity == entity).count();
                let (of_account, rest) = answers.split_at_mut(num_asked);
                let mark =
                    |position: u32, level: u8| marks[position as usize].store(level, Ordering::Relaxed);
                walk.run(log, &events[..num_events], queries, &asked[..num_asked], of_account, mark);
                (events, asked, answers) = (&events[num_events..], &asked[num_asked..], rest);
            }
        },
    );
    (usage, marks.into_iter().map(AtomicU8::into_inner).collect())
}

/// Tasks that the accounts are cut into.
const TASKS: usize = 256;

/// Numbers of events and accounts at the position of each query.
fn count_accounts(new_to_account: &[u8], queries: &[Query], usage: &mut [Usage]) {
    let firsts = new_to_account.iter().enumerate().filter(|(_, mark)| **mark == 0);
    let firsts: Vec<u32> = firsts.map(|(position, _)| position as u32).collect();
    usage.par_iter_mut().zip(queries).for_each(|(usage, query)| {
        usage.total_events = u64::from(query.position.min(new_to_account.len() as u32));
        usage.total_accounts = firsts.partition_point(|first| *first < query.position) as u64;
    });
}

/// An event as the counting of prefixes sees it, in 16 bytes.
#[derive(Clone, Copy)]
struct Seen {
    address: u64,
    position: u32,
    /// Of [`count_own`].
    new_to_account: u8,
    /// The first level that was new to everyone.
    new_to_all: u8,
}

/// What everyone did in the queries' prefixes.
fn count_all(log: &EventLog, new_to_account: &[u8], queries: &[Query], usage: &mut [Usage]) {
    let seen = |(position, mark): (usize, &u8)| Seen {
        address: log.address(position as u32).bits(),
        position: position as u32,
        new_to_account: *mark,
        new_to_all: NOTHING_NEW,
    };
    let mut events: Vec<Seen> = new_to_account.par_iter().enumerate().map(seen).collect();
    events.par_sort_unstable_by_key(|event| (event.address, event.position));
    mark_new_prefixes(&mut events);

    let tops = events.iter().filter(|event| event.new_to_all == 0);
    let mut tops: Vec<u32> = tops.map(|event| event.position).collect();
    tops.sort_unstable();
    for (usage, query) in usage.iter_mut().zip(queries) {
        usage.total_top_prefixes = tops.partition_point(|top| *top < query.position) as u64;
    }

    let mut by_address: Vec<u32> = (0..queries.len() as u32).collect();
    by_address.par_sort_unstable_by_key(|i| {
        let query = &queries[*i as usize];
        (query.address, *i)
    });
    for level in 0..NUM_LEVELS {
        let in_one_prefix = |a: &u32, b: &u32| {
            shared_levels(queries[*a as usize].address, queries[*b as usize].address) > level
        };
        let counts: Vec<Vec<[u32; 3]>> = by_address
            .par_chunk_by(in_one_prefix)
            .map(|group| {
                let positions: Vec<u32> = group.iter().map(|i| queries[*i as usize].position).collect();
                let events = in_prefix(&events, queries[group[0] as usize].address, level);
                counts_before(events, level as u8, &positions)
            })
            .collect();
        for (i, [num_events, num_accounts, num_children]) in
            by_address.iter().zip(counts.into_iter().flatten())
        {
            let of_level = &mut usage[*i as usize].levels[level];
            of_level.all_events = num_events.into();
            of_level.all_accounts = num_accounts.into();
            of_level.all_children = if level + 1 < NUM_LEVELS { num_children.into() } else { 0 };
        }
    }
}

/// Marks the event of each prefix that has the smallest position; events are sorted by address and position.
fn mark_new_prefixes(events: &mut [Seen]) {
    // Of each level, the first event of the prefix that is under way.
    let mut firsts = [0; NUM_LEVELS];
    for i in 0..events.len() {
        let shared = match i {
            0 => 0,
            _ => shared_levels(
                Address::from_bits(events[i - 1].address),
                Address::from_bits(events[i].address),
            ),
        };
        // Prefixes that ended; the widest last, so that its mark stays.
        for level in (shared..NUM_LEVELS).rev() {
            if i > 0 {
                events[firsts[level]].new_to_all = level as u8;
            }
            firsts[level] = i;
        }
        for first in &mut firsts[..shared] {
            if events[i].position < events[*first].position {
                *first = i;
            }
        }
    }
    if !events.is_empty() {
        for level in (0..NUM_LEVELS).rev() {
            events[firsts[level]].new_to_all = level as u8;
        }
    }
}

/// The events in the prefix of an address.
fn in_prefix(events: &[Seen], address: Address, level: usize) -> &[Seen] {
    let (first, last) = prefix_range(address, level);
    let start = events.partition_point(|event| event.address < first);
    let len = events[start..].partition_point(|event| event.address <= last);
    &events[start..start + len]
}

/// For each of the positions: how many of the events are before it, how many of these brought their account to the
/// prefix, and how many brought a new child to it.
fn counts_before(events: &[Seen], level: u8, positions: &[u32]) -> Vec<[u32; 3]> {
    let mut bounds = positions.to_vec();
    bounds.sort_unstable();
    bounds.dedup();
    let histogram = |events: &[Seen]| {
        let mut counts = vec![[0u32; 3]; bounds.len() + 1];
        for event in events {
            // Counted from the first bound behind the event on.
            let count = &mut counts[bounds.partition_point(|bound| *bound <= event.position)];
            count[0] += 1;
            count[1] += u32::from(event.new_to_account <= level + 1);
            count[2] += u32::from(event.new_to_all <= level + 1);
        }
        counts
    };
    let events_per_task = EVENTS_PER_TASK.max(4 * bounds.len());
    let mut counts = if events.len() <= events_per_task {
        histogram(events)
    } else {
        let add = |mut a: Vec<[u32; 3]>, b: Vec<[u32; 3]>| {
            for (a, b) in a.iter_mut().zip(b) {
                *a = [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
            }
            a
        };
        let parts = events.par_chunks(events_per_task).map(histogram);
        parts.reduce(|| vec![[0; 3]; bounds.len() + 1], add)
    };
    for i in 1..counts.len() {
        let before = counts[i - 1];
        counts[i] = [counts[i][0] + before[0], counts[i][1] + before[1], counts[i][2] + before[2]];
    }
    positions.iter().map(|position| counts[bounds.partition_point(|bound| bound < position)]).collect()
}

/// Events of one prefix that one task counts.
const EVENTS_PER_TASK: usize = 1 << 16;

#[cfg(test)]
mod tests;
