//! The figures of a training, and the events that it reports.

use super::run_memory::RunMemory;

/// What training reports to its caller.
#[derive(Clone, Debug)]
pub enum TrainEvent {
    /// Before anything is allocated for training.
    Started {
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// The epoch that it begins in, from 0: another than 0 where it resumes from a checkpoint.
        epoch: u32,
        /// Steps of that epoch which are done.
        num_steps_of_epoch: usize,
        /// What will be allocated.
        memory: RunMemory,
    },
    /// After each step; the device may still be at work on it.
    Step {
        /// Positive pairs of the mini-batch.
        num_positives: usize,
    },
    /// Every `batch_metrics_publish_interval` steps: means since the last time.
    Batch {
        /// From 0.
        epoch: u32,
        /// Step within the epoch, from 0.
        step: u32,
        /// Mean cross entropy.
        loss: f64,
        /// Share of pairs on the right side of 0.
        accuracy: f64,
    },
    /// Before a checkpoint is written: a run that resumes from it has reported what was reported so far.
    Checkpoint {
        /// Steps done.
        num_steps: usize,
    },
    /// After each epoch.
    Epoch(EpochMetrics),
}

impl TrainEvent {
    /// The event as one JSON object for machines: batches and epochs have one.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            TrainEvent::Started { .. } | TrainEvent::Step { .. } | TrainEvent::Checkpoint { .. } => None,
            TrainEvent::Batch { epoch, step, loss, accuracy } => Some(serde_json::json!({
                "event": "batch", "epoch": epoch, "step": step, "loss": loss, "accuracy": accuracy,
            })),
            TrainEvent::Epoch(metrics) => {
                let mut json = serde_json::json!({
                    "event": "epoch",
                    "epoch": metrics.epoch,
                    "loss": metrics.loss,
                    "accuracy": metrics.accuracy,
                    "discriminator_auc": metrics.discriminator_auc,
                    "positives_per_second": metrics.positives_per_second,
                    "seconds": metrics.seconds,
                });
                for (name, auc) in metrics.auc_by_family.named() {
                    json[name] = auc.into();
                }
                Some(json)
            }
        }
    }
}

/// The figures of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochMetrics {
    /// From 0.
    pub epoch: u32,
    /// Mean cross entropy over the epoch's pairs.
    pub loss: f64,
    /// Share of pairs on the right side of 0.
    pub accuracy: f64,
    /// ROC AUC of the validation events, each against a random address of its family; none without a validation set.
    pub discriminator_auc: Option<f64>,
    /// The same of the events of each family.
    pub auc_by_family: FamilyAucs,
    /// Positive pairs trained per second, validation not counted.
    pub positives_per_second: f64,
    /// Seconds of training, validation not counted.
    pub seconds: f64,
}

/// ROC AUCs by family: of a model that takes both, where there are validation events of the family.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FamilyAucs {
    /// Of the events with IPv4 addresses.
    pub ipv4: Option<f64>,
    /// Of those with IPv6 addresses.
    pub ipv6: Option<f64>,
}

impl FamilyAucs {
    /// Those that there are, under the names that they have wherever they are published.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [("discriminator_auc_ipv4", self.ipv4), ("discriminator_auc_ipv6", self.ipv6)];
        all.into_iter().filter_map(|(name, auc)| Some((name, auc?)))
    }
}
