//! What becomes of trials: it goes into the journal first, then into the files that follow from it, then to the caller.

use std::time::SystemTime;

use ipsight_search::journal::{Ending, Journal};
use ipsight_search::space::Assignment;
use ipsight_search::study::{Study, Trial, TrialState};
use serde_json::{Value, json};

use super::error::of_journal;
use super::events::{OnEvent, SweepEvent};
use super::figures::{self, BEST_TRAINING, NUM_EPOCHS, TRAINED_EPOCHS, UNTIL_EPOCH, WALL_SECONDS};
use super::inputs::SweepInputs;
use super::metric::Metric;
use super::outcome;
use super::running::{Running, mean};
use super::trial::{TrainingResult, run_folder};
use crate::Result;

/// The journal's attribute with the seconds that the sweep has run.
const ELAPSED: &str = "elapsed_seconds";

/// Records what becomes of trials.
pub(super) struct Recorder<'a> {
    inputs: &'a SweepInputs<'a>,
    journal: Journal,
    study: Study,
    on_event: OnEvent<'a>,
}

impl<'a> Recorder<'a> {
    pub fn new(inputs: &'a SweepInputs<'a>, journal: Journal, study: Study, on_event: OnEvent<'a>) -> Self {
        Self { inputs, journal, study, on_event }
    }

    pub fn study(&self) -> &Study {
        &self.study
    }

    pub fn into_study(self) -> Study {
        self.study
    }

    /// The seconds that the sweep had run when they were last recorded.
    pub fn elapsed(&self) -> f64 {
        self.journal.study_attrs().get(ELAPSED).and_then(Value::as_f64).unwrap_or(0.0)
    }

    pub fn set_elapsed(&mut self, seconds: f64) -> Result<()> {
        self.journal.set_study_attr(ELAPSED, json!(seconds)).map_err(of_journal)
    }

    /// Tells the caller.
    pub fn report(&mut self, event: SweepEvent) -> Result<()> {
        (self.on_event)(&event, &self.study)
    }

    /// Completes what an interrupted sweep had left to do for trials that have ended.
    pub fn catch_up(&self) -> Result<()> {
        self.keep_best()?;
        self.study
            .trials
            .iter()
            .filter(|trial| trial.is_finished())
            .for_each(|trial| self.clear(trial.number));
        Ok(())
    }

    /// Begins a trial and returns its number.
    pub fn begin(&mut self, assignment: Assignment) -> Result<usize> {
        let trial = self.journal.begin_trial(&mut self.study, assignment, now()).map_err(of_journal)?;
        self.report(SweepEvent::Began { trial })?;
        Ok(trial)
    }

    /// Reads which trials were enqueued meanwhile.
    pub fn read_enqueued(&mut self) -> Result<()> {
        self.journal.read_enqueued(&mut self.study).map_err(of_journal)
    }

    /// Begins a trial that was enqueued.
    pub fn begin_waiting(&mut self, trial: usize, assignment: Assignment) -> Result<()> {
        self.journal.begin_waiting(&mut self.study, trial, assignment, now()).map_err(of_journal)?;
        self.report(SweepEvent::Began { trial })
    }

    /// Records the epoch at which a leg is to pause. By it a trial that was interrupted before is told from one that
    /// has paused.
    pub fn begin_leg(&mut self, trial: usize, until_epoch: Option<u32>) -> Result<()> {
        match until_epoch {
            Some(epoch) => self.set_figure(trial, UNTIL_EPOCH, json!(epoch)),
            None => Ok(()),
        }
    }

    /// Records what a leg took.
    pub fn end_leg(&mut self, trial: usize, leg: &Running) -> Result<()> {
        let before = |name: &str| figures::number(&self.study.trials[trial], name).unwrap_or(0.0);
        let seconds = before(WALL_SECONDS) + leg.seconds();
        let num_epochs = leg.num_reported_epochs().max(before(TRAINED_EPOCHS) as u64);
        self.set_figure(trial, WALL_SECONDS, json!(seconds))?;
        self.set_figure(trial, TRAINED_EPOCHS, json!(num_epochs))
    }

    /// Records the metric that early stopping compares, after an epoch.
    pub fn add_epoch(&mut self, trial: usize, epoch: u32, value: f64) -> Result<()> {
        self.journal.report(&mut self.study, trial, epoch, value).map_err(of_journal)
    }

