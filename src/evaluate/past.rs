//! The events before those that are evaluated.

use rayon::prelude::*;

use crate::data::Events;
use crate::event::Address;
use crate::history::{History, HistoryBuilder, Options, Owners, Usage};
use crate::networks::Networks;
use crate::{Event, Result};

/// The counts of past events, from which the baselines score: some 20 bytes for each distinct (entity, address).
pub struct PastEvents {
    history: History,
    owners: Option<Owners>,
    num_events: u64,
}

impl std::fmt::Debug for PastEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PastEvents").field("num_events", &self.num_events).finish_non_exhaustive()
    }
}

/// Events that are counted at once.
const EVENTS_PER_PUSH: usize = 1 << 16;

impl PastEvents {
    /// Counts events: in the order of their times, or in that in which they are given where they have none.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Io`] where a temporary file cannot be written, [`crate::Error::Data`] where an entity has 2^32
    /// events.
    pub fn new(events: &Events) -> Result<Self> {
        let have_times = events.have_times();
        let mut builder = HistoryBuilder::new(have_times.then_some(0), Options::default())?;
        let order = events.order_by_time()?;
        let event_at = |position: usize| order.as_ref().map_or(position, |order| order[position] as usize);
        for start in (0..events.len()).step_by(EVENTS_PER_PUSH) {
            let indices = (start..events.len().min(start + EVENTS_PER_PUSH)).map(event_at);
            let (entities, addresses): (Vec<u64>, Vec<Address>) = indices
                .clone()
                .map(|index| events.get(index))
                .map(|event| (event.entity, event.address))
                .unzip();
            let times: Option<Vec<u32>> = indices.map(|index| events.time(index)).collect();
            builder.push(&entities, &addresses, times.as_deref())?;
        }
        Ok(Self { history: builder.finish_in_memory()?, owners: None, num_events: events.len() as u64 })
    }

    /// Counts the owners of the events' addresses, too.
    pub fn with_networks(self, networks: Option<Networks>) -> Self {
        let owners = networks.map(|networks| Owners::count(&self.history, networks));
        Self { owners, ..self }
    }

    /// The number of events.
    pub fn num_events(&self) -> u64 {
        self.num_events
    }

    /// The counts.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The counts of owners, where there is a table of networks.
    pub(super) fn owners(&self) -> Option<&Owners> {
        self.owners.as_ref()
    }
}

/// Pairs that one core looks up at a time.
const PAIRS_PER_TASK: usize = 256;

/// What a history knows of each event at its time in Unix seconds, or, without `times`, as of the history's last event.
/// On all cores.
pub(super) fn usages(
    history: &History,
    owners: Option<&Owners>,
    events: &[Event],
    times: Option<&[u32]>,
) -> Vec<Usage> {
    let tasks = events.par_chunks(PAIRS_PER_TASK).enumerate();
    let of_task = |(task, events): (usize, &[Event])| {
        let start = task * PAIRS_PER_TASK;
        let mut usages = history.usages_at(events, times.map(|times| &times[start..start + events.len()]));
        if let Some(owners) = owners {
            owners.add(history, events, &mut usages);
        }
        usages
    };
    tasks.flat_map_iter(of_task).collect()
}
