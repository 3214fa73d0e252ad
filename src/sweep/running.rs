//! A trial whose processes run now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::process::Stopper;

/// A trial whose processes run now.
pub(super) struct Running {
    /// The epoch at which it pauses.
    pub until_epoch: Option<u32>,
    /// Stops its processes.
    pub stopper: Stopper,
    /// The memory that it takes.
    pub num_bytes: u64,
    /// The epochs of each of its trainings.
    pub num_epochs: u32,
    began: Instant,
    /// Of each training the metric that early stopping compares, if it has one, by the epochs that were reported.
    curves: Vec<BTreeMap<u32, Option<f64>>>,
    /// When it was asked to stop.
    stopping: Option<Instant>,
}

impl Running {
    /// A trial that begins now.
    pub fn new(until_epoch: Option<u32>, num_bytes: u64, num_epochs: u32, num_trainings: usize) -> Self {
        Self {
            until_epoch,
            stopper: Stopper::default(),
            num_bytes,
            num_epochs,
            began: Instant::now(),
            curves: vec![BTreeMap::new(); num_trainings],
            stopping: None,
        }
    }

    /// Asks its processes to stop, which ends the trial; once.
    pub fn ask_to_stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now());
            self.stopper.ask();
        }
    }

    /// Whether it was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether it was asked to stop longer than this ago.
    pub fn is_late(&self, patience: Duration) -> bool {
        self.stopping.is_some_and(|asked| asked.elapsed() > patience)
    }

    /// Seconds since it began.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Keeps the metric of a training after an epoch; false if it had been reported.
    pub fn add(&mut self, training: usize, epoch: u32, value: Option<f64>) -> bool {
        self.curves[training].insert(epoch, value).is_none()
    }

    /// The epochs that its trainings have reported together, each to its last.
    pub fn num_reported_epochs(&self) -> u64 {
        let last = self.curves.iter().filter_map(|curve| curve.last_key_value());
        last.map(|(epoch, _)| u64::from(*epoch)).sum()
    }

    /// The metric by epochs: the mean over the trainings that have reported it, and whether all have.
    pub fn means(&self) -> BTreeMap<u32, (f64, bool)> {
        let mut found: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (epoch, value) in self.curves.iter().flatten() {
            found.entry(*epoch).or_default().extend(value);
        }
        found.retain(|_, values| !values.is_empty());
        let num_trainings = self.curves.len();
        found.into_iter().map(|(epoch, of)| (epoch, (mean(&of), of.len() == num_trainings))).collect()
    }
}

/// The mean of at least one value.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
