//! A history that is read: a file that is mapped and never changed.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use super::account::{Account, Heading};
use super::bits::BitReader;
use super::container::{Directory, HISTORY};
use super::info::{FamilySummary, Info};
use super::own::Since;
use super::population::Widths;
use super::prefetch::{CACHE_LINE, prefetch};
use super::shortcut::Shortcuts;
use super::table::Table;
use super::trie_read::Trie;
use super::usage::{NUM_LEVELS, Usage};
use crate::data::map_file;
use crate::event::Address;
use crate::{Error, Event, Result};

/// Names of the sections of a history.
pub(super) mod section {
    pub(in super::super) const INFO: &str = "info";
    pub(in super::super) const STARTS: &str = "account starts";
    pub(in super::super) const HASHES: &str = "account hashes";
    pub(in super::super) const POSITIONS: &str = "account positions";
    pub(in super::super) const BLOCKS: &str = "account blocks";
    pub(in super::super) const POPULATION: &str = "population";
}

/// The exact counts of all events up to some moment. It is mapped from its file, so many of one file share
/// memory.
pub struct History {
    pub(super) info: Info,
    pub(super) table: Table,
    /// Every account's addresses, with the zeros behind them.
    blocks: Bytes,
    /// The addresses of all accounts, with the zeros behind them.
    population: Bytes,
    pub(super) shortcuts: Shortcuts,
    widths: Widths,
    sections: Vec<(String, u64)>,
    num_bytes: u64,
}

/// What a history holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Accounts.
    pub accounts: u64,
    /// Events.
    pub events: u64,
    /// Distinct (account, address) that were counted and are not kept, see
    /// [`super::Options::max_networks`].
    pub dropped_pairs: u64,
    /// Unix seconds of the first and the last event, where events have times.
    pub times: Option<(i64, i64)>,
    /// IPv4.
    pub ipv4: FamilySummary,
    /// IPv6.
    pub ipv6: FamilySummary,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its sections, by name.
    pub sections: Vec<(String, u64)>,
}

/// Pairs to be looked up.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Accounts and addresses.
    pub events: &'a [Event],
    /// Seconds from `time_base` at which each pair is asked for, one for each pair, or that times are not known.
    pub seconds: Option<&'a [u32]>,
    /// Unix seconds of second 0.
    pub time_base: i64,
}

/// What is known of one account.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountHistory {
    /// Hash of the account.
    pub account: u64,
    /// Events.
    pub events: u32,
    /// Unix seconds of the first and the last event, where events have times.
    pub times: Option<(i64, i64)>,
    /// Distinct prefixes of each level.
    pub distinct: [u32; NUM_LEVELS],
    /// What is known of each address, in ascending order.
    pub addresses: Vec<AddressHistory>,
}

/// What is known of one (account, address).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHistory {
    /// The address.
    pub address: Address,
    /// Events of the account with it.
    pub events: u32,
    /// Which of the account's events was the last one with it, from 1.
    pub last_ordinal: u32,
    /// Times of use, where events have times.
    pub times: Option<AddressTimes>,
}

/// When an account used an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTimes {
    /// Days from 1970-01-01 to the first event's, in UTC.
    pub first_day: i64,
    /// Unix seconds of the last event.
    pub last: i64,
    /// Distinct days with an event.
    pub days: u32,
}

