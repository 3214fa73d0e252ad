//! One account's events, walked in their order over the nodes of the account's own prefix chains.

use super::event_log::{EventLog, NOTHING_NEW, Query, days_between};
use super::levels::shared_levels;
use super::usage::{LevelUsage, NUM_LEVELS, Usage};
use crate::event::Address;

/// The buffers of a walk, which are used again for the next account.
#[derive(Default)]
pub(super) struct AccountWalk {
    /// The account's addresses with the number of the event, sorted.
    sorted: Vec<(u64, u32)>,
    /// The distinct ones.
    distinct: Vec<u64>,
    /// Of each distinct address, its node at each level.
    nodes_of: Vec<[u32; NUM_LEVELS]>,
    /// Of each event, its distinct address.
    address_of: Vec<u32>,
    /// Nodes of each level.
    nodes: [Vec<Node>; NUM_LEVELS],
}

/// A prefix in which the account has events.
#[derive(Clone, Copy, Default)]
struct Node {
    num_events: u32,
    num_children: u32,
    /// The account's events up to its last one here.
    last_event: u32,
    last_time: i64,
}

impl AccountWalk {
    /// Walks the `events` (sorted by position) of one account, answers the queries `asked` about it (sorted by
    /// position), and calls `mark` with each position and the first level that was new, plus one.
    pub(super) fn run(
        &mut self,
        log: &EventLog,
        events: &[(u64, u32)],
        queries: &[Query],
        asked: &[u32],
        answers: &mut [Usage],
        mark: impl Fn(u32, u8),
    ) {
        self.number_nodes(log, events);
        let has_times = log.times.is_some();
        let mut distinct = [0; NUM_LEVELS];
        let mut waiting = asked.iter().zip(answers).peekable();
        let (mut first_time, mut last_time) = (0, 0);
        for (number, (_, position)) in events.iter().enumerate() {
            let account = Account { num_events: number as u32, distinct, first_time, last_time, has_times };
            while let Some((i, answer)) =
                waiting.next_if(|(i, _)| queries[**i as usize].position <= *position)
            {
                *answer = self.usage(&account, &queries[*i as usize]);
            }
            let time = log.time(*position);
            if number == 0 {
                first_time = time;
            }
            last_time = time;
            let new = self.count(number as u32, time, &mut distinct);
            match (number, new) {
                (0, _) => mark(*position, 0),
                (_, NUM_LEVELS) => mark(*position, NOTHING_NEW),
                (_, level) => mark(*position, level as u8 + 1),
            }
        }
        let num_events = events.len() as u32;
        let account = Account { num_events, distinct, first_time, last_time, has_times };
        for (i, answer) in waiting {
            *answer = self.usage(&account, &queries[*i as usize]);
        }
    }

    /// Gives every prefix of the account a number, in the order of addresses.
    fn number_nodes(&mut self, log: &EventLog, events: &[(u64, u32)]) {
        self.sorted.clear();
        let numbered =
            events.iter().zip(0..).map(|((_, position), number)| (log.address(*position).bits(), number));
        self.sorted.extend(numbered);
        self.sorted.sort_unstable();
        self.distinct.clear();
        self.nodes_of.clear();
        self.address_of.resize(events.len(), 0);
        let mut next = [0u32; NUM_LEVELS];
        for (address, number) in &self.sorted {
            if self.distinct.last() != Some(address) {
                let before = self.distinct.last().map(|before| Address::from_bits(*before));
                let shared = before.map_or(0, |before| shared_levels(before, Address::from_bits(*address)));
                for next in &mut next[shared..] {
                    *next += 1;
                }
                self.distinct.push(*address);
                self.nodes_of.push(next.map(|next| next.wrapping_sub(1)));
            }
            self.address_of[*number as usize] = self.distinct.len() as u32 - 1;
        }
        for (nodes, len) in self.nodes.iter_mut().zip(next) {
            nodes.clear();
            nodes.resize(len as usize, Node::default());
        }
    }

    /// Counts an event and returns the first level at which its prefix was new to the account.
    fn count(&mut self, number: u32, time: i64, distinct: &mut [u32; NUM_LEVELS]) -> usize {
        let nodes_of = self.nodes_of[self.address_of[number as usize] as usize];
        let mut first_new = NUM_LEVELS;
        for level in 0..NUM_LEVELS {
            let node = &mut self.nodes[level][nodes_of[level] as usize];
            let is_new = node.num_events == 0;
            node.num_events += 1;
            node.last_event = number + 1;
            node.last_time = time;
            if is_new {
                first_new = first_new.min(level);
                distinct[level] += 1;
                if level > 0 {
                    self.nodes[level - 1][nodes_of[level - 1] as usize].num_children += 1;
                }
            }
        }
        first_new
    }

    /// What is known of the account and of the query's prefixes in it.
    fn usage(&self, account: &Account, query: &Query) -> Usage {
        let days = |time| {
            if account.has_times && account.num_events > 0 { days_between(time, query.time) } else { -1.0 }
        };
        let mut usage = Usage {
            num_events: account.num_events,
            days_since_last: days(account.last_time),
            days_since_first: days(account.first_time),
            distinct: account.distinct,
            ..Usage::default()
        };
        for level in &mut usage.levels {
            *level = LevelUsage { days_since_use: -1.0, events_since_use: -1.0, ..LevelUsage::default() };
        }
        // The prefixes that the query shares with any address of the account, it shares with one of its neighbours.
        let next = self.distinct.partition_point(|address| *address < query.address.bits());
        let neighbours = next.saturating_sub(1)..(next + 1).min(self.distinct.len());
        let shared = |i: usize| shared_levels(Address::from_bits(self.distinct[i]), query.address);
        let Some((num_shared, nearest)) = neighbours.map(|i| (shared(i), i)).max() else { return usage };
        for level in 0..num_shared {
            let node = self.nodes[level][self.nodes_of[nearest][level] as usize];
            if node.num_events == 0 {
                break;
            }
            let of_level = &mut usage.levels[level];
            of_level.own_events = node.num_events;
            of_level.own_children = node.num_children;
            of_level.events_since_use = (account.num_events - node.last_event) as f32;
            of_level.days_since_use = days(node.last_time);
        }
        usage
    }
}

/// What an account is at one moment of its walk.
struct Account {
    num_events: u32,
    distinct: [u32; NUM_LEVELS],
    first_time: i64,
    last_time: i64,
    has_times: bool,
}
