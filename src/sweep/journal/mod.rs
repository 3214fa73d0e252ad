//! The lasting form of a study: a journal in the format of Optuna's `JournalFileBackend`, one JSON object a line, so
//! that Optuna and optuna-dashboard open it. The format is that of Optuna 5.0.0, `optuna/storages/journal`.
//!
//! What belongs to one event is written at once, and its last line makes it count: [`Journal::open`] cuts off what a
//! kill left of an event behind the last whole one. A trial is one line with all its parameters. An ending is
//! `failure` and `constraints`, where there are any, and then the state.

mod distribution;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod json;
mod operations;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::space::{Assignment, Space};
use super::study::{Goal, Study, Trial, TrialState};
use crate::{Error, OutputFile, Result};

use replay::Replay;

/// The lasting form of a study. Each change of the [`Study`] is written before it is made, so that after an error the
/// two agree. It has no lock: its one writer holds the folder's.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The name of each parameter of the space, and its distribution.
    parameters: Vec<(String, String)>,
    study_attrs: Map<String, Value>,
    /// The length to which the file has to be cut before anything else is written: behind it a write failed.
    torn_at: Option<u64>,
}

/// How a trial ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Any but [`TrialState::Running`].
    pub state: TrialState,
    /// The metric that is looked for. A failed trial has none.
    pub value: Option<f64>,
    /// For each constraint how far it is violated: above 0 it is, at 0 or below it holds.
    pub constraints: Vec<f64>,
    /// Why there is no result.
    pub failure: Option<String>,
}

