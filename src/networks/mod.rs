//! Whose network an address is in: autonomous systems and countries, from a table that somebody publishes.
//!
//! [`Networks::read`] takes a MaxMind DB or a TSV as iptoasn.com has it, and keeps ranges of addresses with their owners in
//! a few arrays. These are sections of a file ([`Networks::sections`]), and are read where they are mapped.

mod mmdb;
mod owner;
mod read;
mod sections;
mod table;
mod table_builder;
#[cfg(test)]
mod tests;
mod tsv;

pub use owner::{NUM_OWNER_LEVELS, Owner, OwnerGroup, OwnerLevel};
pub(crate) use sections::Numbers;
pub use table::{Networks, NetworksSource, NetworksSummary};
