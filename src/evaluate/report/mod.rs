//! The report of an evaluation: one HTML page that needs nothing else, and its drawings as files.
//!
//! The page holds no script and forbids itself every request; values appear when a curve is pointed at.

mod html;
mod plots;
mod svg;
mod tables;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::Evaluation;
use crate::artifact::Manifest;
use crate::config::Config;
use crate::{Error, OutputFile, Result};

/// What a report says beside the figures.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where the model came from.
    pub manifest: &'a Manifest,
    /// The configuration that it was trained with.
    pub config: &'a Config,
    /// The inputs that were evaluated, as they were named.
    pub data: &'a [String],
    /// The inputs of the history, as they were named.
    pub history: &'a [String],
}

/// Writes the report to a file.
///
/// # Errors
///
/// [`Error::Io`] where that fails, [`Error::Config`] where `path` is a folder.
pub fn write_html(path: &Path, evaluation: &Evaluation, subject: &Subject<'_>) -> Result<()> {
    write(path, &html::page(evaluation, subject))
}

/// Writes the drawings `roc.svg`, `scores.svg`, `precision_recall.svg` and `thresholds.svg` into a folder, which is made if it is
/// missing, and returns their paths.
///
/// # Errors
///
/// [`Error::Io`] where that fails.
pub fn write_plots(folder: &Path, evaluation: &Evaluation) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    plots::all(evaluation)
        .into_iter()
        .map(|(name, svg)| {
            let path = folder.join(name).with_extension("svg");
            write(&path, &svg).map(|()| path)
        })
        .collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = OutputFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(Error::io("write", path))?;
    file.commit()
}

/// Points at which a detector other than the model and the best possible one is better than the model by more
/// than both intervals, in words.
pub fn points_lost(evaluation: &Evaluation) -> Vec<String> {
    let model = &evaluation.model().all;
    let mut lost = Vec::new();
    let rivals = evaluation.detectors.iter().skip(1).filter(|(name, _)| name != super::BAYES);
    for (name, rival) in rivals {
        if let (Some([low, _]), Some([_, high])) = (rival.all.auc_ci, model.auc_ci)
            && low > high
        {
            lost.push(format!("{name} has the larger AUC"));
        }
        for ((target, rival), (_, model)) in rival.all.fpr_at_tpr.iter().zip(&model.fpr_at_tpr) {
            if rival.fpr_ci[1] < model.fpr_ci[0] {
                lost.push(format!("{name} at TPR {target}: FPR {:.5} against {:.5}", rival.fpr, model.fpr));
            }
        }
        for ((target, rival), (_, model)) in rival.all.tpr_at_fpr.iter().zip(&model.tpr_at_fpr) {
            if rival.tpr_ci[0] > model.tpr_ci[1] {
                lost.push(format!("{name} at FPR {target}: TPR {:.5} against {:.5}", rival.tpr, model.tpr));
            }
        }
    }
    lost
}
