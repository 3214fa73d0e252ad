//! A study on disk: a journal in the format of Optuna's `JournalFileBackend`, one JSON object a line, so that Optuna and
//! optuna-dashboard open it. The format is that of Optuna 5.0.0, `optuna/storages/journal`.
//!
//! The lines of one event are written in one call, and the last of them makes it valid: [`Journal::open`] cuts off the
//! part of an event that a killed process left at the end. A trial is one line with all its parameters. Its ending is
//! `failure` and `constraints`, if there are any, and then the state.
//!
//! Optuna may write to it, too, also while it is open: a trial that its `enqueue_trial` adds is one to be run. Lines of our
//! own carry a checksum, so that an edited value is noticed.
//!
//! A journal begins as a file with the line of [`first_line`], which the caller writes so that the file appears whole or
//! not at all.

mod chain;
mod distribution;
pub mod json;
mod operations;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::space::{Assignment, Choice, Space};
use crate::study::{Goal, Study, Trial, TrialState};
use crate::{Error, Result};

use chain::Chain;
use operations::Record;
pub use operations::first_line;
pub use replay::{Contents, read};

/// A journal that is open for writing. Each change of the [`Study`] is written before it is made, so that both agree
/// after an error. The file has no lock: the caller makes sure that it has one writer.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    space: Space,
    /// Bytes of the lines that were read or written and are in the study.
    num_known_bytes: u64,
    chain: Chain,
    /// The name of each parameter of the space, and its distribution.
    parameters: Vec<(String, String)>,
    study_attrs: Map<String, Value>,
    /// After a write that failed: the length to which the file has to be cut before the next one.
    torn_at: Option<u64>,
}

/// How a trial ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// Any state but [`TrialState::Running`].
    pub state: TrialState,
    /// The metric that the goal is about. A failed trial has none.
    pub value: Option<f64>,
    /// The violation of each constraint: above 0 the constraint is violated, at 0 or below it holds.
    pub constraints: Vec<f64>,
    /// Why there is no result.
    pub failure: Option<String>,
}

impl Journal {
    /// Opens a journal, and returns it with the study that it holds. Lines after the last whole event are removed from
    /// the file: a line that was cut off, and an ending without its last line.
    ///
    /// # Errors
    ///
    /// [`Error::OtherStudy`] if the goal, or a parameter, its domain or its condition is not that of a trial;
    /// [`Error::Corrupt`] for any other line that a journal does not hold; [`Error::Empty`] without a whole line;
    /// [`Error::Io`].
    pub fn open(path: &Path, goal: Goal, space: &Space) -> Result<(Self, Study)> {
        let mut file = open_file(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        let Contents { name, study, attrs, num_whole_bytes, chain } = read(path, &bytes, goal, space)?;
        if name.is_none() {
            return Err(Error::Empty { path: path.into() });
        }
        if num_whole_bytes < bytes.len() {
            file.set_len(num_whole_bytes as u64).map_err(Error::io("truncate", path))?;
        }
        let parameters = space.parameters.iter();
        let parameters =
            parameters.map(|p| (p.name.clone(), distribution::distribution(&p.domain))).collect();
        let journal = Self {
            path: path.into(),
            file,
            space: space.clone(),
            num_known_bytes: num_whole_bytes as u64,
            chain,
            parameters,
            study_attrs: attrs,
            torn_at: None,
        };
        Ok((journal, study))
    }

    /// The study's attributes by their names: Optuna's user attributes.
    pub fn study_attrs(&self) -> &Map<String, Value> {
        &self.study_attrs
    }

    /// Sets an attribute of the study. Nothing is written if it has this value already.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], as of all methods below. The file is then as before: a part that was written is removed now, or
    /// before the next write.
    pub fn set_study_attr(&mut self, key: &str, value: Value) -> Result<()> {
        if self.study_attrs.get(key) != Some(&value) {
            self.append(&operations::set_study_attr(key, &value))?;
            self.study_attrs.insert(key.into(), value);
        }
        Ok(())
    }

    /// Sets the metric's name, which Optuna's plots show.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn set_metric_name(&mut self, name: &str) -> Result<()> {
        self.append(&operations::set_metric_name(name))
    }

    /// Begins a trial and returns its number. `now` is in seconds since 1970, and is kept in whole microseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If the assignment is of another space.
    pub fn begin_trial(&mut self, study: &mut Study, assignment: Assignment, now: f64) -> Result<usize> {
        assert_eq!(assignment.len(), self.parameters.len(), "an assignment of another space");
        let started = operations::micros(now);
        self.append(&operations::create_trial(&self.parameters, &assignment, started))?;
        // Trials have numbers by the order of their lines, of which Optuna may have written some before this one.
        let begun = |number| Trial::new(number, assignment.clone(), operations::seconds(started));
        self.read_on(study, &begun)?.ok_or_else(|| Error::Corrupt {
            at: self.path.display().to_string(),
            what: "the file was cut off while it was in use".into(),
        })
    }

    /// Reads what Optuna has written since the journal was opened or read last: trials that were enqueued, which then
    /// wait in the study.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Corrupt`] for a line that is not JSON.
    pub fn read_enqueued(&mut self, study: &mut Study) -> Result<()> {
        self.read_on(study, &|number| Trial::new(number, Assignment::new(), 0.0)).map(drop)
    }

