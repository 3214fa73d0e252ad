//! What is to be done next: a function of the study, of what is under way and of the budget, and of nothing else, so
//! that a sweep that was cut off goes on as it would have.

use std::collections::BTreeMap;

use ipsight_search::sampler::Sampler;
use ipsight_search::space::Assignment;
use ipsight_search::study::{Study, Trial, TrialState};

use super::figures::{num_epochs, trained_epochs, until_epoch};
use super::plan::{EarlyStopping, SweepPlan};

/// What a free worker does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// It begins a trial, and pauses it after so many epochs; none: at its end.
    Begin {
        /// What the trial takes of each parameter.
        assignment: Assignment,
        /// Where it pauses.
        until_epoch: Option<u32>,
    },
    /// It goes on with a trial that paused or was cut off.
    GoOn {
        /// Its number.
        trial: usize,
        /// Where it pauses.
        until_epoch: Option<u32>,
    },
    /// Nothing, until a trial that is under way has come to a pause or an end.
    Wait,
    /// Nothing any more.
    End,
}

/// The trials that are under way, each with the epoch at which it pauses.
pub type UnderWay = BTreeMap<usize, Option<u32>>;

/// Where so many trials have failed and none has not, the next ones would, too.
const MAX_FAILURES: usize = 100;

/// Chooses what is done next.
pub struct Scheduler<'a> {
    plan: &'a SweepPlan,
    sampler: Sampler,
}

impl<'a> Scheduler<'a> {
    /// Of a sweep.
    pub fn new(plan: &'a SweepPlan) -> Self {
        Self { plan, sampler: Sampler::new(plan.method, plan.space.clone(), plan.file.seed) }
    }

    /// The number of trials that will be begun at most; none where only time or epochs limit them.
    pub fn num_trials(&self) -> Option<u64> {
        let budget = self.plan.file.budget.trials;
        budget.into_iter().chain(self.sampler.num_trials()).min()
    }

    /// What a free worker does next.
    pub fn next(&self, study: &Study, under_way: &UnderWay) -> Work {
        let idle = |trial: &&Trial| !trial.is_finished() && !under_way.contains_key(&trial.number);
        // What was cut off comes first: it is paid for.
        if let Some(trial) = study.trials.iter().filter(idle).find(|trial| !self.is_paused(trial)) {
            return Work::GoOn { trial: trial.number, until_epoch: self.next_pause(trial) };
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

    /// The trials that a sweep would begin one after another if it learned nothing from them: all of a grid, of Sobol'
    /// points and of random ones, up to `limit`.
    pub fn preview(&self, limit: usize) -> Vec<Assignment> {
        let study = Study::new(self.plan.goal);
        let num = self.num_trials().map_or(limit, |num| limit.min(usize::try_from(num).unwrap_or(limit)));
        (0..num).map_while(|number| self.sampler.sample(number, &study)).collect()
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

    /// Whether a trial that is not under way waits at a rung, from which it may never go on, and was not cut off on its
    /// way to one, or before it was completed.
    fn is_paused(&self, trial: &Trial) -> bool {
        match &self.plan.early_stopping {
            EarlyStopping::Asha(asha) => {
                let until = until_epoch(trial);
                until.is_some_and(|until| until == num_epochs(trial) && until < asha.max_epochs)
            }
            EarlyStopping::Median(_) | EarlyStopping::Off => false,
        }
    }

    /// Epochs that were trained, and those that trials under way will train before they pause.
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
            // One that failed at once has taken something, too, or a sweep of such would never end.
            None => trained_epochs(trial, seeds).max(seeds),
        };
        study.trials.iter().map(of_trial).sum()
    }
}
