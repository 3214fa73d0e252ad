//! Figures of a trial that the sweep itself sets and reads.

use ipsight_search::study::Trial;
use serde_json::Value;

/// The epoch at which a trial's last leg was to pause.
pub(super) const UNTIL_EPOCH: &str = "until_epoch";
/// The epochs of all trainings of a trial together.
pub(super) const TRAINED_EPOCHS: &str = "trained_epochs";
/// The position of the training whose model is the trial's.
pub(super) const BEST_TRAINING: &str = "best_training";
/// The seconds that a trial's legs took together.
pub(super) const WALL_SECONDS: &str = "wall_seconds";
/// The epochs of each training, once the trial is complete.
pub(super) const NUM_EPOCHS: &str = "num_epochs";

/// A number among a trial's figures.
pub(super) fn number(trial: &Trial, name: &str) -> Option<f64> {
    trial.figures.get(name).and_then(Value::as_f64)
}

fn whole_number(trial: &Trial, name: &str) -> Option<u64> {
    trial.figures.get(name).and_then(Value::as_u64)
}

/// The epoch at which a trial's last leg was to pause.
pub(super) fn until_epoch(trial: &Trial) -> Option<u32> {
    u32::try_from(whole_number(trial, UNTIL_EPOCH)?).ok()
}

/// The epochs that all trainings of a trial have trained together.
pub(super) fn trained_epochs(trial: &Trial, num_trainings: u64) -> u64 {
    let recorded = whole_number(trial, TRAINED_EPOCHS).unwrap_or(0);
    recorded.max(num_trainings * u64::from(num_epochs(trial)))
}

/// The epochs that each of a trial's trainings has trained.
pub fn num_epochs(trial: &Trial) -> u32 {
    let of_figures = whole_number(trial, NUM_EPOCHS).map_or(0, |num| u32::try_from(num).unwrap_or(u32::MAX));
    let of_curve = trial.intermediate.last_key_value().map_or(0, |(epoch, _)| *epoch);
    of_curve.max(of_figures)
}

/// The position of the training whose model is the trial's.
pub(super) fn best_training(trial: &Trial) -> usize {
    whole_number(trial, BEST_TRAINING).unwrap_or(0) as usize
}