    /// Begins a trial that waits. `now` is in seconds since 1970, and is kept in whole microseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If the trial does not wait, or the assignment is of another space.
    pub fn begin_waiting(
        &mut self,
        study: &mut Study,
        trial: usize,
        assignment: Assignment,
        now: f64,
    ) -> Result<()> {
        assert_eq!(assignment.len(), self.parameters.len(), "an assignment of another space");
        assert_eq!(study.trials[trial].state, TrialState::Waiting, "trial {trial} does not wait");
        let started = operations::micros(now);
        self.append(&operations::begin_waiting(trial, &self.parameters, &assignment, started))?;
        let begun = &mut study.trials[trial];
        (begun.state, begun.assignment) = (TrialState::Running, assignment);
        begun.started = operations::seconds(started);
        Ok(())
    }

    /// Records the metric that early stopping compares after `epoch` epochs. An epoch that has a value keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If the trial has ended, as do the methods below.
    pub fn report(&mut self, study: &mut Study, trial: usize, epoch: u32, value: f64) -> Result<()> {
        if let Entry::Vacant(new) = running(study, trial).intermediate.entry(epoch) {
            self.append(&operations::set_intermediate(trial, epoch, value))?;
            new.insert(value);
        }
        Ok(())
    }

    /// Sets a figure of a trial, which is one of Optuna's user attributes. Nothing is written if it has this value already.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If the name is `failure`, which belongs to the ending.
    pub fn set_figure(&mut self, study: &mut Study, trial: usize, name: &str, value: Value) -> Result<()> {
        assert_ne!(name, operations::FAILURE, "this name belongs to the ending");
        let figures = &mut running(study, trial).figures;
        if figures.get(name) != Some(&value) {
            self.append(&operations::set_trial_attr(trial, name, &value))?;
            figures.insert(name.into(), value);
        }
        Ok(())
    }

    /// Ends a trial, and syncs the file. `now` is in seconds since 1970.
    ///
    /// As in Optuna's `tell`, a complete trial without a value, or with NaN, becomes a failed one, and a pruned one then
    /// has no value. A violation that is NaN becomes infinite; Optuna would count that constraint as one that holds.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// If the ending's state is [`TrialState::Running`].
    pub fn finish(&mut self, study: &mut Study, trial: usize, ending: Ending, now: f64) -> Result<()> {
        let ended = running(study, trial);
        let Ending { state, value, constraints, failure } = as_optuna_stores_it(ending);
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

    /// Adds the trials of the lines behind those that are known. A line of our own that begins one is of the trial that
    /// `begun` makes by its number, which is returned; all others of ours are in the study.
    fn read_on(&mut self, study: &mut Study, begun: &dyn Fn(usize) -> Trial) -> Result<Option<usize>> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.num_known_bytes))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(Error::io("read", &self.path))?;
        let mut number = None;
        for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let record = Record::read(self.path.display().to_string(), line)?;
            if record.integer("op_code")? == operations::CREATE_TRIAL {
                let next = study.trials.len();
                if record.is_own() {
                    number = Some(next);
                    study.trials.push(begun(next));
                } else if let Some(trial) = replay::waiting_trial(&record, next, &self.space)? {
                    study.trials.push(trial);
                } else {
                    return Err(record.error("another program has begun a trial of this sweep"));
                }
            }
            self.num_known_bytes += line.len() as u64;
        }
        Ok(number)
    }

    /// Writes whole lines, all or none.
    fn append(&mut self, lines: &str) -> Result<()> {
        self.cut_torn()?;
        let mut chain = self.chain.clone();
        let lines = chain.seal(lines);
        let length = self.file.metadata().map_err(Error::io("read", &self.path))?.len();
        self.file.write_all(lines.as_bytes()).map_err(|error| {
            // The next line must not continue half of this one. If it cannot be removed now, it is before that line.
            self.torn_at = Some(length);
            let _ = self.cut_torn();
            Error::io("write", &self.path)(error)
        })?;
        self.chain = chain;
        Ok(())
    }

    fn cut_torn(&mut self) -> Result<()> {
        if let Some(length) = self.torn_at {
            self.file.set_len(length).map_err(Error::io("truncate", &self.path))?;
            self.torn_at = None;
        }
        Ok(())
    }
}

/// Opens for appending, because a dashboard may write to the file, too.
fn open_file(path: &Path) -> Result<File> {
    File::options().read(true).append(true).open(path).map_err(Error::io("open", path))
}

/// The choices that a trial was enqueued with, by the positions of their parameters. `Err` names a value that the search
/// space does not have.
pub fn enqueued_choices(space: &Space, trial: &Trial) -> std::result::Result<Vec<Option<Choice>>, String> {
    let mut choices = vec![None; space.parameters.len()];
    for (name, value) in trial.enqueued.iter().flatten() {
        let position = space.parameters.iter().position(|parameter| parameter.name == *name);
        let position = position.ok_or_else(|| {
            let known: Vec<&str> = space.parameters.iter().map(|p| p.name.as_str()).collect();
            format!("it was enqueued with `{name}`, which is not one of the parameters {}", known.join(", "))
        })?;
        let domain = &space.parameters[position].domain;
        let choice = distribution::external_choice(domain, value).ok_or_else(|| {
            format!("it was enqueued with {name} = {value}, not {}", distribution::described(domain))
        })?;
        choices[position] = Some(choice);
    }
    Ok(choices)
}

fn running(study: &mut Study, trial: usize) -> &mut Trial {
    let trial = &mut study.trials[trial];
    assert!(!trial.is_finished(), "trial {} has ended", trial.number);
    trial
}

fn as_optuna_stores_it(ending: Ending) -> Ending {
    assert_ne!(ending.state, TrialState::Running, "an ended trial does not run");
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
