//! Makes histories of other ones.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;

use super::assemble::{Target, write_history};
use super::base::{History, Summary};
use super::clock::Clock;
use super::merge::Merge;
use super::options::Options;
use super::part::Totals;
use crate::durable::OutputFile;
use crate::{Error, Result};

/// What a merge made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeReport {
    /// What the merged history holds.
    pub summary: Summary,
    /// Accounts of which one part has events between those of another, so that the order of their events is
    /// not exact. See [`merge`].
    pub overlapping_accounts: u64,
}

/// Adds up histories, in a new file, which appears whole or not at all.
///
/// All counts are those of the history of all events. So are the order of an account's events and its days of
/// use where, for each account, no history has events between those of another: parts follow each other by
/// time and, where they have one time, or none, as the histories are given. Where parts of an account overlap
/// in time, the order of its events is as near as the histories tell.
///
/// # Errors
///
/// [`Error::Config`] where some have times and others not, or an option is out of its range; [`Error::Data`]
/// where one is damaged or their events lie more than 136 years apart; [`Error::Io`] where a file cannot be
/// written.
pub fn merge(histories: &[&History], options: &Options, path: &Path) -> Result<MergeReport> {
    let totals = to_file(histories, &HashSet::new(), options, path)?;
    Ok(MergeReport { summary: History::open(path)?.summary(), overlapping_accounts: totals.overlapping })
}

/// Does as [`merge`], but keeps the history in memory.
///
/// # Errors
///
/// As [`merge`].
pub fn merge_in_memory(histories: &[&History], options: &Options) -> Result<History> {
    in_memory(histories, &HashSet::new(), options)
}

/// Writes a history without the accounts of some hashes: as if they had never had an event.
///
/// # Errors
///
/// As [`merge`].
pub fn forget(history: &History, accounts: &HashSet<u64>, options: &Options, path: &Path) -> Result<Summary> {
    to_file(&[history], accounts, options, path)?;
    Ok(History::open(path)?.summary())
}

/// Does as [`forget`], but keeps the history in memory.
///
/// # Errors
///
/// As [`merge`].
pub fn forget_in_memory(history: &History, accounts: &HashSet<u64>, options: &Options) -> Result<History> {
    in_memory(&[history], accounts, options)
}

fn to_file(
    histories: &[&History],
    left_out: &HashSet<u64>,
    options: &Options,
    path: &Path,
) -> Result<Totals> {
    let (file, totals) = write(histories, left_out, options, path, OutputFile::create(path)?)?;
    file.commit()?;
    Ok(totals)
}

fn in_memory(histories: &[&History], left_out: &HashSet<u64>, options: &Options) -> Result<History> {
    let name = "history in memory";
    let (bytes, _) = write(histories, left_out, options, Path::new(name), Vec::new())?;
    History::from_bytes(Bytes::from(bytes), name)
}

fn write<W: Write>(
    histories: &[&History],
    left_out: &HashSet<u64>,
    options: &Options,
    path: &Path,
    out: W,
) -> Result<(W, Totals)> {
    options.check()?;
    // One without events has no times to agree with.
    let sources: Vec<_> = histories.iter().copied().filter(|history| history.info.events > 0).collect();
    let clock = common_clock(histories, &sources)?;
    let merge = Merge { sources: &sources, clock, left_out };
    write_history(merge, &Target::new(path, clock, options), out)
}

/// Time 0 of all histories together.
fn common_clock(all: &[&History], with_events: &[&History]) -> Result<Clock> {
    let clocks = || with_events.iter().map(|history| history.info.clock);
    let is_timed = match clocks().next() {
        Some(first) => first.is_timed,
        None => all.iter().any(|history| history.info.clock.is_timed),
    };
    if clocks().any(|clock| clock.is_timed != is_timed) {
        let what = "some have times and some have none";
        return Err(Error::config("histories", what, "build all of them from events with times, or none"));
    }
    let base = clocks().map(|clock| clock.base).min();
    let base = base.or_else(|| all.iter().map(|history| history.info.clock.base).min()).unwrap_or(0);
    let last = with_events.iter().map(|history| history.info.clock.base + i64::from(history.info.last)).max();
    if last.is_some_and(|last| u32::try_from(last - base).is_err()) {
        let what = "their events lie more than 136 years apart";
        return Err(Error::data("histories", what, "leave out the one whose times are wrong"));
    }
    Ok(Clock { is_timed, base })
}
