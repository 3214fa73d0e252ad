//! The files of a sweep: the data that all trials map, the best model, tables and the report.

use std::fs;
use std::path::Path;

use ipsight_search::study::Study;
use serde::{Deserialize, Serialize};

use super::plan::{EarlyStopping, SweepPlan};
use super::report;
use super::trial::run_folder;
use crate::config::{Config, DataConfig};
use crate::{OutputFile, Result};

/// The folder of prepared data, within that of the sweep.
pub const DATA: &str = "data";
/// The best model's folder.
pub const BEST: &str = "best";
/// The configuration that trains it.
pub const BEST_CONFIG: &str = "best.toml";
/// The journal.
pub const JOURNAL: &str = "journal.log";
/// The table of trials.
pub const TRIALS: &str = "trials.csv";
/// The report.
pub const REPORT: &str = "report.html";

/// The prepared files of events, which all trials map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedData {
    /// Training events.
    pub train: String,
    /// Validation events.
    pub validation: Option<String>,
    /// Events of `[evaluation]` that carry no labels.
    pub evaluation: Option<String>,
    /// Number of training events.
    pub num_events: u64,
    /// BLAKE3 of the training events, in hexadecimal.
    pub blake3: String,
    /// That of the validation events.
    #[serde(default)]
    pub validation_blake3: Option<String>,
    /// That of the events of `[evaluation]`.
    #[serde(default)]
    pub evaluation_blake3: Option<String>,
}

impl PreparedData {
    /// The files, each with the digest of its events, where it is known.
    pub(super) fn files(&self) -> Vec<(&str, Option<&str>)> {
        let others =
            [(&self.validation, &self.validation_blake3), (&self.evaluation, &self.evaluation_blake3)];
        let others =
            others.into_iter().filter_map(|(file, blake3)| Some((file.as_deref()?, blake3.as_deref())));
        [(self.train.as_str(), Some(self.blake3.as_str()))].into_iter().chain(others).collect()
    }

    /// Makes these events the inputs of a training.
    pub(super) fn lay_over(&self, config: &mut Config) {
        config.data = DataConfig {
            train: vec![self.train.clone()],
            validation: self.validation.iter().cloned().collect(),
            ..DataConfig::default()
        };
    }

    /// The arguments of `ipsight evaluate` beside the model; `None` where no metric needs an evaluation.
    pub fn evaluation_args(&self, plan: &SweepPlan) -> Option<Vec<String>> {
        let mut metrics = plan.constraints.iter().map(|it| &it.metric).chain([&plan.metric]);
        if !metrics.any(|metric| metric.needs_evaluation()) {
            return None;
        }
        let asked = plan.file.evaluation.clone().unwrap_or_default();
        let mut args = vec!["--data".into()];
        match (asked.labels, &self.evaluation) {
            (true, _) => args.extend(asked.data),
            (false, Some(prepared)) => args.push(prepared.clone()),
            (false, None) => args.extend(self.validation.clone()),
        }
        if asked.labels {
            args.push("--labels".into());
        } else {
            args.extend(["--seed".into(), asked.seed.to_string()]);
        }
        let read = &plan.base.data;
        for (flag, column) in [
            ("--label-column", asked.label_column),
            ("--kind-column", asked.kind_column),
            ("--entity-column", read.entity_column.clone().filter(|_| asked.labels)),
            ("--ip-column", read.ip_column.clone().filter(|_| asked.labels)),
        ] {
            args.extend(column.into_iter().flat_map(|column| [flag.into(), column]));
        }
        if !asked.attacks.is_empty() {
            args.push("--attacks".into());
            args.extend(asked.attacks);
        }
        Some(args)
    }
}

/// Moves a trial's model to the place of the best one, unless that was done, and writes the configuration that trains it.
pub(super) fn keep_best(folder: &Path, model: &Path, config: &Config) -> Result<()> {
    if model.exists() {
        crate::durable::replace(model, &folder.join(BEST))?;
    }
    write(&folder.join(BEST_CONFIG), &config.to_toml())
}

/// Removes models and checkpoints of a trial that has ended. Its records stay.
pub(super) fn clear(trial_folder: &Path, num_trainings: usize) {
    for training in 0..num_trainings {
        let run = run_folder(trial_folder, training);
        let Ok(entries) = fs::read_dir(&run) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_model = name.starts_with("model") || name.starts_with(".model.");
            if is_model || ["checkpoints", "tensorboard"].contains(&name.as_str()) {
                // A folder that cannot be removed takes space, which is no reason to end the sweep.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// Writes the table of trials and the report.
///
/// # Errors
///
/// [`crate::Error::Io`].
pub fn write_files(folder: &Path, plan: &SweepPlan, study: &Study) -> Result<()> {
    let best_toml = match fs::read_to_string(folder.join(BEST_CONFIG)) {
        Ok(text) if study.best().is_some() => Some(text),
        _ => None,
    };
    let early_stopping = match plan.early_stopping {
        EarlyStopping::Off => "none",
        EarlyStopping::Asha(_) => "asha",
        EarlyStopping::Median(_) => "median",
    };
    let data = match plan.base.data.generated {
        Some(_) => vec!["generated logins".to_string()],
        None => plan.base.data.train.clone(),
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let page = report::page(&report::Subject {
        name: &name,
        metric: &plan.metric.to_string(),
        watched: &plan.watched.to_string(),
        method: plan.method.name(),
        early_stopping,
        space: &plan.space,
        study,
        best_toml: best_toml.as_deref(),
        data: &data,
    });
    write(&folder.join(TRIALS), &report::trials_csv(&plan.space, study))?;
    write(&folder.join(REPORT), &page)
}

fn write(path: &Path, text: &str) -> Result<()> {
    OutputFile::write_all_to(path, text.as_bytes())
}
