//! A loss, a score or a weight that is not finite: nothing more can come of such a run.

use std::path::PathBuf;

use super::inputs::TrainInputs;
use super::progress::Progress;
use super::step::TrainState;
use crate::inference::Scorer;
use crate::{Error, Event, Result};

/// Why a run cannot continue.
pub(super) enum Failure {
    NotFinite(NotFinite),
    Other(Error),
}

/// What was found not to be finite.
pub(super) struct NotFinite {
    pub(super) what: String,
    /// The step of the epoch in which it was first, where that is known.
    pub(super) step: Option<usize>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<NotFinite> for Failure {
    fn from(found: NotFinite) -> Self {
        Self::NotFinite(found)
    }
}

/// Checks the scores of some events, and the encoder's weights. The loss is that before the last update, which may have
/// been one too many.
pub(super) fn check_scores(scorer: &Scorer, state: &TrainState, sample: &[Event]) -> Result<(), Failure> {
    let sum = scorer.dot_products(sample)?.iter().sum::<f32>();
    if !sum.is_finite() {
        return Err(NotFinite { what: format!("the sum of scores became {sum}"), step: None }.into());
    }
    // A ReLU turns a weight that is no number into a score that is one.
    let sum = state.sum_of_parameters()?;
    if !sum.is_finite() {
        let what = format!("the sum of the encoder's weights became {sum}");
        return Err(NotFinite { what, step: None }.into());
    }
    Ok(())
}

/// The error that ends a run: what was found, in a step of the epoch or, where it is not known which, after the last
/// one; the mini-batch, by which it can be found again; and from where to begin again.
pub(super) fn diverged(
    found: NotFinite,
    inputs: &TrainInputs<'_>,
    progress: &Progress,
    last_checkpoint: Option<PathBuf>,
) -> Error {
    const SINCE: &str = "in a step since the last checkpoint or the beginning of the epoch, at the latest in";
    let (when, epoch, step) = match (found.step, progress.epoch, progress.num_steps) {
        (Some(step), epoch, _) => ("in", epoch, step),
        (None, epoch, 0) => (SINCE, epoch.saturating_sub(1), inputs.steps_per_epoch() - 1),
        (None, epoch, num_steps) => (SINCE, epoch, num_steps - 1),
    };
    let (order, positions) = (inputs.order(epoch), inputs.mini_batch(step));
    let (first, last) = (positions.start, positions.end.saturating_sub(1));
    let digest = inputs.events.digest_of(positions.map(|position| order.event_at(position)));
    let (checkpoint, from) = match last_checkpoint.map(|path| path.display().to_string()) {
        Some(path) => (
            format!("the last good checkpoint is {path}"),
            format!(
                ", from random weights; or, if the loss was small there, from the checkpoint: give init_from {path} \
                 and another output folder"
            ),
        ),
        None => ("there is no checkpoint yet".into(), String::new()),
    };
    Error::Diverged {
        what: format!(
            "{} {when} step {step} of epoch {epoch}, both from 0 as in metrics.jsonl; its mini-batch, positions \
             {first} to {last} of the epoch's order, has BLAKE3 {digest}; {checkpoint}",
            found.what
        ),
        help: format!(
            "lower hyperparameters.learning_rate (now {}) and train again{from}",
            inputs.hyperparameters().learning_rate
        ),
    }
}
