//! Reading a journal.

use std::path::Path;

use serde_json::{Map, Value};

use crate::space::{Assignment, Choice, Parameter, Space};
use crate::study::{Goal, Study, Trial, TrialState};
use crate::{Error, Result};

use super::distribution::{choice, distribution};
use super::operations::{
    CONSTRAINTS, CREATE_STUDY, CREATE_TRIAL, FAILURE, Record, SET_STUDY_SYSTEM_ATTR, SET_STUDY_USER_ATTR,
    SET_TRIAL_INTERMEDIATE_VALUE, SET_TRIAL_STATE_VALUES, SET_TRIAL_SYSTEM_ATTR, SET_TRIAL_USER_ATTR,
    numbers,
};

/// What a journal holds.
#[derive(Debug)]
pub struct Contents {
    /// The study's name; `None` before the first whole line.
    pub name: Option<String>,
    /// The trials.
    pub study: Study,
    /// The study's attributes by their names.
    pub attrs: Map<String, Value>,
    /// The length of the part that counts: up to the end of the last whole event.
    pub num_whole_bytes: usize,
}

/// Reads the bytes of a journal. `path` is for messages only.
///
/// # Errors
///
/// [`Error::OtherStudy`] and [`Error::Corrupt`], as of the journal's `open`.
pub fn read(path: &Path, bytes: &[u8], goal: Goal, space: &Space) -> Result<Contents> {
    let contents = Contents { name: None, study: Study::new(goal), attrs: Map::new(), num_whole_bytes: 0 };
    let mut replay = Replay { space, contents, ending: None };
    let mut num_bytes = 0;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") {
            break;
        }
        replay.apply(&Record::read(format!("{}:{}", path.display(), number + 1), line)?)?;
        num_bytes += line.len();
        if replay.ending.is_none() {
            replay.contents.num_whole_bytes = num_bytes;
        }
    }
    Ok(replay.contents)
}

/// The lines that were read so far.
struct Replay<'a> {
    space: &'a Space,
    contents: Contents,
    ending: Option<PartOfEnding>,
}

/// The lines of a trial's ending before its last one.
struct PartOfEnding {
    trial: usize,
    failure: Option<String>,
    constraints: Vec<f64>,
}

