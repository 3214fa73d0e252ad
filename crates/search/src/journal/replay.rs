//! Reading a journal.

use std::path::Path;

use serde_json::{Map, Value};

use crate::space::{Assignment, Choice, Parameter, Space};
use crate::study::{Goal, Study, Trial, TrialState};
use crate::{Error, Result};

use super::chain::Chain;
use super::distribution::{choice, distribution};
use super::operations::{
    CONSTRAINTS, CREATE_STUDY, CREATE_TRIAL, FAILURE, Record, SET_STUDY_SYSTEM_ATTR, SET_STUDY_USER_ATTR,
    SET_TRIAL_INTERMEDIATE_VALUE, SET_TRIAL_PARAM, SET_TRIAL_STATE_VALUES, SET_TRIAL_SYSTEM_ATTR,
    SET_TRIAL_USER_ATTR, numbers,
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
    /// The checksums up to there.
    pub(super) chain: Chain,
}

/// Reads the bytes of a journal. `path` is for messages only.
///
/// # Errors
///
/// [`Error::OtherStudy`] and [`Error::Corrupt`], as of the journal's `open`.
pub fn read(path: &Path, bytes: &[u8], goal: Goal, space: &Space) -> Result<Contents> {
    let contents = Contents {
        name: None,
        study: Study::new(goal),
        attrs: Map::new(),
        num_whole_bytes: 0,
        chain: Chain::default(),
    };
    let mut replay = Replay { space, contents, ending: None, beginning: None };
    let mut chain = Chain::default();
    let mut num_bytes = 0;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") {
            break;
        }
        let record = Record::read(format!("{}:{}", path.display(), number + 1), line)?;
        if record.is_own() && !chain.check(line) {
            return Err(record.error("this line was edited, or one before it was edited or removed"));
        }
        replay.apply(&record)?;
        num_bytes += line.len();
        if replay.ending.is_none() && replay.beginning.is_none() {
            replay.contents.num_whole_bytes = num_bytes;
            replay.contents.chain = chain.clone();
        }
    }
    Ok(replay.contents)
}

/// The lines that were read so far.
struct Replay<'a> {
    space: &'a Space,
    contents: Contents,
    ending: Option<PartOfEnding>,
    beginning: Option<PartOfBeginning>,
}

/// The lines of the beginning of a trial that waited, before the last one.
struct PartOfBeginning {
    trial: usize,
    assignment: Assignment,
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
            self.check_whole(record, None)?;
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
            SET_TRIAL_PARAM => self.set_param(record),
            SET_TRIAL_STATE_VALUES if record.has_state(TrialState::Running) => self.begin_waiting(record),
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
        let number = self.contents.study.trials.len();
        if let Some(trial) = waiting_trial(record, number, self.space)? {
            self.contents.study.trials.push(trial);
            return Ok(());
        }
        if record.integer("state")? != 0 {
            return Err(record.error("the trial does not begin as one that runs"));
        }
        let assignment = self.assignment(record)?;
        let started = record.time("datetime_start")?;
        self.contents.study.trials.push(Trial::new(number, assignment, started));
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
            read_choice(record, parameter, found, value).map(Some)
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

    /// A parameter of a trial that waited.
    fn set_param(&mut self, record: &Record) -> Result<()> {
        let number = self.running(record)?;
        let trial = &self.contents.study.trials[number];
        if trial.state != TrialState::Waiting {
            return Err(record.error(format!("the parameters of trial {number} are known before")));
        }
        let name = record.text("param_name")?;
        let Some(position) = self.space.parameters.iter().position(|parameter| parameter.name == name) else {
            return Err(other_space(record, name, "is not in the search space"));
        };
        let (parameter, value) = (&self.space.parameters[position], record.any("param_value_internal")?);
        let choice = read_choice(record, parameter, record.text("distribution")?, value)?;
        let none = || PartOfBeginning { trial: number, assignment: trial.assignment.clone() };
        self.beginning.get_or_insert_with(none).assignment[position] = Some(choice);
        Ok(())
    }

    /// A trial that waited runs from now on.
    fn begin_waiting(&mut self, record: &Record) -> Result<()> {
        let number = self.running(record)?;
        let trial = &self.contents.study.trials[number];
        if trial.state != TrialState::Waiting {
            return Err(record.error(format!("trial {number} runs before this line")));
        }
        let begun = self.beginning.take();
        let assignment = begun.map_or_else(|| trial.assignment.clone(), |begun| begun.assignment);
        self.check_conditions(record, &assignment)?;
        let started = record.time("datetime_start")?;
        let trial = &mut self.contents.study.trials[number];
        (trial.state, trial.assignment, trial.started) = (TrialState::Running, assignment, started);
        Ok(())
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
        self.check_whole(record, Some(number))?;
        match self.contents.study.trials.get(number) {
            None => Err(record.error(format!("there is no trial {number}"))),
            Some(trial) if trial.is_finished() => {
                Err(record.error(format!("trial {number} has ended before")))
            }
            Some(_) => Ok(number),
        }
    }

    /// Refuses a line between those of one event. `trial` is the one that it is about.
    fn check_whole(&self, record: &Record, trial: Option<usize>) -> Result<()> {
        let parts = [
            (self.ending.as_ref().map(|part| part.trial), "ending"),
            (self.beginning.as_ref().map(|part| part.trial), "beginning"),
        ];
        let other =
            parts.into_iter().find_map(|(of, what)| Some((of.filter(|of| Some(*of) != trial)?, what)));
        match other {
            None => Ok(()),
            Some((of, what)) => {
                Err(record.error(format!("the {what} of trial {of} before this line is not whole")))
            }
        }
    }

    fn ending(&mut self, trial: usize) -> &mut PartOfEnding {
        self.ending.get_or_insert_with(|| PartOfEnding { trial, failure: None, constraints: Vec::new() })
    }
}

/// A trial that a line enqueues; `None` of a line that begins one otherwise. `number` is the trial's.
pub(super) fn waiting_trial(record: &Record, number: usize, space: &Space) -> Result<Option<Trial>> {
    if !record.has_state(TrialState::Waiting) {
        return Ok(None);
    }
    let (values, figures) = record.enqueued()?;
    let assignment = vec![None; space.parameters.len()];
    let trial = Trial::new(number, assignment, 0.0);
    Ok(Some(Trial { state: TrialState::Waiting, enqueued: Some(values), figures, ..trial }))
}

/// A parameter's value in Optuna's internal form, with the distribution that it came from.
fn read_choice(record: &Record, parameter: &Parameter, found: &str, value: &Value) -> Result<Choice> {
    let expected = distribution(&parameter.domain);
    if found != expected {
        return Err(other_space(record, &parameter.name, &format!("was {found}, not {expected}")));
    }
    let choice = choice(&parameter.domain, value);
    choice.ok_or_else(|| record.error(format!("`{}` cannot be {value}", parameter.name)))
}

fn other_space(record: &Record, parameter: &str, what: &str) -> Error {
    let what = format!("the journal is of another search space: `{parameter}` {what}");
    Error::OtherStudy { at: record.at.clone(), what }
}