    /// Ends a trial whose trainings have all finished, with their results.
    pub fn complete(&mut self, trial: usize, results: &[TrainingResult]) -> Result<()> {
        let plan = self.inputs.plan;
        let Some(values) = values_of(&plan.metric, results) else {
            return self.fail(trial, format!("there is no {} in its figures", plan.metric));
        };
        self.set_mean_figures(trial, results)?;
        let constraints = self.violations(trial, results)?;
        // Of several trainings the best one's model is that of the trial.
        let better = |a: &usize, b: &usize| plan.goal.loss(values[*a]).total_cmp(&plan.goal.loss(values[*b]));
        let training = (0..values.len()).min_by(better).unwrap_or(0);
        self.set_figure(trial, BEST_TRAINING, json!(training))?;
        let value = Some(mean(&values));
        self.finish(trial, Ending { state: TrialState::Complete, value, constraints, failure: None })
    }

    /// Ends a trial that was stopped early.
    pub fn prune(&mut self, trial: usize) -> Result<()> {
        let last = self.study.trials[trial].intermediate.last_key_value().map(|(_, value)| *value);
        if last.is_none() {
            return self.fail(trial, "it was stopped before the end of its first epoch".into());
        }
        // What early stopping compares says nothing of another metric.
        let value = last.filter(|_| self.inputs.plan.watched == self.inputs.plan.metric);
        self.finish(
            trial,
            Ending { state: TrialState::Pruned, value, constraints: Vec::new(), failure: None },
        )
    }

    /// Ends a trial that has no result.
    pub fn fail(&mut self, trial: usize, why: String) -> Result<()> {
        let (state, constraints) = (TrialState::Failed, Vec::new());
        self.finish(trial, Ending { state, value: None, constraints, failure: Some(why) })
    }

    fn finish(&mut self, trial: usize, ending: Ending) -> Result<()> {
        // A kill may have come between the last epoch's report and this figure.
        let num_trainings = self.inputs.num_trainings() as u64;
        let trained = figures::trained_epochs(&self.study.trials[trial], num_trainings);
        if trained > 0 {
            self.set_figure(trial, TRAINED_EPOCHS, json!(trained))?;
        }
        self.journal.finish(&mut self.study, trial, ending, now()).map_err(of_journal)?;
        // The journal is first: if the sweep is interrupted from here on, `catch_up` does the rest.
        let is_best = self.study.best().is_some_and(|best| best.number == trial);
        if is_best {
            self.keep_best()?;
        }
        self.clear(trial);
        self.report(SweepEvent::Finished { trial, is_best })
    }

    /// Records the means of the trainings' figures.
    fn set_mean_figures(&mut self, trial: usize, results: &[TrainingResult]) -> Result<()> {
        let names = results.first().and_then(|result| result.figures.as_object()).into_iter().flatten();
        for (name, _) in names {
            let found: Option<Vec<f64>> =
                results.iter().map(|result| result.figures[name].as_f64()).collect();
            if let Some(found) = found {
                let mean = match name.as_str() {
                    NUM_EPOCHS | "model_bytes" => json!(mean(&found) as u64),
                    _ => json!(mean(&found)),
                };
                self.set_figure(trial, name, mean)?;
            }
        }
        Ok(())
    }

    /// The violation of each constraint, after its figures of evaluations are recorded.
    fn violations(&mut self, trial: usize, results: &[TrainingResult]) -> Result<Vec<f64>> {
        let mut violations = Vec::new();
        for constraint in &self.inputs.plan.constraints {
            let value = values_of(&constraint.metric, results).map(|values| mean(&values));
            violations.push(constraint.violation(value));
            if constraint.metric.needs_evaluation() {
                self.set_figure(trial, &constraint.metric.to_string(), json!(value))?;
            }
        }
        Ok(violations)
    }

    fn set_figure(&mut self, trial: usize, name: &str, value: Value) -> Result<()> {
        self.journal.set_figure(&mut self.study, trial, name, value).map_err(of_journal)
    }

    /// Moves the best trial's model to its place, if it is not there yet, and writes its configuration.
    fn keep_best(&self) -> Result<()> {
        let Some(best) = self.study.best() else { return Ok(()) };
        let training = figures::best_training(best);
        let config = self.inputs.plan.training_config(best.number, &best.assignment, training)?;
        let run = run_folder(&self.inputs.trial_folder(best.number), training);
        outcome::keep_best(self.inputs.folder, &run.join("model"), &config)
    }

    fn clear(&self, trial: usize) {
        outcome::clear(&self.inputs.trial_folder(trial), self.inputs.num_trainings());
    }

    /// Ends the trials that have paused and will not continue.
    pub fn prune_paused(&mut self) -> Result<()> {
        let paused = |trial: &&Trial| trial.state == TrialState::Running;
        let paused: Vec<usize> = self.study.trials.iter().filter(paused).map(|trial| trial.number).collect();
        paused.into_iter().try_for_each(|trial| self.prune(trial))
    }
}

/// The values of a metric, one for each training; `None` if one of them does not have it.
fn values_of(metric: &Metric, results: &[TrainingResult]) -> Option<Vec<f64>> {
    results.iter().map(|result| metric.value(&result.figures, result.evaluation.as_ref())).collect()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
