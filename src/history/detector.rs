//! The detector of the recommended model: a usage history, and the head that turns its counts into scores.

use std::path::Path;

use bytes::Bytes;
use rayon::prelude::*;
use tempfile::TempPath;

use super::base::{History, Pairs};
use super::build::HistoryBuilder;
use super::event_log::EventLog;
use super::fit::{FitOptions, fit_head};
use super::head::Head;
use super::options::Options;
use super::owner_counts::Owners;
use super::part::{NUM_PARTITIONS, partition};
use super::usage::Usage;
use crate::allocator::give_back;
use crate::event::Address;
use crate::networks::Networks;
use crate::{Error, Event, Result};

/// A history and its head.
pub struct Detector {
    /// The counts.
    pub history: History,
    /// Turns the counts into scores.
    pub head: Head,
    /// The owners of addresses, where the model has a table of networks.
    pub owners: Option<Owners>,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("history", &self.history.summary()).finish_non_exhaustive()
    }
}

/// Pairs of one task of a core: looked up, then scored.
const PAIRS_PER_TASK: usize = 256;

/// Pairs from which on they are scored by range of their accounts' hashes: the accounts of a range lie together, so that
/// what is read of them is in the cache, and their pages are known to the CPU.
const MIN_ORDERED_PAIRS: usize = 8_192;

/// Indices of events by the range of their accounts' hashes.
fn order_by_account(events: &[Event]) -> Vec<usize> {
    let mut places = [0; NUM_PARTITIONS];
    for event in events {
        places[partition(event.entity)] += 1;
    }
    let mut start = 0;
    for place in &mut places {
        start += std::mem::replace(place, start);
    }
    let mut order = vec![0; events.len()];
    for (index, event) in events.iter().enumerate() {
        let place = &mut places[partition(event.entity)];
        order[*place] = index;
        *place += 1;
    }
    order
}

impl Detector {
    /// Takes the bytes of the files, each with its name for messages; that of the networks where there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the history is corrupt, the head cannot be read, or it needs networks and there are none.
    pub fn from_bytes(
        history: (Bytes, &str),
        head: (&[u8], &str),
        networks: Option<(&Bytes, &str)>,
    ) -> Result<Self> {
        let (bytes, name) = history;
        let history = History::from_bytes(bytes, name)?;
        let (head, head_name) = (Head::from_bytes(head.0, head.1)?, head.1);
        if head.uses_networks() != networks.is_some() {
            let what = match networks {
                Some((_, name)) => format!("it was fitted without a table of networks, and {name} is one"),
                None => "it was fitted with a table of networks, and there is none".into(),
            };
            return Err(Error::data(head_name, what, "copy the model folder again, or train again"));
        }
        let owners = networks.map(|(bytes, name)| Owners::from_bytes(bytes, name, &history)).transpose()?;
        Ok(Self { history, head, owners })
    }

    /// What is known of pairs at `times`, see [`History::usages_at`], with the owners of their addresses.
    pub fn usages_at(&self, events: &[Event], times: Option<&[u32]>) -> Vec<Usage> {
        let mut usages = self.history.usages_at(events, times);
        if let Some(owners) = &self.owners {
            owners.add(&self.history, events, &mut usages);
        }
        usages
    }

    /// The scores of pairs, `[pairs]`: log odds that a pair is real, high means usual. `times` are Unix seconds, one for each
    /// pair; without them a pair is scored as of the history's last event. On all cores.
    pub fn scores(&self, events: &[Event], times: Option<&[u32]>) -> Vec<f32> {
        let mut scores = vec![0.0; events.len()];
        if let [event] = events {
            scores[0] = self.score(*event, times.map(|times| times[0]));
        } else if scores.len() <= PAIRS_PER_TASK {
            // A call of another thread would take longer than the scores.
            self.score_on_one_core(events, times, &mut scores);
        } else if scores.len() < MIN_ORDERED_PAIRS {
            self.score_on_all_cores(events, times, &mut scores);
        } else {
            let order = order_by_account(events);
            let ordered: Vec<Event> = order.iter().map(|index| events[*index]).collect();
            let times: Option<Vec<u32>> =
                times.map(|times| order.iter().map(|index| times[*index]).collect());
            let mut of_ordered = vec![0.0; events.len()];
            self.score_on_all_cores(&ordered, times.as_deref(), &mut of_ordered);
            for (index, score) in order.iter().zip(of_ordered) {
                scores[*index] = score;
            }
        }
        scores
    }

    fn score_on_all_cores(&self, events: &[Event], times: Option<&[u32]>, scores: &mut [f32]) {
        scores.par_chunks_mut(PAIRS_PER_TASK).enumerate().for_each(|(task, scores)| {
            let range = task * PAIRS_PER_TASK..task * PAIRS_PER_TASK + scores.len();
            self.score_on_one_core(&events[range.clone()], times.map(|times| &times[range]), scores);
        });
    }

