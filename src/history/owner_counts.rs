//! What accounts did in the groups of addresses that have an owner in common: counted from a history and a table.
//!
//! Of each level: of every account, in the order of the history's table, the groups that it used, in ascending order, and
//! its events in each; and of all groups in use their events and accounts. Seven bytes for each (account, group), four an
//! account. They lie in one file with the table, which the model folder has beside the history: neither means anything
//! without the other, and another table needs no other history.

use std::collections::HashMap;

use bytes::Bytes;
use rayon::prelude::*;

use super::account::Pair;
use super::base::History;
use super::container::{Directory, NETWORKS, SectionWriter};
use super::usage::{OwnerUsage, Usage};
use crate::event::Address;
use crate::networks::{NUM_OWNER_LEVELS, Networks, Numbers};
use crate::{Error, Event, Result};

/// A table of networks, and the counts of a history's accounts by it.
pub struct Owners {
    /// The table.
    pub networks: Networks,
    counts: OwnerCounts,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("source", self.networks.source()).finish_non_exhaustive()
    }
}

/// How many accounts another table concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerChanges {
    /// Accounts of the history.
    pub num_accounts: u64,
    /// Of each level, accounts with an address that has another owner now, or none, or one for the first time.
    pub num_changed: [u64; NUM_OWNER_LEVELS],
}

/// Names of the sections of a level, after its own: starts, groups, events, codes, events and accounts of all.
const SECTIONS: [[&str; 6]; NUM_OWNER_LEVELS] = [
    ["as starts", "as groups", "as events", "as codes", "as all events", "as all accounts"],
    [
        "country starts",
        "country groups",
        "country events",
        "country codes",
        "country all events",
        "country all accounts",
    ],
];

impl Owners {
    /// Counts a history by a table.
    pub fn count(history: &History, networks: Networks) -> Self {
        let counts = OwnerCounts::count(history, &networks);
        Self { networks, counts }
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let write = || -> std::io::Result<Vec<u8>> {
            let mut out = SectionWriter::new(Vec::new(), NETWORKS)?;
            let counts = self.counts.levels.iter().zip(SECTIONS).flat_map(|(level, names)| {
                let Level { starts, groups, events, codes, all_events, all_accounts, .. } = level;
                let bytes = [starts.bytes(), groups.bytes(), events.bytes(), codes.bytes()];
                names.into_iter().zip(bytes.into_iter().chain([all_events.bytes(), all_accounts.bytes()]))
            });
            for (name, bytes) in self.networks.sections().into_iter().chain(counts) {
                out.start(name)?;
                out.write(&bytes)?;
            }
            out.finish()
        };
        write().expect("writing into memory does not fail")
    }

    /// Reads what [`Owners::to_bytes`] wrote for this history; `name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where it is no such file, or not of this history.
    pub fn from_bytes(bytes: &Bytes, name: &str, history: &History) -> Result<Self> {
        let help = "the folder is damaged or was edited: copy it again, or replace the table with `ipsight networks update`";
        let refuse = |what: String| Error::data(name, format!("the file {what}"), help);
        let directory = Directory::read(bytes, NETWORKS).map_err(refuse)?;
        let section = |name: &str| directory.section(name).map(|range| bytes.slice(range));
        let networks = Networks::from_sections(section).map_err(refuse)?;
        let counts = OwnerCounts::read(section, networks.num_groups()).map_err(refuse)?;
        let num_accounts = history.summary().accounts;
        let has_accounts =
            |level: &Level| level.codes.len() == 0 || level.starts.len() as u64 == num_accounts + 1;
        if !counts.levels.iter().all(has_accounts) {
            return Err(refuse("is of another history".into()));
        }
        Ok(Self { networks, counts })
    }

    /// Distinct (account, group) of each level.
    pub fn num_pairs(&self) -> [u64; NUM_OWNER_LEVELS] {
        self.counts.levels.each_ref().map(|level| level.groups.len() as u64)
    }

    /// For how many of the history's accounts other counts follow from another table.
    pub fn changes(&self, history: &History, new: &Self) -> OwnerChanges {
        let num_accounts = history.table.num_accounts();
        let changed = |index: usize| {
            let pairs = history.account_at(index).pairs;
            std::array::from_fn::<_, NUM_OWNER_LEVELS, _>(|level| {
                let is_other = |pair: &Pair| {
                    let [before, now] = [self, new].map(|owners| owners.key(pair.address, level));
                    before != now
                };
                u64::from(pairs.iter().any(is_other))
            })
        };
        let add = |a: [u64; NUM_OWNER_LEVELS], b: [u64; NUM_OWNER_LEVELS]| {
            std::array::from_fn(|level| a[level] + b[level])
        };
        let num_changed = (0..num_accounts).into_par_iter().map(changed).reduce(Default::default, add);
        OwnerChanges { num_accounts: num_accounts as u64, num_changed }
    }

