//! The report of an evaluation: one HTML page that needs no other file, and its plots as SVG files.
//!
//! The page has no script, and its content security policy forbids every request; values appear while a pointer is over
//! a curve.

mod html;
mod lost;
mod plots;
mod subject;
mod tables;

use std::path::{Path, PathBuf};

use crate::durable::create_folder;
use crate::evaluate::Evaluation;
use crate::{OutputFile, Result};

pub use lost::points_lost;
pub use subject::Subject;

/// Writes the report to a file.
///
/// # Errors
///
/// [`crate::Error::Io`] where that fails, [`crate::Error::Config`] where `path` is a folder.
pub fn write_html(path: &Path, evaluation: &Evaluation, subject: &Subject<'_>) -> Result<()> {
    OutputFile::write_all_to(path, html::page(evaluation, subject).as_bytes())
}

/// Writes the plots `roc.svg`, `scores.svg`, `precision_recall.svg`, `thresholds.svg` and, where there is a calibration,
/// `reliability.svg` into a folder, which is made if it is missing, and returns their paths.
///
/// # Errors
///
/// [`crate::Error::Io`] where that fails.
pub fn write_plots(folder: &Path, evaluation: &Evaluation) -> Result<Vec<PathBuf>> {
    create_folder(folder)?;
    let mut paths = Vec::new();
    for (name, svg) in plots::all(evaluation) {
        let path = folder.join(name).with_extension("svg");
        OutputFile::write_all_to(&path, svg.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}
