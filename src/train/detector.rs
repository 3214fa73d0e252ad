//! The detector of a model with a usage history: counts of the training events, and the head that is fitted on them.

use std::path::Path;

use super::initial::InitialModel;
use crate::config::{Config, DetectorKind};
use crate::data::{EpochOrder, Events};
use crate::event::Address;
use crate::history::{self, Detector, EventLog, FittedDetector, Options};
use crate::{At, Error, Result};

/// The epoch whose order the events are counted in where they have no times: one that no training reaches.
const COUNTING_EPOCH: u32 = u32::MAX;

/// Refuses events that cannot be added to the history of the model that a run begins from.
///
/// # Errors
///
/// [`Error::Config`] where the history has times and the events have none, or the other way round.
pub fn check_history(events: &Events, config: &Config, init_from: Option<&InitialModel>) -> Result<()> {
    let Some(initial) = init_from.filter(|_| config.model.detector == DetectorKind::History) else {
        return Ok(());
    };
    let Some(Detector { history, .. }) = initial.detector() else { return Ok(()) };
    let (what, help) = match (history.times(), events.have_times()) {
        (Some(_), false) => {
            ("its history has times and the events have none", "name the column of times with time_column")
        }
        (None, true) => ("its history has no times and the events have", "leave out time_column"),
        _ => return Ok(()),
    };
    Err(Error::config(At::option_of("init_from", initial.path().display()), what, help))
}

/// A detector that a run made.
pub struct RunDetector {
    /// What goes into the model folder.
    pub fitted: FittedDetector,
    /// Entities whose events lie in part before the last ones of the history that the run began from: events that
    /// were counted twice, perhaps.
    pub num_overlapping: u64,
}

/// Counts the events and fits the head; `None` where the configuration wants the engine alone. Temporary files lie in
/// `folder`.
///
/// Events without times are counted in a random order that the seed determines, because files are often grouped by
/// account, and a head has to be fitted on what was known before each event.
///
/// Where the run begins from a model with a history, the events are added to it. The head is then that of the model,
/// which is one function for all accounts, unless the run has more events than the history.
///
/// # Errors
///
/// As [`FittedDetector::fit`] and [`history::merge`].
pub fn fit_detector(
    events: &Events,
    config: &Config,
    init_from: Option<&InitialModel>,
    folder: &Path,
) -> Result<Option<RunDetector>> {
    if config.model.detector == DetectorKind::Engine {
        return Ok(None);
    }
    let seed = config.training.seed;
    let order = order_of(events, seed);
    let (entities, addresses): (Vec<u64>, Vec<Address>) =
        order.iter().map(|index| events.get(*index)).map(|event| (event.entity, event.address)).unzip();
    let times: Option<Vec<i64>> = order.iter().map(|index| events.time(*index).map(i64::from)).collect();
    let log = EventLog { entities: &entities, addresses: &addresses, times: times.as_deref(), order: None };
    let max_networks = config.model.max_networks_per_entity;
    let options = Options { max_networks, temporary_folder: folder.to_path_buf(), ..Options::default() };
    let detector = match init_from.and_then(InitialModel::detector) {
        Some(before) => add(before, &log, seed, &options)?,
        None => RunDetector { fitted: FittedDetector::fit(&log, seed, &options)?, num_overlapping: 0 },
    };
    Ok(Some(detector))
}

/// Adds the events of a log to a detector.
fn add(before: &Detector, log: &EventLog<'_>, seed: u64, options: &Options) -> Result<RunDetector> {
    // Bounded once, together.
    let unbounded = Options { max_networks: None, ..options.clone() };
    let new = match log.len() as u64 > before.history.summary().events {
        true => FittedDetector::fit(log, seed, &unbounded)?,
        false => {
            FittedDetector { history: FittedDetector::count(log, &unbounded)?, head: before.head.clone() }
        }
    };
    let counted = history::History::open(&new.history)?;
    let sum = FittedDetector::temporary_file(&options.temporary_folder)?;
    let report = history::merge(&[&before.history, &counted], options, &sum)?;
    let fitted = FittedDetector { history: sum, head: new.head };
    Ok(RunDetector { fitted, num_overlapping: report.overlapping_accounts })
}

/// The indices of events in the order in which they are counted: that of their times, or a random one.
fn order_of(events: &Events, seed: u64) -> Vec<usize> {
    if events.have_times() {
        return events.order_by_time();
    }
    let order = EpochOrder::new(events.len(), seed, COUNTING_EPOCH);
    (0..events.len()).map(|position| order.event_at(position)).collect()
}