    /// What a level has of an address, in a form that tables share; `None` where nobody owns it.
    fn key(&self, address: Address, level: usize) -> Option<(Option<u32>, Option<&str>)> {
        let owner = self.networks.owner(address)?;
        let key = if level == 0 { (owner.asn, None) } else { (None, owner.country) };
        Some(key).filter(|key| *key != (None, None))
    }

    /// Adds to what is known of pairs, `[pairs]`, the counts of their addresses' owners.
    pub fn add(&self, history: &History, events: &[Event], usages: &mut [Usage]) {
        for (event, usage) in events.iter().zip(usages) {
            let account = (usage.num_events > 0).then(|| history.table.find(event.entity)).flatten();
            usage.owners = self.usage(account, event.address);
        }
    }

    fn usage(&self, account: Option<usize>, address: Address) -> [OwnerUsage; NUM_OWNER_LEVELS] {
        let groups = self.networks.groups(address);
        std::array::from_fn(|level| match groups[level].share {
            share if share > 0.0 => {
                OwnerUsage { share, ..self.counts.levels[level].usage(account, groups[level].code) }
            }
            _ => OwnerUsage::default(),
        })
    }
}

/// The counts of the groups of each level.
struct OwnerCounts {
    levels: [Level; NUM_OWNER_LEVELS],
}

#[derive(Default)]
struct Level {
    /// Of each account the first of its pairs, and the end: `[accounts + 1]`.
    starts: Numbers<4>,
    /// Of each pair, which of the codes: `[pairs]`.
    groups: Numbers<3>,
    /// The account's events in it, `[pairs]`.
    events: Numbers<4>,
    /// The codes of all groups in use, ascending: `[groups]`.
    codes: Numbers<4>,
    all_events: Numbers<8>,
    all_accounts: Numbers<4>,
    /// Of each group that has an owner, its place among the codes; [`UNUSED`] where it has none.
    places: Vec<u32>,
}

/// The place of a group that is not in use.
const UNUSED: u32 = u32::MAX;

/// Accounts of one task of a core.
const ACCOUNTS_PER_TASK: usize = 1024;

/// What the accounts of a task used: of each account how many groups, then (code, events) of all.
struct TaskCounts {
    lengths: Vec<u32>,
    pairs: Vec<(u32, u32)>,
}

impl OwnerCounts {
    fn count(history: &History, networks: &Networks) -> Self {
        let num_groups = networks.num_groups();
        let num_accounts = history.table.num_accounts();
        let mut levels: [Level; NUM_OWNER_LEVELS] = Default::default();
        for (level, counts) in levels.iter_mut().enumerate() {
            if num_groups[level] > 0 {
                let tasks: Vec<usize> = (0..num_accounts).step_by(ACCOUNTS_PER_TASK).collect();
                let count = |start: usize| {
                    let end = (start + ACCOUNTS_PER_TASK).min(num_accounts);
                    count_accounts(history, networks, level, start..end)
                };
                let tasks: Vec<TaskCounts> = tasks.into_par_iter().map(count).collect();
                *counts = Level::of(&tasks, num_groups[level]);
            }
        }
        Self { levels }
    }

    fn read(
        section: impl Fn(&str) -> std::result::Result<Bytes, String>,
        num_groups: [u32; NUM_OWNER_LEVELS],
    ) -> std::result::Result<Self, String> {
        let mut levels: [Level; NUM_OWNER_LEVELS] = Default::default();
        for ((level, names), num_groups) in levels.iter_mut().zip(SECTIONS).zip(num_groups) {
            let [starts, groups, events, codes, all_events, all_accounts] = names;
            *level = Level {
                starts: Numbers::new(section(starts)?, starts)?,
                groups: Numbers::new(section(groups)?, groups)?,
                events: Numbers::new(section(events)?, events)?,
                codes: Numbers::new(section(codes)?, codes)?,
                all_events: Numbers::new(section(all_events)?, all_events)?,
                all_accounts: Numbers::new(section(all_accounts)?, all_accounts)?,
                places: Vec::new(),
            };
            let lengths = [level.all_events.len(), level.all_accounts.len()];
            if level.groups.len() != level.events.len() || lengths != [level.codes.len(); 2] {
                return Err("has counts of owners whose lengths contradict each other".into());
            }
            level.set_places(num_groups)?;
        }
        Ok(Self { levels })
    }
}

