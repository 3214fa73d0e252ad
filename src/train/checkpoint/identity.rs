//! Whether a checkpoint is of the run that would be resumed from it.

use std::path::Path;

use super::format::CheckpointManifest;
use crate::config::{Config, LearningRateSchedule, differences as differing};
use crate::data::DataDigest;
use crate::model_folder::InitFrom;
use crate::{Error, Result};

/// What makes a run this one: on the CPU all of it decides every byte.
#[derive(Clone, Copy, Debug)]
pub struct RunIdentity<'a> {
    /// The resolved configuration.
    pub config: &'a Config,
    /// The digest of the training events.
    pub data: &'a DataDigest,
    /// What it begins from; `None`: random weights.
    pub init_from: Option<&'a InitFrom>,
}

impl RunIdentity<'_> {
    /// Refuses the checkpoint in `path`, of this manifest and configuration, where this run would not have come there.
    ///
    /// What may differ: the device, how often checkpoints are written and kept, and how often metrics are published;
    /// what the files of events are called and how they are read, as long as the events are the same; what is
    /// validated on. `epochs` may be raised where the learning rate does not depend on it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with each key, its value then and its value now.
    pub fn check(&self, path: &Path, manifest: &CheckpointManifest, then_config: &Config) -> Result<()> {
        let Self { config, data, init_from } = *self;
        let mut differences = Vec::new();
        let then = &manifest.data;
        if then.num_events != data.num_events {
            let (then, now) = (then.num_events, data.num_events);
            differences.push(format!("training events: {then} then, {now} now"));
        } else if then != data {
            differences.push(format!(
                "training events: as many ({}), but others or in another order (BLAKE3 {}… then, {}… now)",
                data.num_events,
                &then.blake3[..8.min(then.blake3.len())],
                &data.blake3[..8]
            ));
        }
        if manifest.init_from.as_ref() != init_from {
            let (then, now) = (begun_from(manifest.init_from.as_ref()), begun_from(init_from));
            differences.push(format!("init_from: {then} then, {now} now"));
        }
        let table = |config: &Config| config.table().unwrap_or_default();
        differences.extend(differing(&table(then_config), &table(config), |key| {
            may_differ(key, then_config, config)
        }));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::config(
            path.display().to_string(),
            format!("this checkpoint is of another run: {}", differences.join("; ")),
            "take the values of then; or begin again: add the option overwrite, or give a folder without checkpoints",
        ))
    }
}

fn may_differ(key: &str, then: &Config, now: &Config) -> bool {
    const HARMLESS: [&str; 4] = [
        "training.device",
        "training.checkpoint_interval",
        "training.keep_checkpoints",
        "hyperparameters.batch_metrics_publish_interval",
    ];
    if key == "hyperparameters.epochs" {
        let is_constant = now.training.learning_rate_schedule == LearningRateSchedule::Constant;
        return is_constant && now.hyperparameters.epochs > then.hyperparameters.epochs;
    }
    // The events themselves are compared.
    HARMLESS.contains(&key) || key.starts_with("data.")
}

fn begun_from(init_from: Option<&InitFrom>) -> String {
    init_from.map_or("nothing".into(), |InitFrom { blake3, num_optimizer_steps }| {
        let weights = format!("weights with BLAKE3 {}…", &blake3[..8.min(blake3.len())]);
        match num_optimizer_steps {
            0 => weights,
            steps => format!("{weights} and moments of {steps} steps"),
        }
    })
}