    /// The score of one pair, see [`Detector::scores`].
    pub fn score(&self, event: Event, time: Option<u32>) -> f32 {
        let time = time.map(i64::from);
        let now = self.history.times().map(|(_, end)| time.unwrap_or(end));
        let mut usage = self.history.usage(event.entity, event.address, now);
        if let Some(owners) = &self.owners {
            owners.add(&self.history, &[event], std::slice::from_mut(&mut usage));
        }
        self.head.score(&usage)
    }

    fn score_on_one_core(&self, events: &[Event], times: Option<&[u32]>, scores: &mut [f32]) {
        self.head.score_on_one_core(&self.usages_at(events, times), scores);
    }

    /// The scores of pairs of which this is known, `[pairs]`; see [`Detector::scores`]. On all cores.
    pub fn scores_of(&self, usages: &[Usage]) -> Vec<f32> {
        let mut scores = vec![0.0; usages.len()];
        self.head.scores(usages, &mut scores);
        scores
    }
}

impl History {
    /// What is known of pairs at `times`, in Unix seconds, one for each pair; without them as of the history's last event.
    /// On one core, see [`History::usages`].
    pub fn usages_at(&self, events: &[Event], times: Option<&[u32]>) -> Vec<Usage> {
        let mut usages = vec![Usage::default(); events.len()];
        let last;
        let (seconds, time_base) = match (times, self.times()) {
            (Some(times), Some(_)) => (Some(times), 0),
            (None, Some((_, end))) => {
                last = vec![0; events.len()];
                (Some(&last[..]), end)
            }
            (_, None) => (None, 0),
        };
        self.usages(&Pairs { events, seconds, time_base }, &mut usages);
        usages
    }
}

/// A fitted detector that is not in a model folder yet.
pub struct FittedDetector {
    /// The history's file, which goes with this value.
    pub history: TempPath,
    /// The head.
    pub head: Head,
    /// The table of networks with the counts of the history's accounts, as a file, where there is one.
    pub networks: Option<Bytes>,
}

impl FittedDetector {
    /// Counts the log and fits a head on it, with a table of networks where there is one. Temporary files, the history's among
    /// them, lie in the options' folder.
    ///
    /// # Errors
    ///
    /// As [`FittedDetector::count`].
    pub fn fit(
        log: &EventLog<'_>,
        networks: Option<&Networks>,
        seed: u64,
        options: &Options,
    ) -> Result<Self> {
        let history = Self::count(log, options)?;
        give_back();
        let head = fit_head(log, networks, &FitOptions::of_seed(seed))?;
        Self { history, head, networks: None }.with_networks(networks)
    }

    /// Counts the history by a table, where there is one.
    ///
    /// # Errors
    ///
    /// As [`History::open`].
    pub fn with_networks(self, networks: Option<&Networks>) -> Result<Self> {
        let Some(networks) = networks else { return Ok(self) };
        let owners = Owners::count(&History::open(&self.history)?, networks.clone());
        Ok(Self { networks: Some(owners.to_bytes().into()), ..self })
    }

    /// Counts the log.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be written, [`Error::Data`] where times descend or an account has 2^32 events.
    pub fn count(log: &EventLog<'_>, options: &Options) -> Result<TempPath> {
        let history = Self::temporary_file(&options.temporary_folder)?;
        let mut builder = HistoryBuilder::new(log.times.map(|_| 0), options.clone())?;
        let mut chunk = Columns::default();
        for position in 0..log.len() as u32 {
            chunk.push(log, position);
            if chunk.accounts.len() == EVENTS_PER_PUSH {
                chunk.count(&mut builder)?;
            }
        }
        chunk.count(&mut builder)?;
        builder.finish(&history)?;
        Ok(history)
    }

    /// A file in the folder of a training run, which goes with its value.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be made.
    pub fn temporary_file(folder: &Path) -> Result<TempPath> {
        let file = tempfile::Builder::new().prefix(crate::durable::RUN_PREFIX).tempfile_in(folder);
        Ok(file.map_err(Error::io("create a file in", folder))?.into_temp_path())
    }
}

/// Events that are counted at once.
const EVENTS_PER_PUSH: usize = 1 << 16;

#[derive(Default)]
struct Columns {
    accounts: Vec<u64>,
    addresses: Vec<Address>,
    seconds: Vec<u32>,
}

impl Columns {
    fn push(&mut self, log: &EventLog<'_>, position: u32) {
        self.accounts.push(log.entity(position));
        self.addresses.push(log.address(position));
        if log.times.is_some() {
            self.seconds.push(u32::try_from(log.time(position)).unwrap_or(0));
        }
    }

    fn count(&mut self, builder: &mut HistoryBuilder) -> Result<()> {
        let seconds = (self.seconds.len() == self.accounts.len()).then_some(&self.seconds[..]);
        builder.push(&self.accounts, &self.addresses, seconds.filter(|_| !self.accounts.is_empty()))?;
        *self = Self::default();
        Ok(())
    }
}