fn count_accounts(
    history: &History,
    networks: &Networks,
    level: usize,
    accounts: std::ops::Range<usize>,
) -> TaskCounts {
    let mut counts = TaskCounts { lengths: Vec::with_capacity(accounts.len()), pairs: Vec::new() };
    let mut of_account: Vec<(u32, u32)> = Vec::new();
    for index in accounts {
        let account = history.account_at(index);
        of_account.clear();
        of_account.extend(
            account.pairs.iter().map(|pair| (networks.groups(pair.address)[level].code, pair.events)),
        );
        of_account.sort_unstable();
        let before = counts.pairs.len();
        for run in of_account.chunk_by(|a, b| a.0 == b.0) {
            let events = run.iter().fold(0u32, |sum, pair| sum.saturating_add(pair.1));
            counts.pairs.push((run[0].0, events));
        }
        counts.lengths.push((counts.pairs.len() - before) as u32);
    }
    counts
}

impl Level {
    fn of(tasks: &[TaskCounts], num_groups: u32) -> Self {
        let mut all: HashMap<u32, (u64, u64)> = HashMap::new();
        for (code, events) in tasks.iter().flat_map(|task| &task.pairs) {
            let group = all.entry(*code).or_default();
            *group = (group.0 + u64::from(*events), group.1 + 1);
        }
        let mut codes: Vec<u32> = all.keys().copied().collect();
        codes.sort_unstable();
        let places: HashMap<u32, u64> = codes.iter().copied().zip(0..).collect();
        let lengths = tasks.iter().flat_map(|task| &task.lengths);
        let starts = std::iter::once(0).chain(lengths.scan(0u64, |end, length| {
            *end += u64::from(*length);
            Some(*end)
        }));
        let pairs = || tasks.iter().flat_map(|task| &task.pairs);
        let mut level = Self {
            starts: Numbers::of(starts),
            groups: Numbers::of(pairs().map(|(code, _)| places[code])),
            events: Numbers::of(pairs().map(|(_, events)| u64::from(*events))),
            all_events: Numbers::of(codes.iter().map(|code| all[code].0)),
            all_accounts: Numbers::of(codes.iter().map(|code| all[code].1)),
            codes: Numbers::of(codes.iter().map(|code| u64::from(*code))),
            places: Vec::new(),
        };
        level.set_places(num_groups).expect("the codes were made from the table");
        level
    }

    fn set_places(&mut self, num_groups: u32) -> std::result::Result<(), String> {
        // Far more than there are autonomous systems: memory is not given to what a damaged file says.
        if num_groups > MAX_GROUPS {
            return Err(format!("says that it has {num_groups} owners of one level"));
        }
        self.places = vec![UNUSED; num_groups as usize];
        for place in 0..self.codes.len() {
            if let Some(of_code) = self.places.get_mut(self.codes.get(place) as usize) {
                *of_code = place as u32;
            }
        }
        Ok(())
    }

    /// The place of a code.
    #[inline(always)]
    fn place(&self, code: u32) -> Option<usize> {
        match self.places.get(code as usize) {
            Some(place) => (*place != UNUSED).then_some(*place as usize),
            None => {
                let behind = self.codes.first_above(0, self.codes.len(), code.into());
                let place = behind.checked_sub(1)?;
                (self.codes.get(place) == u64::from(code)).then_some(place)
            }
        }
    }

    /// The counts of an account, by its index, and a group; the share is left at 0.
    #[inline(always)]
    fn usage(&self, account: Option<usize>, code: u32) -> OwnerUsage {
        let mut usage = OwnerUsage { all_groups: self.codes.len() as u64, ..OwnerUsage::default() };
        let pairs = account.map(|account| {
            let [start, end] = [account, account + 1].map(|index| self.starts.get(index) as usize);
            start..end.min(self.groups.len())
        });
        usage.own_groups = pairs.as_ref().map_or(0, |pairs| pairs.len() as u32);
        let Some(place) = self.place(code) else { return usage };
        usage.all_events = self.all_events.get(place);
        usage.all_accounts = self.all_accounts.get(place);
        let Some(pairs) = pairs else { return usage };
        let behind = self.groups.first_above(pairs.start, pairs.end, place as u64);
        if behind > pairs.start && self.groups.get(behind - 1) == place as u64 {
            usage.own_events = self.events.get(behind - 1) as u32;
        }
        usage
    }
}

/// The most owners that a level may have.
const MAX_GROUPS: u32 = 1 << 24;
