//! What a run trains on, and the mini-batches that follow from it.

use std::ops::Range;

use super::checkpoint::{Checkpoint, CheckpointFolder};
use super::initial::InitialModel;
use crate::Result;
use crate::config::{Config, Hyperparameters};
use crate::data::{EpochOrder, Events};
use crate::device::ComputeDevice;
use crate::event::Address;

/// What a run trains on.
pub struct TrainInputs<'a> {
    /// The resolved configuration.
    pub config: &'a Config,
    /// The training events; at least one.
    pub events: &'a Events,
    /// Validation events, scored after each epoch.
    pub validation: Option<&'a Events>,
    /// Where to train.
    pub device: &'a ComputeDevice,
    /// Asked after every step: the number of a signal that asks the run to stop.
    pub stop: &'a (dyn Fn() -> Option<i32> + Sync),
    /// Where checkpoints go, as often as the configuration says, and one when a signal stops the run; none: nowhere.
    pub checkpoints: Option<CheckpointFolder<'a>>,
    /// What it begins from instead of random weights.
    pub init_from: Option<&'a InitialModel>,
    /// The checkpoint to resume from, of a run that [`super::RunIdentity::check`] finds to be this one.
    pub from: Option<&'a Checkpoint>,
    /// The number of epochs, those before the checkpoint included, after which the run pauses: a checkpoint is
    /// written, and the rest left for later. None: it trains to its end.
    pub until_epoch: Option<u32>,
}

impl TrainInputs<'_> {
    pub(super) fn hyperparameters(&self) -> &Hyperparameters {
        &self.config.hyperparameters
    }

    /// Refuses prepared files that were cut or changed meanwhile.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.validation.into_iter().chain([self.events]).try_for_each(Events::check_unchanged)
    }

    /// Of the whole run. More than a u32 counts would take longer than anybody waits.
    pub(super) fn num_epochs(&self) -> u32 {
        u32::try_from(self.hyperparameters().epochs).unwrap_or(u32::MAX)
    }

    pub(super) fn steps_per_epoch(&self) -> usize {
        self.events.len().div_ceil(self.hyperparameters().mini_batch_size)
    }

    /// The order of an epoch.
    pub(super) fn order(&self, epoch: u32) -> EpochOrder {
        EpochOrder::new(self.events.len(), self.config.training.seed, epoch)
    }

    /// The positions of each mini-batch of an epoch, from that of a step on; the last may be smaller.
    pub(super) fn mini_batches(&self, first_step: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (num_events, batch_size) = (self.events.len(), self.hyperparameters().mini_batch_size);
        let first = first_step.saturating_mul(batch_size).min(num_events);
        (first..num_events).step_by(batch_size).map(move |start| start..(start + batch_size).min(num_events))
    }

    /// The positions of the mini-batch of a step; none behind the last step.
    pub(super) fn mini_batch(&self, step: usize) -> Range<usize> {
        let num_events = self.events.len();
        self.mini_batches(step).next().unwrap_or(num_events..num_events)
    }
}

/// Mini-batches that may wait for the device.
pub(super) const PREFETCHED_MINI_BATCHES: usize = 3;

/// Bytes of mini-batches that wait, the one that is used and the one that is gathered, which is sorted.
pub(super) fn prefetched_bytes(mini_batch_size: usize) -> u64 {
    const OF_POSITIVE: usize = size_of::<u32>() + size_of::<Address>();
    const WHILE_SORTED: usize = 3 * size_of::<(u32, Address)>() / 2;
    (((PREFETCHED_MINI_BATCHES + 2) * OF_POSITIVE + WHILE_SORTED) * mini_batch_size) as u64
}
