//! The journal's lines: the operations of Optuna's `JournalStorage`, `optuna/storages/journal/_storage.py` of
//! Optuna 5.0.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::space::Assignment;
use crate::study::{Goal, TrialState};
use crate::{Error, Result};

use super::chain::Chain;
use super::distribution::internal;
use super::json;

pub(super) const CREATE_STUDY: u64 = 0;
pub(super) const SET_STUDY_USER_ATTR: u64 = 2;
pub(super) const SET_STUDY_SYSTEM_ATTR: u64 = 3;
pub(super) const CREATE_TRIAL: u64 = 4;
pub(super) const SET_TRIAL_PARAM: u64 = 5;
pub(super) const SET_TRIAL_STATE_VALUES: u64 = 6;
pub(super) const SET_TRIAL_INTERMEDIATE_VALUE: u64 = 7;
pub(super) const SET_TRIAL_USER_ATTR: u64 = 8;
pub(super) const SET_TRIAL_SYSTEM_ATTR: u64 = 9;

/// The system attribute by which Optuna tells whether a trial is feasible. Version 5 can name each constraint
/// (`constraints:NAME`), but the list is what earlier versions and optuna-dashboard read.
pub(super) const CONSTRAINTS: &str = "constraints";
/// The system attribute that has the values with which Optuna's `enqueue_trial` queued a trial.
pub(super) const FIXED_PARAMS: &str = "fixed_params";
/// The user attribute that says why a trial has no result.
pub(super) const FAILURE: &str = "failure";
/// The system attribute that names what is looked for.
const METRIC_NAMES: &str = "study:metric_names";

