//! How a history is built.

use std::path::PathBuf;

use super::population::Use;
use crate::{Error, Result};

/// Bytes that one event of a run takes while the run is written: its columns, and room for what a few ranges
/// of hashes become.
const EVENT_BYTES: usize = 48;
/// Most events that are gathered before they are cut by account.
const PENDING_EVENTS: usize = 1 << 20;
/// Most events of a run, whose indices have 32 bits.
const MAX_RUN_EVENTS: usize = 1 << 31;

/// How a history is built.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of memory that events and pairs may take while they are sorted; more go through temporary files.
    /// The accounts and what each core works on come on top: 16 bytes an account, and all of an account's
    /// pairs.
    pub memory_bytes: usize,
    /// Most networks that are kept of an account: the addresses of its last uses (of IPv6, their upper 64
    /// bits). The account's events, times and distinct prefixes stay exact; what the others had is neither in
    /// its counts by prefix nor in those of all accounts. No bound where it is none; at least 1.
    pub max_networks: Option<usize>,
    /// Where temporary files lie. They are as large as the history, and 16 bytes more for each pair.
    pub temporary_folder: PathBuf,
}

impl Default for Options {
    /// 2 GiB, no bound, and the system's folder for temporary files.
    fn default() -> Self {
        Self { memory_bytes: 2 << 30, max_networks: None, temporary_folder: std::env::temp_dir() }
    }
}

impl Options {
    /// # Errors
    ///
    /// [`Error::Config`] where an option is out of its range.
    pub(super) fn check(&self) -> Result<()> {
        if self.max_networks == Some(0) {
            let help = "give 1 or more, or leave it out for no bound";
            return Err(Error::config("max_networks", "an account keeps 0 networks", help));
        }
        Ok(())
    }

    /// Bytes that building a history of so many events takes, at most, but for what the largest accounts take.
    pub fn max_bytes(&self, num_events: u64) -> u64 {
        const BYTES_OF_RUN: u64 = 24;
        const BYTES_OF_PENDING: u64 = 20;
        let of_run = BYTES_OF_RUN * num_events.min(self.run_events() as u64);
        let of_pending = BYTES_OF_PENDING * num_events.min(self.pending_events() as u64);
        let of_uses = (Use::NUM_BYTES as u64 * num_events).min(self.memory_bytes as u64);
        of_run + of_pending + of_uses
    }

    /// Events that are sorted together in memory.
    pub(super) fn run_events(&self) -> usize {
        (self.memory_bytes / EVENT_BYTES).clamp(1, MAX_RUN_EVENTS)
    }

    /// Events that are gathered before they are cut by account.
    pub(super) fn pending_events(&self) -> usize {
        PENDING_EVENTS.min(self.run_events())
    }
}