impl Replay<'_> {
    fn apply(&mut self, record: &Record) -> Result<()> {
        let operation = record.integer("op_code")?;
        if self.contents.name.is_none() && operation != CREATE_STUDY {
            return Err(record.error("the first line is not that of a study"));
        }
        if operation <= CREATE_TRIAL {
            if let Some(ending) = &self.ending {
                return Err(record.error(not_whole(ending)));
            }
            if operation != CREATE_STUDY && record.integer("study_id")? != 0 {
                return Err(record.error("there is one study, 0"));
            }
        }
        match operation {
            CREATE_STUDY => self.create_study(record),
            SET_STUDY_USER_ATTR => {
                let (key, value) = record.attr("user_attr")?;
                self.contents.attrs.insert(key.into(), value.clone());
                Ok(())
            }
            // Names of metrics, and notes of optuna-dashboard.
            SET_STUDY_SYSTEM_ATTR => Ok(()),
            CREATE_TRIAL => self.create_trial(record),
            SET_TRIAL_STATE_VALUES => self.end_trial(record),
            SET_TRIAL_INTERMEDIATE_VALUE => self.report(record),
            SET_TRIAL_USER_ATTR => self.set_trial_attr(record),
            SET_TRIAL_SYSTEM_ATTR => self.set_constraints(record),
            _ => Err(record.error(format!("operation {operation} is none that a sweep writes"))),
        }
    }

    fn create_study(&mut self, record: &Record) -> Result<()> {
        let name = record.text("study_name")?;
        match &self.contents.name {
            // Optuna's `create_study` with `load_if_exists` writes such a line.
            Some(own) if own == name => return Ok(()),
            Some(_) => return Err(record.error(format!("there is a second study, `{name}`"))),
            None => {}
        }
        let goal = record.goal()?;
        if goal != self.contents.study.goal {
            let what =
                format!("the journal is of a sweep to {goal:?}, not to {:?}", self.contents.study.goal);
            return Err(Error::OtherStudy { at: record.at.clone(), what: what.to_lowercase() });
        }
        self.contents.name = Some(name.into());
        Ok(())
    }

    fn create_trial(&mut self, record: &Record) -> Result<()> {
        if record.integer("state")? != 0 {
            return Err(record.error("the trial does not begin as one that runs"));
        }
        let assignment = self.assignment(record)?;
        let started = record.time("datetime_start")?;
        self.contents.study.trials.push(Trial::new(self.contents.study.trials.len(), assignment, started));
        Ok(())
    }

    /// The values of a trial, whose parameters have to be those of the space.
    fn assignment(&self, record: &Record) -> Result<Assignment> {
        let (distributions, params) = (record.object("distributions")?, record.object("params")?);
        let parameters = &self.space.parameters;
        if let Some(name) = params.keys().find(|name| parameters.iter().all(|p| p.name != **name)) {
            return Err(other_space(record, name, "is not in the search space"));
        }
        let read = |parameter: &Parameter| {
            let Some(value) = params.get(&parameter.name) else { return Ok(None) };
            let found = distributions.get(&parameter.name).and_then(Value::as_str);
            let found =
                found.ok_or_else(|| record.error(format!("`{}` has no distribution", parameter.name)))?;
            let expected = distribution(&parameter.domain);
            if found != expected {
                return Err(other_space(record, &parameter.name, &format!("was {found}, not {expected}")));
            }
            let choice = choice(&parameter.domain, value);
            choice.map(Some).ok_or_else(|| record.error(format!("`{}` cannot be {value}", parameter.name)))
        };
        let assignment = parameters.iter().map(read).collect::<Result<Assignment>>()?;
        self.check_conditions(record, &assignment)?;
        Ok(assignment)
    }

    fn check_conditions(&self, record: &Record, assignment: &Assignment) -> Result<()> {
        // If a parameter should vary and does not, any choice shows the difference.
        let expected =
            self.space.assign(|position, _| assignment[position].unwrap_or(Choice::Index(usize::MAX)));
        match assignment.iter().zip(&expected).position(|(found, expected)| found != expected) {
            None => Ok(()),
            Some(position) => {
                let has = if assignment[position].is_some() { "varied" } else { "did not vary" };
                let what = format!("{has} under conditions under which it is otherwise now");
                Err(other_space(record, &self.space.parameters[position].name, &what))
            }
        }
    }

    fn report(&mut self, record: &Record) -> Result<()> {
        let trial = self.running(record)?;
        let epoch = u32::try_from(record.integer("step")?);
        let epoch = epoch.map_err(|_| record.error("`step` is not an epoch"))?;
        self.contents.study.trials[trial].intermediate.insert(epoch, record.float("intermediate_value")?);
        Ok(())
    }

    fn set_trial_attr(&mut self, record: &Record) -> Result<()> {
        let trial = self.running(record)?;
        let (key, value) = record.attr("user_attr")?;
        if key == FAILURE {
            let failure = value.as_str().ok_or_else(|| record.error("`failure` is not a text"))?;
            self.ending(trial).failure = Some(failure.into());
        } else {
            self.contents.study.trials[trial].figures.insert(key.into(), value.clone());
        }
        Ok(())
    }

    fn set_constraints(&mut self, record: &Record) -> Result<()> {
        let trial = self.running(record)?;
        let (key, value) = record.attr("system_attr")?;
        if key == CONSTRAINTS {
            let constraints = numbers(value).ok_or_else(|| record.error("`constraints` are not numbers"))?;
            self.ending(trial).constraints = constraints;
        }
        Ok(())
    }

    fn end_trial(&mut self, record: &Record) -> Result<()> {
        let number = self.running(record)?;
        let state = record.ended_state()?;
        let (value, ended) = (record.value()?, record.time("datetime_complete")?);
        if state == TrialState::Complete && value.is_none() {
            return Err(record.error("the trial is complete, but has no value"));
        }
        let trial = &mut self.contents.study.trials[number];
        if let Some(ending) = self.ending.take() {
            (trial.failure, trial.constraints) = (ending.failure, ending.constraints);
        }
        (trial.state, trial.value, trial.ended) = (state, value, Some(ended));
        Ok(())
    }

    /// The number of the trial that a line is about, which has to be running.
    fn running(&self, record: &Record) -> Result<usize> {
        let number = record.integer("trial_id")? as usize;
        if let Some(ending) = self.ending.as_ref().filter(|ending| ending.trial != number) {
            return Err(record.error(not_whole(ending)));
        }
        match self.contents.study.trials.get(number) {
            None => Err(record.error(format!("there is no trial {number}"))),
            Some(trial) if trial.is_finished() => {
                Err(record.error(format!("trial {number} has ended before")))
            }
            Some(_) => Ok(number),
        }
    }

    fn ending(&mut self, trial: usize) -> &mut PartOfEnding {
        self.ending.get_or_insert_with(|| PartOfEnding { trial, failure: None, constraints: Vec::new() })
    }
}

fn not_whole(ending: &PartOfEnding) -> String {
    format!("the ending of trial {} before this line is not whole", ending.trial)
}

fn other_space(record: &Record, parameter: &str, what: &str) -> Error {
    let what = format!("the journal is of another search space: `{parameter}` {what}");
    Error::OtherStudy { at: record.at.clone(), what }
}
