//! The report of an evaluation: one HTML page that needs nothing else, and its drawings as files.
//!
//! The page holds no script and forbids itself every request; values appear when a curve is pointed at.

mod html;
mod plots;
mod tables;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Evaluation, Figures};
use crate::config::Config;
use crate::model_folder::Manifest;
use crate::report::raster;
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
    write(path, html::page(evaluation, subject).as_bytes())
}

/// Writes the drawings `roc.svg`, `scores.svg`, `precision_recall.svg`, `thresholds.svg` and, where there is a
/// calibration, `reliability.svg` into a folder, which is made if it is missing, each with a PNG file of the same name
/// beside it, and returns their paths.
///
/// # Errors
///
/// [`Error::Io`] where that fails.
pub fn write_plots(folder: &Path, evaluation: &Evaluation) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut paths = Vec::new();
    for (name, drawing) in plots::all(evaluation) {
        let path = folder.join(name).with_extension("svg");
        write(&path, drawing.svg.as_bytes())?;
        paths.push(path);
        let path = folder.join(name).with_extension("png");
        let png = raster::png(&drawing.shapes).map_err(Error::io("write", &path))?;
        write(&path, &png)?;
        paths.push(path);
    }
    Ok(paths)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = OutputFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.commit()
}

/// For each detector but the model and the best possible one: the points at which it is better than the model by
/// more than both intervals, in words. Detectors without such points are left out.
pub fn points_lost(evaluation: &Evaluation) -> Vec<(&str, Vec<String>)> {
    let model = &evaluation.model().all;
    let rivals = evaluation.detectors.iter().skip(1).filter(|(name, _)| name != super::BAYES);
    let lost = rivals.map(|(name, rival)| (name.as_str(), points_lost_to(&rival.all, model)));
    lost.filter(|(_, points)| !points.is_empty()).collect()
}

fn points_lost_to(rival: &Figures, model: &Figures) -> Vec<String> {
    let mut lost = Vec::new();
    if let (Some([low, _]), Some([_, high])) = (rival.auc_ci, model.auc_ci)
        && low > high
    {
        lost.push(format!("AUC {:.5} > {:.5}", rival.auc.unwrap_or_default(), model.auc.unwrap_or_default()));
    }
    for ((target, rival), (_, model)) in rival.fpr_at_tpr.iter().zip(&model.fpr_at_tpr) {
        if rival.fpr_ci[1] < model.fpr_ci[0] {
            lost.push(format!("FPR at TPR {target}: {:.5} < {:.5}", rival.fpr, model.fpr));
        }
    }
    for ((target, rival), (_, model)) in rival.tpr_at_fpr.iter().zip(&model.tpr_at_fpr) {
        if rival.tpr_ci[0] > model.tpr_ci[1] {
            lost.push(format!("TPR at FPR {target}: {:.5} > {:.5}", rival.tpr, model.tpr));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{TPR_TARGETS, figures, figures_of};

    #[test]
    fn points_are_lost_by_more_than_the_intervals_only() {
        let targets = figures::Targets { tpr: TPR_TARGETS.to_vec(), fpr: vec![0.01], user_days: None };
        let ordinary: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let figures = |shift: f32| {
            let attacks: Vec<f32> = ordinary.iter().map(|score| score + shift).collect();
            figures_of(&attacks, &ordinary, &targets).unwrap()
        };
        assert_eq!(points_lost_to(&figures(301.0), &figures(300.0)), Vec::<String>::new());
        assert_eq!(points_lost_to(&figures(300.0), &figures(900.0)), Vec::<String>::new());
        let lost = points_lost_to(&figures(900.0), &figures(300.0));
        assert_eq!(lost.len(), 1 + TPR_TARGETS.len() + 1, "{lost:?}");
    }
}
