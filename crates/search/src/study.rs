//! A study: the goal, and the trials so far.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::space::Assignment;

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

impl Goal {
    /// Whether `a` is better than `b`. NaN is worse than every number.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Goal::Maximize => a > b || (b.is_nan() && !a.is_nan()),
            Goal::Minimize => a < b || (b.is_nan() && !a.is_nan()),
        }
    }

    /// The value with the sign under which less is better.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Goal::Maximize => -value,
            Goal::Minimize => value,
        }
    }
}

/// The state of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// It was enqueued and has not begun: [`Trial::enqueued`] has the values that it is to take.
    Waiting,
    /// It trains, or it has paused and may train further.
    Running,
    /// It has finished.
    Complete,
    /// It was stopped early.
    Pruned,
    /// It has no result; [`Trial::failure`] has the reason.
    Failed,
}

/// A configuration that is tried, and its results so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// From 0, in the order in which trials began.
    pub number: usize,
    /// Its state.
    pub state: TrialState,
    /// The value of each parameter; none of a trial that waits.
    pub assignment: Assignment,
    /// The values that somebody asked for by Optuna's `enqueue_trial`, by the names of parameters; `None` of a trial that
    /// the sampler chose.
    pub enqueued: Option<Map<String, Value>>,
    /// The metric that early stopping compares, by the number of epochs trained (from 1).
    pub intermediate: BTreeMap<u32, f64>,
    /// The metric that the goal is about, once the trial has ended. Of a pruned trial it is the last intermediate value,
    /// if both are the same metric.
    pub value: Option<f64>,
    /// The violation of each constraint: above 0 the constraint is violated, at 0 or below it holds.
    pub constraints: Vec<f64>,
    /// Other figures by their names, as the caller sets them.
    pub figures: Map<String, Value>,
    /// Why there is no result.
    pub failure: Option<String>,
    /// When it began, in seconds since 1970 (UTC).
    pub started: f64,
    /// When it ended, in the same unit.
    pub ended: Option<f64>,
}

impl Trial {
    /// A trial that has just begun, at `started` seconds since 1970.
    pub fn new(number: usize, assignment: Assignment, started: f64) -> Self {
        Self {
            number,
            state: TrialState::Running,
            assignment,
            enqueued: None,
            intermediate: BTreeMap::new(),
            value: None,
            constraints: Vec::new(),
            figures: Map::new(),
            failure: None,
            started,
            ended: None,
        }
    }

    /// Whether all constraints hold. A trial without violations counts as feasible, so one that has not ended does.
    pub fn is_feasible(&self) -> bool {
        self.constraints.iter().all(|violation| *violation <= 0.0)
    }

    /// Whether it has ended, in any state.
    pub fn is_finished(&self) -> bool {
        !matches!(self.state, TrialState::Waiting | TrialState::Running)
    }
}

/// The goal, and the trials so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Which way the metric is better.
    pub goal: Goal,
    /// The trials, in the order of their numbers.
    pub trials: Vec<Trial>,
}

impl Study {
    /// A study without trials.
    pub fn new(goal: Goal) -> Self {
        Self { goal, trials: Vec::new() }
    }

    /// The best of the complete trials whose constraints hold; of equal ones the first.
    pub fn best(&self) -> Option<&Trial> {
        let done = self.trials.iter().filter(|t| t.state == TrialState::Complete && t.is_feasible());
        let valued = done.filter_map(|trial| Some((trial, trial.value?)));
        let better =
            |best: (_, f64), next: (_, f64)| if self.goal.is_better(next.1, best.1) { next } else { best };
        valued.reduce(better).map(|(trial, _)| trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(number: usize, state: TrialState, value: f64, violation: f64) -> Trial {
        let constraints = vec![violation];
        Trial { state, value: Some(value), constraints, ..Trial::new(number, Vec::new(), 0.0) }
    }

    #[test]
    fn the_best_is_complete_and_feasible_and_first_of_equals() {
        let mut study = Study::new(Goal::Maximize);
        assert!(study.best().is_none());
        study.trials = vec![
            trial(0, TrialState::Complete, 0.5, 0.0),
            trial(1, TrialState::Complete, 0.7, -1.0),
            trial(2, TrialState::Complete, 0.9, 0.1),
            trial(3, TrialState::Pruned, 0.8, 0.0),
            trial(4, TrialState::Failed, 0.8, 0.0),
            trial(5, TrialState::Complete, 0.7, 0.0),
            trial(6, TrialState::Complete, f64::NAN, 0.0),
        ];
        assert_eq!(study.best().unwrap().number, 1);
        study.goal = Goal::Minimize;
        assert_eq!(study.best().unwrap().number, 0);
    }
}
