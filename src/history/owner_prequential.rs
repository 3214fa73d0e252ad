//! Counts of owners as they were at any moment of a log, see [`super::prequential`].

use rayon::prelude::*;

use super::event_log::{EventLog, Query};
use super::usage::{OwnerUsage, Usage};
use crate::networks::{NUM_OWNER_LEVELS, Networks};

/// Adds to the counts of each query those of the owner of its address.
///
/// Of each level the log is sorted by (account, group, position) and by (group, position); a count is the number of
/// positions of a run that are smaller than the query's. Memory beside the log: some 24 bytes an event.
pub fn add_prequential_owners(
    networks: &Networks,
    log: &EventLog<'_>,
    queries: &[Query],
    usages: &mut [Usage],
) {
    let num_counted = queries.iter().map(|query| query.position).max().unwrap_or(0).min(log.len() as u32);
    for level in 0..NUM_OWNER_LEVELS {
        if networks.num_groups()[level] > 0 {
            let counts = LevelCounts::new(networks, log, num_counted, level);
            usages.par_iter_mut().zip(queries).for_each(|(usage, query)| {
                let group = networks.groups(query.address)[level];
                usage.owners[level] = OwnerUsage { share: group.share, ..counts.at(query, group.code) };
            });
        }
    }
}

/// The events of a log by the group of one level that they are in.
struct LevelCounts {
    /// (account, group, position) of every event.
    of_accounts: Vec<(u64, u32, u32)>,
    /// (account, position) of the first event of each account in each group.
    new_to_account: Vec<(u64, u32)>,
    /// (group, position) of every event.
    of_groups: Vec<(u32, u32)>,
    /// (group, position) of the first event of each account in it.
    accounts_of_groups: Vec<(u32, u32)>,
    /// Positions of the first event of each group.
    new_groups: Vec<u32>,
}

impl LevelCounts {
    fn new(networks: &Networks, log: &EventLog<'_>, num_counted: u32, level: usize) -> Self {
        let event = |position: u32| {
            let group = networks.groups(log.address(position))[level];
            (log.entity(position), group.code, position)
        };
        let mut of_accounts: Vec<_> = (0..num_counted).into_par_iter().map(event).collect();
        of_accounts.par_sort_unstable();
        let mut new_to_account = Vec::new();
        let mut accounts_of_groups = Vec::new();
        for run in of_accounts.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (account, group, position) = run[0];
            new_to_account.push((account, position));
            accounts_of_groups.push((group, position));
        }
        new_to_account.par_sort_unstable();
        accounts_of_groups.par_sort_unstable();
        let mut of_groups: Vec<(u32, u32)> = of_accounts.par_iter().map(|event| (event.1, event.2)).collect();
        of_groups.par_sort_unstable();
        let mut new_groups: Vec<u32> = of_groups.chunk_by(|a, b| a.0 == b.0).map(|run| run[0].1).collect();
        new_groups.sort_unstable();
        Self { of_accounts, new_to_account, of_groups, accounts_of_groups, new_groups }
    }

    fn at(&self, query: &Query, group: u32) -> OwnerUsage {
        let (account, position) = (query.entity, query.position);
        OwnerUsage {
            share: 0.0,
            own_events: num_between(&self.of_accounts, (account, group, 0), (account, group, position))
                as u32,
            own_groups: num_between(&self.new_to_account, (account, 0), (account, position)) as u32,
            all_events: num_between(&self.of_groups, (group, 0), (group, position)) as u64,
            all_accounts: num_between(&self.accounts_of_groups, (group, 0), (group, position)) as u64,
            all_groups: self.new_groups.partition_point(|new| *new < position) as u64,
        }
    }
}

/// How many of sorted values are at least `start` and below `end`.
fn num_between<T: PartialOrd>(sorted: &[T], start: T, end: T) -> usize {
    let first = sorted.partition_point(|value| *value < start);
    sorted[first..].partition_point(|value| *value < end)
}
