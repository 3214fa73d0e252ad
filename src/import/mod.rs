//! Logins from logs: a record of a web server, of sshd or of an audit trail becomes an entity, an address and
//! a time.
//!
//! One file per format behind one trait, `Parser`: a record is given as bytes, and out comes a [`Login`] or the
//! reason why there is none (`Skip`). Logs hold mostly other things than logins, so a record without one is counted
//! and never an error. What a record is, a line or a JSON object, is `records`' business; where bytes come from is
//! [`Importer::read`]'s, for files and pipes to their end, and [`Follower`]'s, for a file that grows.

mod access_client;
mod apache;
mod cloudtrail;
mod filter;
mod follow;
mod formats;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod importer;
mod journal;
mod json;
mod likely;
mod login;
mod network;
mod options;
mod parser;
mod records;
mod report;
mod sources;
mod sshd;
mod sshd_attempt;
mod sshd_connections;
mod sshd_line;
mod table_lines;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use follow::{Follower, Start};
pub use importer::Importer;
pub use login::{Login, LoginSink};
pub use network::Network;
pub use options::{ImportOptions, LogFormat, Outcomes};
pub use report::ImportReport;