impl History {
    /// Maps a history.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is no history, another
    /// version's, or damaged in its directory, totals or table of accounts. Damage of other bytes shows by
    /// wrong counts only: compare the file's digest with that of the manifest.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let bytes = map_file(&file, path).map_err(Error::io("map", path))?;
        Self::from_bytes(bytes, &path.display().to_string())
    }

    /// Reads a history that is in memory; `name` says in errors what it is.
    ///
    /// # Errors
    ///
    /// [`Error::Data`], as [`History::open`].
    pub fn from_bytes(bytes: Bytes, name: &str) -> Result<Self> {
        let help = "build the history again, or take the model folder from where it was copied";
        Self::read(bytes).map_err(|what| Error::data(name, format!("the file {what}"), help))
    }

    fn read(bytes: Bytes) -> std::result::Result<Self, String> {
        let directory = Directory::read(&bytes, HISTORY)?;
        let section = |name: &str| directory.section(name).map(|range| bytes.slice(range));
        let padded = |name: &str| directory.section(name).map(|range| bytes.slice(directory.padded(&range)));
        let info = Info::read(&section(section::INFO)?)?;
        let blocks_length = directory.section(section::BLOCKS)?.len();
        let table = Table::read(
            section(section::STARTS)?,
            section(section::HASHES)?,
            padded(section::POSITIONS)?,
            blocks_length,
        )?;
        if table.num_accounts() as u64 != info.accounts {
            return Err("has another number of accounts than its totals say".into());
        }
        let mut history = Self {
            info,
            table,
            blocks: padded(section::BLOCKS)?,
            population: padded(section::POPULATION)?,
            shortcuts: Shortcuts::default(),
            widths: Widths::new(info.events, info.accounts),
            sections: directory.lengths().collect(),
            num_bytes: bytes.len() as u64,
        };
        history.shortcuts = Shortcuts::new(history.population_trie(0), info.families[0].addresses);
        Ok(history)
    }

    /// Sets what does not depend on the address.
    #[inline(always)]
    pub(super) fn start(&self, usage: &mut Usage, heading: Option<&Heading<'_>>, now: Option<i64>) -> Since {
        let num_totals = (self.info.events, self.info.accounts, self.info.top_prefixes);
        (usage.total_events, usage.total_accounts, usage.total_top_prefixes) = num_totals;
        let Some(heading) = heading else {
            (usage.num_events, usage.distinct) = (0, [0; NUM_LEVELS]);
            (usage.days_since_first, usage.days_since_last) = (-1., -1.);
            return Since { times: None };
        };
        let last = self.info.unix(heading.last);
        let since = Since { times: last.zip(now) };
        usage.num_events = heading.events;
        usage.distinct = heading.distinct;
        usage.days_since_last = since.days(0);
        usage.days_since_first = since.days(heading.last - heading.first);
        since
    }

    /// The tree of a family's addresses of all accounts.
    #[inline(always)]
    pub(super) fn population_trie(&self, family: usize) -> Option<Trie<'_>> {
        let (reader, value_bytes) = (BitReader::new(&self.population), self.widths.value_bytes());
        let root = self.info.roots[family]? as usize;
        Some(Trie::new(reader, family, root, value_bytes))
    }

    /// The heading that starts at a byte of the accounts' blocks.
    #[inline(always)]
    pub(super) fn heading_at(&self, at: usize) -> Heading<'_> {
        Heading::read(BitReader::new(&self.blocks), at, self.info.clock)
    }

    /// Has the CPU fetch a heading and the end of the tree before it.
    #[inline(always)]
    pub(super) fn prefetch_block(&self, at: usize) {
        prefetch(&self.blocks, at);
        prefetch(&self.blocks, at.wrapping_sub(CACHE_LINE));
    }

    /// What is counted of the account at an index of the table.
    pub(super) fn account_at(&self, index: usize) -> Account {
        let start = self.table.block_start(index);
        self.heading_at(self.table.position(index)).read_all(self.table.hash(index), start, self.info.clock)
    }

    /// All that is known of an account.
    pub fn account(&self, account: u64) -> Option<AccountHistory> {
        self.table.find(account).map(|index| self.to_public(self.account_at(index)))
    }

    /// All that is known of all accounts, in ascending order of their hashes.
    pub fn accounts(&self) -> impl Iterator<Item = AccountHistory> {
        (0..self.table.num_accounts()).map(|index| self.to_public(self.account_at(index)))
    }

    fn to_public(&self, account: Account) -> AccountHistory {
        let addresses = account.pairs.iter().map(|pair| AddressHistory {
            address: pair.address,
            events: pair.events,
            last_ordinal: pair.ordinal,
            times: self.info.unix(pair.last).map(|last| AddressTimes {
                first_day: pair.first_day,
                last,
                days: pair.days,
            }),
        });
        AccountHistory {
            account: account.account,
            events: account.events,
            times: self.info.unix(account.first).zip(self.info.unix(account.last)),
            distinct: account.distinct,
            addresses: addresses.collect(),
        }
    }

    /// Unix seconds of the first and the last event, where events have times.
    pub fn times(&self) -> Option<(i64, i64)> {
        let Info { first, last, events, .. } = self.info;
        self.info.unix(first).zip(self.info.unix(last)).filter(|_| events > 0)
    }

    /// Whether the account has an event.
    pub fn knows(&self, account: u64) -> bool {
        self.table.find(account).is_some()
    }

    /// What the history holds.
    pub fn summary(&self) -> Summary {
        let Info { events, accounts, dropped_pairs, families: [ipv4, ipv6], .. } = self.info;
        let times = self.times();
        let (bytes, sections) = (self.num_bytes, self.sections.clone());
        Summary { accounts, events, dropped_pairs, times, ipv4, ipv6, bytes, sections }
    }
}
