//! The exact counts of how accounts use addresses: a sorted, compact index that is mapped from a file.
//!
//! [`HistoryBuilder`] counts events, [`History`] answers what is known of an account, an address and the
//! networks around it; [`merge()`] adds histories up and [`forget`] leaves accounts out of one.

mod account;
mod assemble;
mod base;
mod batch;
mod bits;
mod build;
mod chain;
mod clock;
mod closed_form;
mod column;
mod combine;
mod container;
mod detector;
mod event_log;
mod feature_block;
mod features;
mod fit;
mod gradient;
mod group;
mod head;
mod head_file;
mod head_module;
mod info;
mod levels;
mod merge;
mod negatives;
mod network;
mod options;
mod own;
mod own_usage;
mod owner_block;
mod owner_counts;
mod owner_prequential;
mod pair_network;
mod part;
mod population;
mod population_read;
mod population_write;
mod prefetch;
mod prefixes;
mod prequential;
#[cfg(test)]
mod reference;
mod replay;
mod score_parts;
mod shortcut;
mod spill;
mod table;
#[cfg(test)]
mod tests;
mod trie_read;
mod trie_write;
mod usage;
mod use_sort;

pub use base::{AccountHistory, AddressHistory, AddressTimes, History, Pairs, Summary};
pub use build::HistoryBuilder;
pub use closed_form::{LogRatios, OwnerRatios, log_ratios};
pub use combine::{MergeReport, forget, forget_in_memory, merge, merge_in_memory};
pub use detector::{Detector, FittedDetector};
pub use event_log::{EventLog, Query};
pub use features::{NUM_INPUTS, input_names};
pub use fit::{FitOptions, fit_bytes, fit_head};
pub use head::{Head, HeadParts};
pub use head_module::HeadModule;
pub use info::{FamilySummary, days_between};
pub use negatives::{NegativeWeights, SamplingOptions};
pub use network::Part;
pub use options::Options;
pub use owner_counts::{OwnerChanges, Owners};
pub use owner_prequential::add_prequential_owners;
pub use prequential::prequential_usage;
pub use replay::ReplayedEvents;
pub use score_parts::ScorePart;
pub use usage::{IPV4_LENGTHS, IPV6_LENGTHS, LevelUsage, NUM_LEVELS, OwnerUsage, Usage};
