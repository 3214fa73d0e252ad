//! A study: what is looked for, and the trials so far. The journal is its lasting form.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::space::Assignment;

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

impl Goal {
    /// Whether `a` is better than `b`; a number that is none is never better.
    pub fn is_better(self, a: f64, b: f64) -> bool {
        match self {
            Goal::Maximize => a > b || (b.is_nan() && !a.is_nan()),
            Goal::Minimize => a < b || (b.is_nan() && !a.is_nan()),
        }
    }

    /// The value turned so that less is better.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Goal::Maximize => -value,
            Goal::Minimize => value,
        }
    }
}

/// Where a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// Under way, or paused at a rung: it may go on.
    Running,
    /// It came to its end.
    Complete,
    /// It was stopped early.
    Pruned,
    /// It has no result: see [`Trial::failure`].
    Failed,
}

/// One configuration that is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// From 0, in the order in which they were made.
    pub number: usize,
    /// Where it is.
    pub state: TrialState,
    /// What it takes of each parameter.
    pub assignment: Assignment,
    /// The metric that is watched for early stopping, by the number of epochs that were trained (from 1): the mean
    /// over the seeds.
    pub intermediate: BTreeMap<u32, f64>,
    /// The metric that is looked for, once the trial is at its end; the last intermediate one where it was pruned.
    pub value: Option<f64>,
    /// For each constraint how far it is violated: above 0 it is, at 0 or below it holds.
    pub constraints: Vec<f64>,
    /// Figures beside the metric, by name: `seconds`, `epochs`, `positives_per_second`, `model_bytes`, ….
    pub figures: Map<String, Value>,
    /// Why there is no result.
    pub failure: Option<String>,
    /// Seconds since 1970 (UTC) at which it began.
    pub started: f64,
    /// And at which it ended.
    pub ended: Option<f64>,
}

impl Trial {
    /// Whether all constraints hold. A trial that has none yet is taken for one that is.
    pub fn is_feasible(&self) -> bool {
        self.constraints.iter().all(|violation| *violation <= 0.0)
    }

    /// Whether it has come to an end, whichever.
    pub fn is_finished(&self) -> bool {
        self.state != TrialState::Running
    }
}

/// The trials so far, by their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Which way the metric is better.
    pub goal: Goal,
    /// By their numbers.
    pub trials: Vec<Trial>,
}

impl Study {
    /// A study without trials.
    pub fn new(goal: Goal) -> Self {
        Self { goal, trials: Vec::new() }
    }

    /// The best of the completed trials whose constraints hold; of equals the first.
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
        Trial {
            number,
            state,
            assignment: Vec::new(),
            intermediate: BTreeMap::new(),
            value: Some(value),
            constraints: vec![violation],
            figures: Map::new(),
            failure: None,
            started: 0.0,
            ended: None,
        }
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