impl Journal {
    /// Begins the journal of a new study. It is there with its first line or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where there is something at `path`, [`Error::Io`] where it cannot be written.
    pub fn create(path: &Path, name: &str, goal: Goal, space: &Space) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            let help = "resume the sweep that it belongs to, or begin another in a new folder";
            return Err(Error::config(path.display().to_string(), "there is a journal already", help));
        }
        let mut file = OutputFile::create(path)?;
        file.write_all(operations::create_study(name, goal).as_bytes()).map_err(Error::io("write", path))?;
        file.commit()?;
        Ok(Self::new(path, open_file(path)?, space, Map::new()))
    }

    /// Reads a journal back and goes on with it. What stands behind the last whole event is removed from the file:
    /// a line that was cut off, and the lines of an ending without its last.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the goal, or a trial's parameter, its domain or its condition is another than here;
    /// [`Error::Data`] where anything else is not what this journal writes; [`Error::Io`].
    pub fn open(path: &Path, goal: Goal, space: &Space) -> Result<(Self, Study)> {
        let mut file = open_file(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        let Replay { name, study, attrs, num_whole_bytes, .. } = Replay::of(path, &bytes, goal, space)?;
        if name.is_none() {
            let help = "remove it and begin the sweep anew: it holds no trial";
            return Err(Error::data(path.display().to_string(), "the journal has no whole line", help));
        }
        if num_whole_bytes < bytes.len() {
            file.set_len(num_whole_bytes as u64).map_err(Error::io("truncate", path))?;
        }
        Ok((Self::new(path, file, space, attrs), study))
    }

    /// The study's own attributes, which are Optuna's user attributes.
    pub fn study_attrs(&self) -> &Map<String, Value> {
        &self.study_attrs
    }

    /// Sets one of them; nothing is written where it is that already.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], here and below, after which the file is as it was before: what was written in part is removed,
    /// at the latest before the next write.
    pub fn set_study_attr(&mut self, key: &str, value: Value) -> Result<()> {
        if self.study_attrs.get(key) != Some(&value) {
            self.append(&operations::set_study_attr(key, &value))?;
            self.study_attrs.insert(key.into(), value);
        }
        Ok(())
    }

    /// Names what is looked for, as Optuna's plots show it.
    pub fn set_metric_name(&mut self, name: &str) -> Result<()> {
        self.append(&operations::set_metric_name(name))
    }

    /// Begins a trial and returns its number. `now` is in seconds since 1970 and kept in whole microseconds.
    ///
    /// # Panics
    ///
    /// If the assignment is of another space.
    pub fn begin_trial(&mut self, study: &mut Study, assignment: Assignment, now: f64) -> Result<usize> {
        assert_eq!(assignment.len(), self.parameters.len(), "an assignment of another space");
        let started = operations::micros(now);
        self.append(&operations::create_trial(&self.parameters, &assignment, started))?;
        let number = study.trials.len();
        study.trials.push(new_trial(number, assignment, operations::seconds(started)));
        Ok(number)
    }

    /// Keeps the watched metric after `epoch` epochs. An epoch that is there already stays as it is.
    ///
    /// # Panics
    ///
    /// If the trial has ended, here and below.
    pub fn report(&mut self, study: &mut Study, trial: usize, epoch: u32, value: f64) -> Result<()> {
        if let Entry::Vacant(new) = running(study, trial).intermediate.entry(epoch) {
            self.append(&operations::set_intermediate(trial, epoch, value))?;
            new.insert(value);
        }
        Ok(())
    }

    /// Sets a figure beside the metric, a user attribute of the trial; nothing is written where it is that already.
    ///
    /// # Panics
    ///
    /// If the name is `failure`, which is an ending's.
    pub fn set_figure(&mut self, study: &mut Study, trial: usize, name: &str, value: Value) -> Result<()> {
        assert_ne!(name, operations::FAILURE, "this name is taken");
        let figures = &mut running(study, trial).figures;
        if figures.get(name) != Some(&value) {
            self.append(&operations::set_trial_attr(trial, name, &value))?;
            figures.insert(name.into(), value);
        }
        Ok(())
    }

    /// Ends a trial, and has the disk take the journal up to here. `now` is in seconds since 1970.
    ///
    /// As in Optuna's `tell`, a trial without a value, or with one that is NaN, fails instead of being complete, and
    /// one that was pruned then has none. A constraint that is NaN is violated, without measure: Optuna would take it
    /// for one that holds.
    ///
    /// # Panics
    ///
    /// If it ends as one that runs.
    pub fn finish(&mut self, study: &mut Study, trial: usize, ending: Ending, now: f64) -> Result<()> {
        let ended = running(study, trial);
        let Ending { state, value, constraints, failure } = as_optuna_takes_it(ending);
        let now = operations::micros(now);
        let mut lines = String::new();
        if let Some(failure) = &failure {
            lines += &operations::set_trial_attr(trial, operations::FAILURE, &Value::from(failure.as_str()));
        }
        if !constraints.is_empty() {
            lines += &operations::set_constraints(trial, &constraints);
        }
        self.append(&(lines + &operations::end_trial(trial, state, value, now)))?;
        (ended.state, ended.value, ended.ended) = (state, value, Some(operations::seconds(now)));
        (ended.constraints, ended.failure) = (constraints, failure);
        self.file.sync_data().map_err(Error::io("sync", &self.path))
    }

    fn new(path: &Path, file: File, space: &Space, study_attrs: Map<String, Value>) -> Self {
        let parameters = space.parameters.iter();
        let parameters =
            parameters.map(|p| (p.name.clone(), distribution::distribution(&p.domain))).collect();
        Self { path: path.into(), file, parameters, study_attrs, torn_at: None }
    }

    /// Writes whole lines, all or none.
    fn append(&mut self, lines: &str) -> Result<()> {
        self.mend()?;
        let length = self.file.metadata().map_err(Error::io("read", &self.path))?.len();
        self.file.write_all(lines.as_bytes()).map_err(|error| {
            // Half a line would run into the next. Where it cannot be removed now, it has to be then.
            self.torn_at = Some(length);
            let _ = self.mend();
            Error::io("write", &self.path)(error)
        })
    }

    fn mend(&mut self) -> Result<()> {
        if let Some(length) = self.torn_at {
            self.file.set_len(length).map_err(Error::io("truncate", &self.path))?;
            self.torn_at = None;
        }
        Ok(())
    }
}

/// Each write goes to the end: a dashboard may have written there.
fn open_file(path: &Path) -> Result<File> {
    File::options().read(true).append(true).open(path).map_err(Error::io("open", path))
}

fn running(study: &mut Study, trial: usize) -> &mut Trial {
    let trial = &mut study.trials[trial];
    assert!(!trial.is_finished(), "trial {} has ended", trial.number);
    trial
}

fn new_trial(number: usize, assignment: Assignment, started: f64) -> Trial {
    Trial {
        number,
        state: TrialState::Running,
        assignment,
        intermediate: BTreeMap::new(),
        value: None,
        constraints: Vec::new(),
        figures: Map::new(),
        failure: None,
        started,
        ended: None,
    }
}

fn as_optuna_takes_it(ending: Ending) -> Ending {
    assert_ne!(ending.state, TrialState::Running, "a trial that has ended does not run");
    let Ending { mut state, value, mut constraints, mut failure } = ending;
    let mut value = value.filter(|value| !value.is_nan());
    if state == TrialState::Complete && value.is_none() {
        state = TrialState::Failed;
        failure.get_or_insert("the metric is not a number".into());
    }
    if state == TrialState::Failed {
        value = None;
    }
    for constraint in constraints.iter_mut().filter(|constraint| constraint.is_nan()) {
        *constraint = f64::INFINITY;
    }
    Ending { state, value, constraints, failure }
}
