//! Thresholds that were chosen are kept in the folder of the model that was evaluated, and in no other.

use std::path::{Path, PathBuf};

use super::evaluation::Evaluation;
use crate::model_folder::{HeldFolder, Manifest};
use crate::thresholds::{THRESHOLDS, Thresholds};
use crate::{Error, Result};

/// Writes the thresholds of an evaluation, and its calibration, into the folder of the model, beside those of other
/// names, and returns the file; `None` where the evaluation chose none. `evaluated` is the manifest of the model that
/// was evaluated. The folder is locked from the comparison with it until the file is written, so that of evaluations
/// at the same time none loses another one's thresholds.
///
/// # Errors
///
/// [`Error::Data`] where the folder now holds another model, or where its thresholds are damaged; [`Error::Io`].
pub fn keep_thresholds(
    folder: &Path,
    evaluated: &Manifest,
    evaluation: &Evaluation,
) -> Result<Option<PathBuf>> {
    let Some(calibration) = evaluation.calibration.clone().filter(|_| !evaluation.thresholds.is_empty())
    else {
        return Ok(None);
    };
    let replaced = || {
        Err(Error::data(
            folder.display().to_string(),
            "another model has taken the place of the one that was evaluated: no thresholds were written",
            "run the same command again to evaluate the model that is there now",
        ))
    };
    let held = HeldFolder::open(folder)?;
    if held.manifest()?.files != evaluated.files {
        return replaced();
    }
    let weights = evaluated.weights_digest()?;
    let path = folder.join(THRESHOLDS);
    let known = held.read(THRESHOLDS)?;
    let known =
        known.map(|text| Thresholds::read(&path.display().to_string(), &text, weights)).transpose()?;
    let updated = Thresholds::updated(known, weights, &evaluation.thresholds, calibration)?;
    held.replace(THRESHOLDS, updated.text().as_bytes())?;
    // A folder that was moved away after the comparison has taken the file along.
    if held.is_in_place() { Ok(Some(path)) } else { replaced() }
}
