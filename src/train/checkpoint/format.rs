//! The layout of a checkpoint: names of files and tensors, and the manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::DataDigest;
use crate::model_folder::{FileEntry, InitFrom};
use crate::train::metrics::{EpochMetrics, FamilyAucs};

/// Version of the folder's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 3;

pub(super) const MANIFEST: &str = "manifest.json";
pub(in crate::train) const STATE: &str = "state.safetensors";
pub(super) const CONFIG: &str = "config.toml";

/// Tensors of the state beside those of the model and its optimiser.
pub(super) const ROW_COUNTS: &str = "entity_row_counts";
pub(super) const SUMS: &str = "loss_sums";
pub(super) const UNREAD_SUMS: &str = "unread_loss_sums";
pub(super) const SECONDS: &str = "epoch_seconds";
pub(super) const EPOCHS: &str = "epoch_metrics";

/// Figures of a finished epoch in [`EPOCHS`].
pub(super) const FIGURES_OF_EPOCH: usize = 7;

/// `manifest.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointManifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of `ipsight` that wrote it.
    pub ipsight_version: String,
    /// Name and version of the entity hash: [`crate::event::ENTITY_HASH`].
    pub entity_hash: String,
    /// Steps done, of all epochs.
    pub num_steps: usize,
    /// The epoch that was under way, from 0.
    pub epoch: u32,
    /// Steps of it that were done.
    pub num_steps_of_epoch: usize,
    /// 3, or 0 where all sums of the loss had been read back from the device.
    pub num_unread_sums: usize,
    /// What the run trains on.
    pub data: DataDigest,
    /// What it began from; `None`: random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
    /// The other files of the folder.
    pub files: BTreeMap<String, FileEntry>,
}

impl CheckpointManifest {
    /// Steps that the moments of Adam know of before those of the run.
    pub(super) fn num_steps_before(&self) -> usize {
        self.init_from.as_ref().map_or(0, |init_from| init_from.num_optimizer_steps)
    }

    /// What a run records that begins from this checkpoint.
    pub(in crate::train) fn as_init_from(&self) -> InitFrom {
        let blake3 = self.files.get(STATE).map_or(String::new(), |file| file.blake3.clone());
        InitFrom { blake3, num_optimizer_steps: self.num_steps_before() + self.num_steps }
    }
}

/// The figures of an epoch as [`EPOCHS`] holds them; [`epoch_metrics`] is the inverse.
pub(super) fn figures(metrics: &EpochMetrics) -> [f64; FIGURES_OF_EPOCH] {
    let FamilyAucs { ipv4, ipv6 } = metrics.auc_by_family;
    let [auc, ipv4, ipv6] = [metrics.discriminator_auc, ipv4, ipv6].map(|auc| auc.unwrap_or(f64::NAN));
    [metrics.loss, metrics.accuracy, auc, metrics.positives_per_second, metrics.seconds, ipv4, ipv6]
}

/// The figures of an epoch, with its number.
pub(super) fn epoch_metrics((figures, epoch): (&[f64], u32)) -> EpochMetrics {
    let auc = |figure: f64| Some(figure).filter(|auc| !auc.is_nan());
    EpochMetrics {
        epoch,
        loss: figures[0],
        accuracy: figures[1],
        discriminator_auc: auc(figures[2]),
        auc_by_family: FamilyAucs { ipv4: auc(figures[5]), ipv6: auc(figures[6]) },
        positives_per_second: figures[3],
        seconds: figures[4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_an_epoch_comes_back() {
        for discriminator_auc in [None, Some(0.1 + 0.2)] {
            let (loss, accuracy) = (1.0 / 3.0, f64::MIN_POSITIVE);
            let metrics = EpochMetrics {
                epoch: 4,
                loss,
                accuracy,
                discriminator_auc,
                auc_by_family: FamilyAucs { ipv4: discriminator_auc, ipv6: Some(0.7) },
                positives_per_second: 1e300,
                seconds: 0.1,
            };
            assert_eq!(epoch_metrics((&figures(&metrics), 4)), metrics);
        }
    }
}
