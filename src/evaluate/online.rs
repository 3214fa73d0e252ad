//! Counts that move with the evaluated events: each ordinary event is counted after it was scored.

use super::pending::Pending;
use crate::history::{
    EventLog, History, Owners, Query, ReplayedEvents, Usage, add_prequential_owners, prequential_usage,
};
use crate::networks::Networks;
use crate::{Error, Result};

/// The order in which evaluated events are scored and counted.
pub(super) struct Timeline {
    /// The indices of the ordinary events, in their order.
    counted: Vec<u32>,
    /// For each event and attack, how many ordinary events are counted before it.
    num_before: Vec<u32>,
}

impl Timeline {
    /// Events of one second, or without times, are in the order of their positions; an event's attacks, which have its
    /// position, are scored before it is counted.
    pub(super) fn new(pending: &[Pending]) -> Self {
        let key = |index: &u32| (pending[*index as usize].seconds, pending[*index as usize].position);
        let mut order: Vec<u32> = (0..pending.len() as u32).collect();
        order.sort_by_key(key);
        let mut timeline = Self { counted: Vec::new(), num_before: vec![0; pending.len()] };
        for together in order.chunk_by(|a, b| key(a) == key(b)) {
            for index in together {
                timeline.num_before[*index as usize] = timeline.counted.len() as u32;
            }
            let is_ordinary = |index: &&u32| pending[**index as usize].kind.is_none();
            timeline.counted.extend(together.iter().filter(is_ordinary));
        }
        timeline
    }
}

/// A history and the evaluated events behind it.
pub(super) struct MovingCounts<'a> {
    timeline: &'a Timeline,
    events: ReplayedEvents,
    num_past: u32,
    /// The second of events whose times are not known: that of the history's last one.
    last: i64,
    /// The table by which the owners of addresses are counted, too.
    networks: Option<&'a Networks>,
}

impl<'a> MovingCounts<'a> {
    /// # Errors
    ///
    /// [`Error::Data`] where the history keeps less than all of its events, or there are 2^32 events.
    pub(super) fn new(
        history: &History,
        owners: Option<&'a Owners>,
        timeline: &'a Timeline,
        pending: &[Pending],
    ) -> Result<Self> {
        let mut events = history.replayed()?;
        let num_past = events.entities.len();
        if u32::try_from(num_past + timeline.counted.len()).is_err() {
            let what = format!("{} past and evaluated events", num_past + timeline.counted.len());
            return Err(Error::data("events", what, "evaluate at most 2^32 of them online"));
        }
        let last = history.times().map_or(0, |(_, last)| last);
        for index in &timeline.counted {
            let Pending { event, seconds, .. } = &pending[*index as usize];
            events.entities.push(event.entity);
            events.addresses.push(event.address);
            if let Some(times) = &mut events.times {
                times.push(seconds.map_or(last, i64::from));
            }
        }
        let networks = owners.map(|owners| &owners.networks);
        Ok(Self { timeline, events, num_past: num_past as u32, last, networks })
    }

    /// What is known of the events and attacks from index `start` on, `pending`, before each of them.
    pub(super) fn usages(&self, start: usize, pending: &[Pending]) -> Vec<Usage> {
        let query = |(pending, num_before): (&Pending, &u32)| Query {
            entity: pending.event.entity,
            address: pending.event.address,
            position: self.num_past + num_before,
            time: pending.seconds.map_or(self.last, i64::from),
        };
        let queries: Vec<Query> = pending.iter().zip(&self.timeline.num_before[start..]).map(query).collect();
        let ReplayedEvents { entities, addresses, times } = &self.events;
        let log = EventLog { entities, addresses, times: times.as_deref(), order: None };
        let mut usages = prequential_usage(&log, &queries);
        if let Some(networks) = self.networks {
            add_prequential_owners(networks, &log, &queries, &mut usages);
        }
        usages
    }
}
