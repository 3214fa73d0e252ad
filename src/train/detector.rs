//! The detector of a model with a usage history: counts of the training events, and the head that is fitted on them.

use std::path::Path;

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
    let order = EpochOrder::new(events.len(), seed, COUNTING_EPOCH);
    let ordered = (0..events.len()).map(|position| events.get(order.event_at(position)));
    let (entities, addresses): (Vec<u64>, Vec<Address>) =
        ordered.map(|event| (event.entity, Address::from_ipv4(event.ip))).unzip();
    let log = EventLog { entities: &entities, addresses: &addresses, times: None, order: None };
    FittedDetector::fit(&log, seed, folder).map(Some)
}
