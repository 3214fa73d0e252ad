//! The exact counts of how accounts use addresses: a sorted, compact index that is mapped from a file.
//!
//! [`HistoryBuilder`] counts events, [`History`] answers what is known of an account, an address and the networks around it;
//! [`merge()`] adds histories up and [`forget`] leaves accounts out of one.

mod account;
mod assemble;
mod base;
mod bits;
mod build;
mod chain;
mod combine;
mod container;
mod group;
mod info;
mod merge;
mod own;
mod part;
mod population;
mod population_write;
#[cfg(test)]
mod reference;
mod spill;
mod table;
#[cfg(test)]
mod tests;
mod trie_read;
mod trie_write;
mod usage;
mod use_sort;

pub use base::{AccountHistory, AddressHistory, AddressTimes, History, Pairs, Summary};
pub use build::{HistoryBuilder, Options};
pub use combine::{MergeReport, forget, forget_in_memory, merge, merge_in_memory};
pub use info::{FamilySummary, days_between};
pub use usage::{IPV4_LENGTHS, IPV6_LENGTHS, LevelUsage, NUM_LEVELS, Usage};
