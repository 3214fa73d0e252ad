//! Builds a history from events, in bounded memory.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;

use super::assemble::{Target, write_history};
use super::base::{History, Summary};
use super::clock::Clock;
use super::group::{Columns, Run};
use super::info::MAX_TIME;
use super::merge::Merge;
use super::options::Options;
use super::spill::SpilledRun;
use crate::durable::OutputFile;
use crate::event::Address;
use crate::{Error, Result};

/// Counts events that come in their order.
pub struct HistoryBuilder {
    options: Options,
    clock: Clock,
    pending: Columns,
    run: Run,
    num_run_events: usize,
    spilled: Vec<SpilledRun>,
    num_events: u64,
    last: u32,
}

impl HistoryBuilder {
    /// `time_base` is the Unix time, in seconds, that events' times count from; none where events have no
    /// times.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where an option is out of its range, [`Error::Data`] where the time is.
    pub fn new(time_base: Option<i64>, options: Options) -> Result<Self> {
        options.check()?;
        let clock = Clock { is_timed: time_base.is_some(), base: time_base.unwrap_or(0) };
        if clock.base.unsigned_abs() > MAX_TIME as u64 {
            let what = format!("time 0 is Unix second {}", clock.base);
            return Err(Error::data("events", what, format!("times lie within {MAX_TIME} seconds of 1970")));
        }
        let (pending, run) = (Columns::default(), Run::new(clock));
        Ok(Self {
            options,
            clock,
            pending,
            run,
            num_run_events: 0,
            spilled: Vec::new(),
            num_events: 0,
            last: 0,
        })
    }

    /// Counts events: the hashes of their accounts, their addresses and, where the history has times, their
    /// seconds from its base, which never descend. Without times the order is that in which they come; events
    /// of files that are grouped by account should come in a random one.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where a time descends; [`Error::Io`] where a temporary file cannot be written.
    ///
    /// # Panics
    ///
    /// Where columns differ in length, or times are missing or not expected.
    pub fn push(&mut self, accounts: &[u64], addresses: &[Address], seconds: Option<&[u32]>) -> Result<()> {
        if accounts.is_empty() && addresses.is_empty() {
            return Ok(());
        }
        assert_eq!(accounts.len(), addresses.len(), "columns of equal length");
        assert_eq!(seconds.is_some(), self.clock.is_timed, "times where the history has them");
        assert!(seconds.is_none_or(|seconds| seconds.len() == accounts.len()), "columns of equal length");
        if let Some(seconds) = seconds {
            self.check_order(seconds)?;
        }
        let max_pending = self.options.pending_events();
        let mut start = 0;
        while start < accounts.len() {
            let end = accounts.len().min(start + max_pending - self.pending.len());
            self.pending.accounts.extend_from_slice(&accounts[start..end]);
            self.pending.addresses.extend_from_slice(&addresses[start..end]);
            self.pending.times.extend_from_slice(seconds.map_or(&[], |seconds| &seconds[start..end]));
            if self.pending.len() == max_pending {
                self.cut()?;
            }
            start = end;
        }
        self.num_events += accounts.len() as u64;
        Ok(())
    }

    fn check_order(&mut self, seconds: &[u32]) -> Result<()> {
        for (index, second) in (self.num_events..).zip(seconds) {
            if *second < self.last {
                let what =
                    format!("event {index} is {} seconds before the one before it", self.last - second);
                return Err(Error::data("events", what, "sort the events by time"));
            }
            self.last = *second;
        }
        Ok(())
    }

    /// Cuts what is pending by account, and writes the run to a temporary file where it has become too large.
    fn cut(&mut self) -> Result<()> {
        self.run.push(&self.pending);
        self.num_run_events += self.pending.len();
        self.pending.clear();
        if self.num_run_events >= self.options.run_events() {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        let run = std::mem::replace(&mut self.run, Run::new(self.clock));
        self.num_run_events = 0;
        self.spilled.push(SpilledRun::write(&run, self.clock, &self.options.temporary_folder)?);
        Ok(())
    }

    /// Writes the history to a file, which appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be written; [`Error::Data`] where an account has more than 2^32 - 1
    /// events or there are more accounts than that.
    pub fn finish(mut self, path: &Path) -> Result<Summary> {
        let file = self.write(path, OutputFile::create(path)?)?;
        file.commit()?;
        Ok(History::open(path)?.summary())
    }

    /// Does as [`HistoryBuilder::finish`], but keeps the history in memory.
    ///
    /// # Errors
    ///
    /// As [`HistoryBuilder::finish`].
    pub fn finish_in_memory(mut self) -> Result<History> {
        let name = "history in memory";
        let bytes = self.write(Path::new(name), Vec::new())?;
        History::from_bytes(Bytes::from(bytes), name)
    }

    fn write<W: Write>(&mut self, path: &Path, out: W) -> Result<W> {
        let target = Target::new(path, self.clock, &self.options);
        self.run.push(&self.pending);
        self.pending = Columns::default();
        if self.spilled.is_empty() {
            let run = std::mem::replace(&mut self.run, Run::new(self.clock));
            return Ok(write_history(run, &target, out)?.0);
        }
        self.spill()?;
        let merge = Merge { sources: &self.spilled, clock: self.clock, left_out: &HashSet::new() };
        Ok(write_history(merge, &target, out)?.0)
    }
}
