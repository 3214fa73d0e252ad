//! What to do next: a function of the study, the running trials and the budget alone, so that a sweep that was
//! interrupted continues as it would have.

use std::collections::BTreeMap;

use ipsight_search::journal::enqueued_choices;
use ipsight_search::sampler::Sampler;
use ipsight_search::space::Assignment;
use ipsight_search::study::{Study, Trial, TrialState};

use super::figures::{num_epochs, trained_epochs, until_epoch};
use super::plan::{EarlyStopping, SweepPlan};

/// The work of a free worker.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Begin a trial.
    Begin {
        /// Its values.
        assignment: Assignment,
        /// The epoch at which it pauses; `None`: at its end.
        until_epoch: Option<u32>,
    },
    /// Begin a trial that somebody has enqueued.
    BeginWaiting {
        /// Its number.
        trial: usize,
        /// Its values: those that were asked for, and the sampler's.
        assignment: Assignment,
        /// The epoch at which it pauses; `None`: at its end.
        until_epoch: Option<u32>,
    },
    /// End a trial that somebody has enqueued with values that are none of the search space.
    Refuse {
        /// Its number.
        trial: usize,
        /// What is wrong.
        why: String,
    },
    /// Continue a trial that has paused or was interrupted.
    GoOn {
        /// Its number.
        trial: usize,
        /// The epoch at which it pauses; `None`: at its end.
        until_epoch: Option<u32>,
    },
    /// Nothing, until a running trial has paused or ended.
    Wait,
    /// Nothing: the sweep has ended.
    End,
}

/// The running trials, each with the epoch at which it pauses.
pub type UnderWay = BTreeMap<usize, Option<u32>>;

/// After this many trials, if all have failed, no other one begins.
const MAX_FAILURES: usize = 100;

/// Chooses what is done next.
pub struct Scheduler<'a> {
    plan: &'a SweepPlan,
    sampler: Sampler,
}

impl<'a> Scheduler<'a> {
    /// The scheduler of a sweep.
    pub fn new(plan: &'a SweepPlan) -> Self {
        Self { plan, sampler: Sampler::new(plan.method, plan.space.clone(), plan.file.seed) }
    }

    /// The greatest number of trials; `None` where only time or epochs limit them.
    pub fn num_trials(&self) -> Option<u64> {
        let budget = self.plan.file.budget.trials;
        budget.into_iter().chain(self.sampler.num_trials()).min()
    }

    /// The next work of a free worker.
    pub fn next(&self, study: &Study, under_way: &UnderWay) -> Work {
        let idle =
            |trial: &&Trial| trial.state == TrialState::Running && !under_way.contains_key(&trial.number);
        // Interrupted trials come first.
        if let Some(trial) = study.trials.iter().filter(idle).find(|trial| !self.is_paused(trial)) {
            return Work::GoOn { trial: trial.number, until_epoch: self.next_pause(trial) };
        }
        // A trial that somebody asked for is beyond the budgets of trials and epochs.
        if let Some(trial) = study.trials.iter().find(|trial| trial.state == TrialState::Waiting) {
            return self.begin_waiting(trial, study);
        }
        let epochs = self.plan.file.budget.epochs;
        if epochs.is_none_or(|epochs| self.epochs_spent(study, under_way) < epochs) {
            if let EarlyStopping::Asha(asha) = &self.plan.early_stopping
                && let Some((trial, until)) = asha.promotion(study, &|trial| under_way.contains_key(&trial))
            {
                return Work::GoOn { trial, until_epoch: Some(until) };
            }
            if let Some(assignment) = self.new_trial(study) {
                return Work::Begin { assignment, until_epoch: self.first_pause() };
            }
        }
        if under_way.is_empty() { Work::End } else { Work::Wait }
    }

    /// The first trials, up to `limit`, as they would be without results to learn from. Those of a grid, of Sobol points
    /// and of random search need none.
    pub fn preview(&self, limit: usize) -> Vec<Assignment> {
        let study = Study::new(self.plan.goal);
        let num = self.num_trials().map_or(limit, |num| limit.min(usize::try_from(num).unwrap_or(limit)));
        (0..num).map_while(|number| self.sampler.sample(number, &study)).collect()
    }

    fn begin_waiting(&self, waiting: &Trial, study: &Study) -> Work {
        let trial = waiting.number;
        match enqueued_choices(&self.plan.space, waiting) {
            Ok(given) => {
                let assignment = self.sampler.sample_with(trial, study, &given);
                Work::BeginWaiting { trial, assignment, until_epoch: self.first_pause() }
            }
            Err(why) => Work::Refuse { trial, why },
        }
    }

    fn new_trial(&self, study: &Study) -> Option<Assignment> {
        let number = study.trials.len();
        if number >= MAX_FAILURES && study.trials.iter().all(|trial| trial.state == TrialState::Failed) {
            return None;
        }
        let is_within = self.plan.file.budget.trials.is_none_or(|trials| (number as u64) < trials);
        if is_within { self.sampler.sample(number, study) } else { None }
    }

    fn first_pause(&self) -> Option<u32> {
        match &self.plan.early_stopping {
            EarlyStopping::Asha(asha) => asha.rungs().first().copied(),
            EarlyStopping::Median(_) | EarlyStopping::Off => None,
        }
    }

    fn next_pause(&self, trial: &Trial) -> Option<u32> {
        match &self.plan.early_stopping {
            EarlyStopping::Asha(_) => until_epoch(trial).or_else(|| self.first_pause()),
            EarlyStopping::Median(_) | EarlyStopping::Off => None,
        }
    }

    /// Whether a trial that does not run has paused at a rung, rather than been interrupted before it reached one or
    /// finished.
    fn is_paused(&self, trial: &Trial) -> bool {
        match &self.plan.early_stopping {
            EarlyStopping::Asha(asha) => {
                let until = until_epoch(trial);
                until.is_some_and(|until| until == num_epochs(trial) && until < asha.max_epochs)
            }
            EarlyStopping::Median(_) | EarlyStopping::Off => false,
        }
    }

    /// Epochs that were trained, and those that running trials will train before they pause.
    fn epochs_spent(&self, study: &Study, under_way: &UnderWay) -> u64 {
        let max_epochs = |trial: &Trial| {
            let config = self.plan.trial_config(trial.number, &trial.assignment);
            config.map_or(0, |config| u32::try_from(config.hyperparameters.epochs).unwrap_or(u32::MAX))
        };
        let seeds = self.plan.file.seeds_per_trial as u64;
        let of_trial = |trial: &Trial| match under_way.get(&trial.number) {
            Some(until) => {
                seeds * u64::from(until.unwrap_or_else(|| max_epochs(trial)).max(num_epochs(trial)))
            }
            // A trial that failed at once counts, too, or a sweep of such trials would not end.
            None => trained_epochs(trial, seeds).max(seeds),
        };
        study.trials.iter().filter(|trial| trial.state != TrialState::Waiting).map(of_trial).sum()
    }
}
