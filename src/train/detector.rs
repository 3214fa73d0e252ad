//! The detector of a model with a usage history: counts of the training events, and the head that is fitted on them.

use std::path::Path;

use super::initial::InitialModel;
use crate::allocator::give_back;
use crate::config::{Config, DetectorKind};
use crate::data::{EpochOrder, Events};
use crate::event::Address;
use crate::history::{self, Detector, EventLog, FitOptions, FittedDetector, Options, fit_head};
use crate::networks::Networks;
use crate::{At, Error, Event, Result};

/// The epoch whose order the events are counted in where they have no times: one that no training reaches.
const COUNTING_EPOCH: u32 = u32::MAX;

/// Refuses events of which no history can be made, and those that cannot be added to the history of the model that a run
/// begins from.
///
/// # Errors
///
/// [`Error::Data`] where there are 2^32 events or more. [`Error::Config`] where the history has times and the events have
/// none, or the other way round.
pub fn check_history(events: &Events, config: &Config, init_from: Option<&InitialModel>) -> Result<()> {
    if config.model.detector == DetectorKind::Engine {
        return Ok(());
    }
    if u32::try_from(events.len()).is_err() {
        let what = format!("{} are more than a history is made of at once", events.len());
        let help =
            "train on a part of them, and add the others by --init-from; or set model.detector = \"engine\"";
        return Err(Error::data("training events", what, help));
    }
    let Some(initial) = init_from else { return Ok(()) };
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
/// The events are copied in that order, and are gone where the caller has no other handle on them.
///
/// Events without times are counted in a random order that the seed determines, because files are often grouped by
/// account, and a head has to be fitted on what was known before each event.
///
/// Where the run begins from a model with a history, the events are added to it. The head is then that of the model,
/// which is one function for all accounts, unless the run has more events than the history, or a table of networks where the
/// model had none. Without `networks` the model's table stays.
///
/// # Errors
///
/// As [`FittedDetector::fit`] and [`history::merge`].
pub fn fit_detector(
    events: Events,
    config: &Config,
    init_from: Option<&InitialModel>,
    networks: Option<&Networks>,
    folder: &Path,
) -> Result<Option<RunDetector>> {
    if config.model.detector == DetectorKind::Engine {
        return Ok(None);
    }
    let seed = config.training.seed;
    give_back(); // what training has freed
    let columns = Columns::of(events, seed)?;
    give_back();
    let log = columns.log();
    let options = Options {
        max_networks: config.model.max_networks_per_entity,
        temporary_folder: folder.to_path_buf(),
        memory_bytes: counting_bytes(log.len() as u64),
    };
    let detector = match init_from.and_then(InitialModel::detector) {
        Some(before) => add(before, &log, networks, seed, &options)?,
        None => {
            RunDetector { fitted: FittedDetector::fit(&log, networks, seed, &options)?, num_overlapping: 0 }
        }
    };
    Ok(Some(detector))
}

/// Whether a head is fitted on so many events, or that of the detector before is kept.
pub(super) fn fits_head(num_events: usize, before: Option<&Detector>) -> bool {
    before.is_none_or(|before| num_events as u64 > before.history.summary().events)
}

/// Adds the events of a log to a detector.
fn add(
    before: &Detector,
    log: &EventLog<'_>,
    networks: Option<&Networks>,
    seed: u64,
    options: &Options,
) -> Result<RunDetector> {
    let networks = networks.or(before.owners.as_ref().map(|owners| &owners.networks));
    // Bounded once, together.
    let unbounded = Options { max_networks: None, ..options.clone() };
    let counted = FittedDetector::count(log, &unbounded)?;
    let uses_networks = before.head.uses_networks();
    let head = match fits_head(log.len(), Some(before)) || uses_networks != networks.is_some() {
        true => fit_head(log, networks, &FitOptions::of_seed(seed))?,
        false => before.head.clone(),
    };
    let counted = history::History::open(&counted)?;
    let sum = FittedDetector::temporary_file(&options.temporary_folder)?;
    let report = history::merge(&[&before.history, &counted], options, &sum)?;
    let fitted = FittedDetector { history: sum, head, networks: None }.with_networks(networks)?;
    Ok(RunDetector { fitted, num_overlapping: report.overlapping_accounts })
}

/// Bytes of the copy of so many events in their order.
pub(super) fn log_bytes(num_events: u64) -> u64 {
    num_events * Columns::EVENT_BYTES
}

/// Bytes that counting so many events and fitting the head take beside their copy.
pub(super) fn detector_bytes(num_events: u64, fits_head: bool) -> u64 {
    let options = Options { memory_bytes: counting_bytes(num_events), ..Options::default() };
    options.max_bytes(num_events).max(if fits_head { history::fit_bytes(num_events) } else { 0 })
}

/// Bytes that counting may take beside the log: with what it takes on top of them, less than the fit of the head takes after
/// it, so that temporary files are used as little as can be.
fn counting_bytes(num_events: u64) -> usize {
    const RANGE: (u64, u64) = (64 << 20, 2 << 30);
    (history::fit_bytes(num_events) / 2).clamp(RANGE.0, RANGE.1) as usize
}

/// The events in the order in which they are counted: that of their times, or a random one.
struct Columns {
    entities: Vec<u64>,
    addresses: Vec<Address>,
    /// As long as the others, or empty.
    times: Vec<i64>,
}

impl Columns {
    /// Bytes of an event, with its time.
    const EVENT_BYTES: u64 = (size_of::<u64>() + size_of::<Address>() + size_of::<i64>()) as u64;

    fn of(events: Events, seed: u64) -> Result<Self> {
        let (len, have_times) = (events.len(), events.have_times());
        let mut columns = Self {
            entities: Vec::with_capacity(len),
            addresses: Vec::with_capacity(len),
            times: Vec::with_capacity(if have_times { len } else { 0 }),
        };
        match events.order_by_time()? {
            Some(order) => order.into_iter().for_each(|index| columns.push_at(&events, index as usize)),
            None if have_times => events.into_timed().for_each(|(event, time)| columns.push(event, time)),
            None => {
                let order = EpochOrder::new(len, seed, COUNTING_EPOCH);
                (0..len).for_each(|position| columns.push_at(&events, order.event_at(position)));
            }
        }
        Ok(columns)
    }

    fn push_at(&mut self, events: &Events, index: usize) {
        self.push(events.get(index), events.time(index));
    }

    fn push(&mut self, event: Event, time: Option<u32>) {
        self.entities.push(event.entity);
        self.addresses.push(event.address);
        self.times.extend(time.map(i64::from));
    }

    fn log(&self) -> EventLog<'_> {
        let times = (!self.times.is_empty()).then_some(&self.times[..]);
        EventLog { entities: &self.entities, addresses: &self.addresses, times, order: None }
    }
}
