use super::metrics::EpochMetrics;

/// Sums of the loss on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct HostSums {
    pub(super) cross_entropy: f64,
    pub(super) num_correct: f64,
    pub(super) num_pairs: f64,
}

impl HostSums {
    pub(super) fn add(&mut self, other: HostSums) {
        self.cross_entropy += other.cross_entropy;
        self.num_correct += other.num_correct;
        self.num_pairs += other.num_pairs;
    }

    pub(super) fn loss(&self) -> f64 {
        self.cross_entropy / self.num_pairs
    }

    pub(super) fn accuracy(&self) -> f64 {
        self.num_correct / self.num_pairs
    }
}

/// How far a run is, beside the model and its optimiser.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// The epoch that is under way, from 0.
    pub(super) epoch: u32,
    /// Steps of it that are done.
    pub(super) num_steps: usize,
    /// Seconds of it, as far as it was trained before this process.
    pub(super) seconds: f64,
    /// Sums over it, up to the last that were published.
    pub(super) of_epoch: HostSums,
    /// Sums since then, as far as they were read from the device.
    pub(super) of_interval: HostSums,
    /// For each table row, how many events it was trained on in the first epoch of this run and of those that it began
    /// from.
    pub(super) row_counts: Vec<u32>,
    /// The epochs that are finished.
    pub(super) epochs: Vec<EpochMetrics>,
}

impl Progress {
    /// Of a run that begins, from weights whose rows were trained on so many events.
    pub(super) fn new(row_counts: Vec<u32>) -> Self {
        Self { row_counts, ..Self::default() }
    }

    /// Goes on to the next epoch.
    pub(super) fn end_epoch(&mut self, metrics: EpochMetrics) {
        self.epochs.push(metrics);
        self.epoch += 1;
        self.num_steps = 0;
        self.seconds = 0.0;
        (self.of_epoch, self.of_interval) = Default::default();
    }
}
