//! The detector of a model with a usage history: counts of the training events, and the head that is fitted on them.

use std::path::Path;

use rayon::prelude::*;

use crate::Result;
use crate::config::{Config, DetectorKind};
use crate::data::{EpochOrder, Events};
use crate::event::Address;
use crate::history::{EventLog, FittedDetector};

/// The epoch whose order the events are counted in where they have no times: one that no training reaches.
const COUNTING_EPOCH: u32 = u32::MAX;

/// Counts the events and fits the head; `None` where the configuration wants the engine alone. Temporary files lie in
/// `folder`.
///
/// Events without times are counted in a random order that the seed determines, because files are often grouped by
/// account, and a head has to be fitted on what was known before each event.
///
/// # Errors
///
/// As [`FittedDetector::fit`].
pub fn fit_detector(events: &Events, config: &Config, folder: &Path) -> Result<Option<FittedDetector>> {
    if config.model.detector == DetectorKind::Engine {
        return Ok(None);
    }
    let seed = config.training.seed;
    let order = order_of(events, seed);
    let (entities, addresses): (Vec<u64>, Vec<Address>) =
        order.iter().map(|index| events.get(*index)).map(|event| (event.entity, event.address)).unzip();
    let times: Option<Vec<i64>> = order.iter().map(|index| events.time(*index).map(i64::from)).collect();
    let log = EventLog { entities: &entities, addresses: &addresses, times: times.as_deref(), order: None };
    FittedDetector::fit(&log, seed, folder).map(Some)
}

/// The indices of events in the order in which they are counted: that of their times, or a random one.
fn order_of(events: &Events, seed: u64) -> Vec<usize> {
    let indices = 0..events.len();
    if !events.have_times() {
        let order = EpochOrder::new(events.len(), seed, COUNTING_EPOCH);
        return indices.map(|position| order.event_at(position)).collect();
    }
    let mut order: Vec<usize> = indices.collect();
    // Events of one second stay in the order in which they were given.
    order.par_sort_by_key(|index| events.time(*index));
    order
}