/// The line with which the journal of a new study begins, with its line feed.
pub fn first_line(name: &str, goal: Goal) -> String {
    let (name, direction) = (json::string(name), direction(goal));
    let line = line(CREATE_STUDY, &format!(r#""study_name":{name},"directions":[{direction}]"#));
    Chain::default().seal(&line)
}

pub(super) fn set_study_attr(key: &str, value: &Value) -> String {
    line(SET_STUDY_USER_ATTR, &format!(r#""study_id":0,"user_attr":{{{}:{value}}}"#, json::string(key)))
}

pub(super) fn set_metric_name(name: &str) -> String {
    let names = json::string(name);
    line(SET_STUDY_SYSTEM_ATTR, &format!(r#""study_id":0,"system_attr":{{"{METRIC_NAMES}":[{names}]}}"#))
}

/// A trial with its parameters, as Optuna writes one that is added rather than asked for: in one line, so that there
/// never is one with some of them. `parameters` are names, each with its distribution.
pub(super) fn create_trial(parameters: &[(String, String)], assignment: &Assignment, started: i64) -> String {
    let (mut distributions, mut params) = (Vec::new(), Vec::new());
    for ((name, distribution), choice) in parameters.iter().zip(assignment) {
        if let Some(choice) = choice {
            let name = json::string(name);
            distributions.push(format!("{name}:{}", json::string(distribution)));
            params.push(format!("{name}:{}", internal(*choice)));
        }
    }
    let (time, distributions, params) = (time(started), distributions.join(","), params.join(","));
    line(
        CREATE_TRIAL,
        &format!(
            r#""study_id":0,"datetime_start":"{time}","state":0,"distributions":{{{distributions}}},"params":{{{params}}}"#
        ),
    )
}

/// The beginning of a trial that waited: its parameters, and then that it runs.
pub(super) fn begin_waiting(
    trial: usize,
    parameters: &[(String, String)],
    assignment: &Assignment,
    started: i64,
) -> String {
    let mut lines = String::new();
    for ((name, distribution), choice) in parameters.iter().zip(assignment) {
        if let Some(choice) = choice {
            let (name, distribution, value) =
                (json::string(name), json::string(distribution), internal(*choice));
            lines += &line(
                SET_TRIAL_PARAM,
                &format!(
                    r#""trial_id":{trial},"param_name":{name},"param_value_internal":{value},"distribution":{distribution}"#
                ),
            );
        }
    }
    let (state, time) = (state_code(TrialState::Running), time(started));
    lines
        + &line(
            SET_TRIAL_STATE_VALUES,
            &format!(r#""trial_id":{trial},"state":{state},"values":null,"datetime_start":"{time}""#),
        )
}

pub(super) fn set_intermediate(trial: usize, epoch: u32, value: f64) -> String {
    let value = json::number(value);
    line(
        SET_TRIAL_INTERMEDIATE_VALUE,
        &format!(r#""trial_id":{trial},"step":{epoch},"intermediate_value":{value}"#),
    )
}

pub(super) fn set_trial_attr(trial: usize, key: &str, value: &Value) -> String {
    let key = json::string(key);
    line(SET_TRIAL_USER_ATTR, &format!(r#""trial_id":{trial},"user_attr":{{{key}:{value}}}"#))
}

pub(super) fn set_constraints(trial: usize, constraints: &[f64]) -> String {
    let constraints: Vec<String> = constraints.iter().map(|value| json::number(*value)).collect();
    let constraints = constraints.join(",");
    line(
        SET_TRIAL_SYSTEM_ATTR,
        &format!(r#""trial_id":{trial},"system_attr":{{"{CONSTRAINTS}":[{constraints}]}}"#),
    )
}

pub(super) fn end_trial(trial: usize, state: TrialState, value: Option<f64>, ended: i64) -> String {
    let values = value.map_or("null".into(), |value| format!("[{}]", json::number(value)));
    let (state, time) = (state_code(state), time(ended));
    line(
        SET_TRIAL_STATE_VALUES,
        &format!(r#""trial_id":{trial},"state":{state},"values":{values},"datetime_complete":"{time}""#),
    )
}

/// Optuna's `StudyDirection`.
fn direction(goal: Goal) -> u64 {
    match goal {
        Goal::Minimize => 1,
        Goal::Maximize => 2,
    }
}

/// Optuna's `TrialState`.
fn state_code(state: TrialState) -> u64 {
    match state {
        TrialState::Running => 0,
        TrialState::Complete => 1,
        TrialState::Pruned => 2,
        TrialState::Failed => 3,
        TrialState::Waiting => 4,
    }
}

/// A time in seconds since 1970 in whole microseconds, as the journal keeps it; within what jiff can express.
pub(super) fn micros(seconds: f64) -> i64 {
    let last = Timestamp::MAX.as_second() as f64;
    (seconds.clamp(0.0, last) * 1e6).round() as i64
}

pub(super) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// As Python's `datetime.isoformat` writes it in UTC.
fn time(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).expect("a time of `micros`");
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}

/// A time of RFC 3339; without an offset it is in UTC.
fn micros_of(time: &str) -> Option<i64> {
    let without_offset = || TimeZone::UTC.to_timestamp(time.parse::<DateTime>().ok()?).ok();
    Some(time.parse::<Timestamp>().ok().or_else(without_offset)?.as_microsecond())
}

/// By the worker's name our own lines are known.
const WORKER: &str = "ipsight";

fn line(operation: u64, fields: &str) -> String {
    format!("{{\"op_code\":{operation},\"worker_id\":\"{WORKER}\",{fields}}}\n")
}

/// A line that was read, and where.
pub(super) struct Record {
    /// `file:line`.
    pub at: String,
    fields: Map<String, Value>,
}

impl Record {
    /// Reads a whole line.
    pub fn read(at: String, line: &[u8]) -> Result<Self> {
        let value = std::str::from_utf8(line).ok().map(json::read);
        match value {
            Some(Ok(Value::Object(fields))) => Ok(Self { at, fields }),
            _ => Err(Self { at, fields: Map::new() }.error("this is not a JSON object")),
        }
    }

    /// The error that a journal does not hold such a line.
    pub fn error(&self, what: impl Into<String>) -> Error {
        Error::Corrupt { at: self.at.clone(), what: what.into() }
    }

    /// Whether a sweep wrote it, and not Optuna.
    pub fn is_own(&self) -> bool {
        self.fields.get("worker_id").and_then(Value::as_str) == Some(WORKER)
    }

    pub fn integer(&self, name: &str) -> Result<u64> {
        self.field(name, "a whole number", Value::as_u64)
    }

    pub fn float(&self, name: &str) -> Result<f64> {
        self.field(name, "a number", json::as_f64)
    }

    pub fn text(&self, name: &str) -> Result<&str> {
        self.field(name, "a text", Value::as_str)
    }

    pub fn object(&self, name: &str) -> Result<&Map<String, Value>> {
        self.field(name, "an object", Value::as_object)
    }

    /// An attribute's name and value.
    pub fn attr(&self, name: &str) -> Result<(&str, &Value)> {
        let mut attrs = self.object(name)?.iter();
        match (attrs.next(), attrs.next()) {
            (Some((key, value)), None) => Ok((key, value)),
            _ => Err(self.error(format!("`{name}` is not one attribute"))),
        }
    }

    /// Seconds since 1970.
    pub fn time(&self, name: &str) -> Result<f64> {
        self.field(name, "a time", |value| micros_of(value.as_str()?)).map(seconds)
    }

    pub fn goal(&self) -> Result<Goal> {
        self.field("directions", "one direction", |directions| {
            [Goal::Minimize, Goal::Maximize].into_iter().find(|goal| *directions == json!([direction(*goal)]))
        })
    }

    /// Whether a line sets this state.
    pub fn has_state(&self, state: TrialState) -> bool {
        self.fields.get("state") == Some(&json!(state_code(state)))
    }

    /// The values with which a trial was enqueued, and its user attributes.
    pub fn enqueued(&self) -> Result<(Map<String, Value>, Map<String, Value>)> {
        let object = |name: &str| match self.fields.get(name) {
            None => Ok(Map::new()),
            Some(_) => self.object(name).cloned(),
        };
        let values = match object("system_attrs")?.get(FIXED_PARAMS) {
            None => Map::new(),
            Some(Value::Object(values)) => values.clone(),
            Some(_) => return Err(self.error(format!("`{FIXED_PARAMS}` is not an object"))),
        };
        Ok((values, object("user_attrs")?))
    }

    /// A value that may be anything.
    pub fn any(&self, name: &str) -> Result<&Value> {
        self.field(name, "there", Some)
    }

    /// The state of a trial that has ended.
    pub fn ended_state(&self) -> Result<TrialState> {
        let states = [TrialState::Complete, TrialState::Pruned, TrialState::Failed];
        self.field("state", "that of a trial that has ended", |code| {
            states.into_iter().find(|state| *code == json!(state_code(*state)))
        })
    }

    /// The one value of `values`, which may be none.
    pub fn value(&self) -> Result<Option<f64>> {
        self.field("values", "null or one number", |values| match values {
            Value::Null => Some(None),
            _ => Some(Some(numbers(values).filter(|values| values.len() == 1)?[0])),
        })
    }

    fn field<'a, T>(
        &'a self,
        name: &str,
        kind: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T> {
        self.fields.get(name).and_then(read).ok_or_else(|| self.error(format!("`{name}` is not {kind}")))
    }
}

/// Numbers of a JSON array.
pub(super) fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(json::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_python_does_and_come_back() {
        // datetime.fromtimestamp(1795578363.608478, timezone.utc).isoformat(timespec="microseconds")
        assert_eq!(time(micros(1_795_578_363.608_478)), "2026-11-25T03:46:03.608478+00:00");
        assert_eq!(time(0), "1970-01-01T00:00:00.000000+00:00");
        for micros in (0..253_402_207_200_000_000_i64).step_by(7_919_000_123_457) {
            assert_eq!(micros_of(&time(micros)), Some(micros));
        }
        assert_eq!(micros(1.000_000_4), 1_000_000);
        assert_eq!(time(micros(f64::INFINITY)), "9999-12-30T22:00:00.000000+00:00");
        assert_eq!((micros(-1.0), micros(f64::NAN)), (0, 0));
        assert_eq!(micros_of("1970-01-01T01:00:00.5+01:00"), Some(500_000));
        assert_eq!(micros_of("1970-01-01T00:00:01.000002"), Some(1_000_002));
        let others = ["", "x.000000+00:00", "1970-02-30T00:00:00.000000+00:00", "9223372036854775807.000000"];
        for text in others {
            assert_eq!(micros_of(text), None, "{text}");
        }
    }
}
