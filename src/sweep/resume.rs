//! The journal of a sweep that begins, and of one that is resumed.

use std::path::Path;

use ipsight_search::journal::{Journal, first_line};
use ipsight_search::study::Study;
use serde_json::{Value as Json, json};
use toml::Table;

use super::error::of_journal;
use super::outcome::{JOURNAL, PreparedData};
use super::plan::SweepPlan;
use crate::config::differences;
use crate::data::{DataDigest, ReadOptions, load_events, resolve_inputs};
use crate::{Error, OutputFile, Result};

/// The journal's attributes.
const SWEEP: &str = "sweep";
const PREPARED: &str = "data";

/// Keys in which a resumed sweep may differ: when it ends, and where it computes.
fn may_differ(key: &str) -> bool {
    key.starts_with("budget.") || key == "config.training.device"
}

/// Begins the journal of a sweep in its folder.
///
/// # Errors
///
/// [`Error::Config`] where the folder has one, [`Error::Io`].
pub fn begin(folder: &Path, plan: &SweepPlan, data: &PreparedData) -> Result<(Journal, Study)> {
    let path = folder.join(JOURNAL);
    if path.symlink_metadata().is_ok() {
        let help = "resume the sweep that it belongs to, or begin another in a new folder";
        return Err(Error::config(path.display().to_string(), "there is a journal already", help));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    OutputFile::write_all_to(&path, first_line(&name, plan.goal).as_bytes())?;
    let (mut journal, study) = Journal::open(&path, plan.goal, &plan.space).map_err(of_journal)?;
    journal.set_metric_name(&plan.metric.to_string()).map_err(of_journal)?;
    journal.set_study_attr(PREPARED, json!(data)).map_err(of_journal)?;
    // Last: without it the sweep was interrupted before it began.
    journal.set_study_attr(SWEEP, json!(plan.to_toml())).map_err(of_journal)?;
    Ok((journal, study))
}

/// Reads the journal of a sweep in a folder; `None` without one, or if the sweep was interrupted before its data were
/// recorded.
///
/// # Errors
///
/// [`Error::Config`] where it was begun with another file, with each difference; else as of a journal that is opened.
pub fn go_on(folder: &Path, plan: &SweepPlan) -> Result<Option<(Journal, Study, PreparedData)>> {
    let path = folder.join(JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    let (journal, study) = Journal::open(&path, plan.goal, &plan.space).map_err(of_journal)?;
    let attrs = journal.study_attrs();
    let (Some(sweep), Some(data)) = (attrs.get(SWEEP).and_then(Json::as_str), attrs.get(PREPARED)) else {
        return Ok(None);
    };
    check_same(folder, sweep, plan)?;
    let data: PreparedData = serde_json::from_value(data.clone()).map_err(|error| {
        Error::data(
            path.display().to_string(),
            format!("`{PREPARED}`: {error}"),
            "begin a sweep in another folder",
        )
    })?;
    data.files().into_iter().try_for_each(|(file, blake3)| check_data(file, blake3, plan))?;
    Ok(Some((journal, study, data)))
}

/// What tells the events of a prepared file.
///
/// # Errors
///
/// Those of reading it.
pub fn digest(file: &str, plan: &SweepPlan) -> Result<DataDigest> {
    let options = ReadOptions { addresses: plan.base.model.addresses, ..ReadOptions::default() };
    Ok(load_events(&resolve_inputs(&[file])?, &options)?.0.digest())
}

/// Refuses events that are not there, or are not those that the sweep was begun on. Version 0.1.0 kept the digest of the
/// training events alone.
fn check_data(file: &str, blake3: Option<&str>, plan: &SweepPlan) -> Result<()> {
    if !Path::new(file).exists() {
        let help = "run where the sweep was begun, or begin one in another folder";
        return Err(Error::config(file, "the sweep's data is not there", help));
    }
    match blake3 {
        Some(blake3) if digest(file, plan)?.blake3 != blake3 => {
            let what = "these are not the events that the sweep was begun on";
            Err(Error::config(file, what, "begin a sweep in another folder"))
        }
        _ => Ok(()),
    }
}

fn check_same(folder: &Path, then: &str, plan: &SweepPlan) -> Result<()> {
    let table = |text: &str| text.parse::<Table>().unwrap_or_default();
    let differences = differences(&table(then), &table(&plan.to_toml()), may_differ);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::config(
        folder.display().to_string(),
        format!("this folder is of another sweep: {}", differences.join("; ")),
        "take what was taken then, or begin a sweep in another folder",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_journal_that_exists_is_not_begun_again() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/sweeps/quick.toml");
        let plan = SweepPlan::load(Path::new(file), &[]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (validation, evaluation) = (None, None);
        let data = PreparedData {
            train: "train.arrow".into(),
            validation,
            evaluation,
            num_events: 1,
            blake3: "0".into(),
            validation_blake3: None,
            evaluation_blake3: None,
        };
        let (journal, study) = begin(folder.path(), &plan, &data).unwrap();
        let path = folder.path().join(JOURNAL);
        let bytes = fs::read(&path).unwrap();
        let again = begin(folder.path(), &plan, &data);
        assert!(matches!(again, Err(Error::Config { .. })), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let (opened, read) = Journal::open(&path, plan.goal, &plan.space).unwrap();
        assert_eq!((read, opened.study_attrs()), (study, journal.study_attrs()));
    }
}
