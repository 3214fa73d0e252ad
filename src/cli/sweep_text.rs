//! How a sweep is told: a live table on a terminal, lines elsewhere, or JSON.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipsight::Result;
use ipsight::sweep::{Scheduler, SweepEvent, SweepPlan, num_epochs};
use ipsight_search::space::Space;
use ipsight_search::study::{Study, Trial, TrialState};
use serde_json::{Map, Value, json};

use super::output;

/// What is seen of a sweep while it runs.
pub struct Screen<'a> {
    plan: &'a SweepPlan,
    json: bool,
    table: Option<Table>,
    num_trials: Option<u64>,
    start: Instant,
    /// Trials that had ended, and epochs that had been trained, before this process.
    before: (usize, u64),
}

/// A line for each trial under way, and one for all.
struct Table {
    lines: MultiProgress,
    of_trials: BTreeMap<usize, ProgressBar>,
    of_all: ProgressBar,
}

impl Table {
    fn new() -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let of_all = lines.add(line());
        Self { lines, of_trials: BTreeMap::new(), of_all }
    }
}

fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_msg}").expect("a template of this program");
    ProgressBar::new_spinner().with_style(style)
}

impl<'a> Screen<'a> {
    pub fn new(plan: &'a SweepPlan, json: bool, study: &Study) -> Self {
        let table = std::io::stderr().is_terminal().then(Table::new);
        let num_trials = Scheduler::new(plan).num_trials();
        let before = (num_finished(study), total_epochs(study));
        Self { plan, json, table, num_trials, start: Instant::now(), before }
    }

    /// Takes the table away.
    pub fn clear(&mut self) {
        if let Some(table) = self.table.take() {
            let _ = table.lines.clear();
        }
    }

    pub fn on_event(&mut self, event: &SweepEvent, study: &Study) -> Result<()> {
        if self.json {
            self.print_json(event, study)?;
        }
        let of = |trial: usize| &study.trials[trial];
        match event {
            SweepEvent::Began { trial } | SweepEvent::GoesOn { trial } => self.show(of(*trial), None),
            SweepEvent::Epoch { trial, epoch, value } => self.show(of(*trial), Some((*epoch, *value))),
            SweepEvent::Paused { trial } => {
                self.hide(*trial);
                self.say(&format!("trial {trial}  pauses after {}", self.epochs(of(*trial))));
            }
            SweepEvent::Finished { trial, is_best } => {
                self.hide(*trial);
                self.say(&self.last_line(of(*trial), *is_best));
            }
            SweepEvent::Tick => {}
        }
        if let Some(table) = &self.table {
            table.of_all.set_message(self.summary(study));
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        match &self.table {
            // Where the terminal is gone, nobody is there to be told.
            Some(table) => drop(table.lines.println(text)),
            None => talk!("{text}"),
        }
    }

    fn show(&mut self, trial: &Trial, epoch: Option<(u32, Option<f64>)>) {
        let values = values(&self.plan.space, trial);
        let Some(table) = &mut self.table else {
            if epoch.is_none() {
                let what = if num_epochs(trial) == 0 { "begins" } else { "goes on" };
                talk!("trial {}  {what}  {values}", trial.number);
            }
            return;
        };
        let lines = &table.lines;
        let before = &table.of_all;
        let line = table.of_trials.entry(trial.number).or_insert_with(|| lines.insert_before(before, line()));
        let epochs = self.plan.trial_config(trial.number, &trial.assignment);
        let epochs = epochs.map_or(0, |config| config.hyperparameters.epochs);
        let at = match epoch {
            Some((epoch, Some(value))) => format!("epoch {epoch}/{epochs}  {} {value:.6}", self.plan.watched),
            Some((epoch, None)) => format!("epoch {epoch}/{epochs}"),
            None => format!("epoch {}/{epochs}", num_epochs(trial)),
        };
        line.set_message(format!("trial {}  {at}  {values}", trial.number));
    }

    fn hide(&mut self, trial: usize) {
        if let Some(table) = &mut self.table
            && let Some(line) = table.of_trials.remove(&trial)
        {
            line.finish_and_clear();
            table.lines.remove(&line);
        }
    }

    fn epochs(&self, trial: &Trial) -> String {
        match trial.intermediate.last_key_value() {
            Some((epoch, value)) => format!("epoch {epoch}  {} {value:.6}", self.plan.watched),
            None => format!("epoch {}", num_epochs(trial)),
        }
    }

    fn last_line(&self, trial: &Trial, is_best: bool) -> String {
        let metric = &self.plan.metric;
        let number = trial.number;
        let seconds = trial.figures.get("wall_seconds").and_then(Value::as_f64).unwrap_or(0.0);
        let what = match (trial.state, trial.value) {
            (TrialState::Complete, Some(value)) => {
                let is_best = if is_best { "  the best so far" } else { "" };
                let is_feasible = if trial.is_feasible() { "" } else { "  violates a constraint" };
                format!("{metric} {value:.6}{is_best}{is_feasible}")
            }
            (TrialState::Pruned, _) => format!("stopped after {}", self.epochs(trial)),
            _ => format!("failed: {}", trial.failure.as_deref().unwrap_or("no reason is known")),
        };
        format!("trial {number}  {what}  {seconds:.1} s  {}", values(&self.plan.space, trial))
    }

    fn summary(&self, study: &Study) -> String {
        let count = |state| study.trials.iter().filter(|trial| trial.state == state).count();
        let of = self.num_trials.map_or(String::new(), |num| format!(" of {num}"));
        let (pruned, failed) = (count(TrialState::Pruned), count(TrialState::Failed));
        let mut text = format!("{}{of} trials ended", num_finished(study));
        for (number, what) in [(pruned, "stopped early"), (failed, "failed")] {
            if number > 0 {
                text += &format!(", {number} {what}");
            }
        }
        if let Some(best) = study.best() {
            text += &format!("; best {:.6} (trial {})", best.value.unwrap_or(f64::NAN), best.number);
        }
        if let Some(left) = self.time_left(study) {
            text += &format!("; {} left", output::duration(left));
        }
        text
    }

    /// What is left by the speed so far: of the limit that comes first.
    fn time_left(&self, study: &Study) -> Option<Duration> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let left = |done: u64, before: u64, limit: u64| {
            let since = done.saturating_sub(before);
            (since > 0).then(|| elapsed / since as f64 * limit.saturating_sub(done) as f64)
        };
        let budget = &self.plan.file.budget;
        let seeds = self.plan.file.seeds_per_trial as u64;
        let by_trials =
            self.num_trials.and_then(|limit| left(num_finished(study) as u64, self.before.0 as u64, limit));
        let by_epochs =
            budget.epochs.and_then(|limit| left(seeds * total_epochs(study), seeds * self.before.1, limit));
        let by_hours = budget.hours.map(|hours| (3600.0 * hours - elapsed).max(0.0));
        let least = [by_trials, by_epochs, by_hours].into_iter().flatten().reduce(f64::min)?;
        Duration::try_from_secs_f64(least).ok()
    }

    fn print_json(&self, event: &SweepEvent, study: &Study) -> Result<()> {
        let of = |trial: usize| &study.trials[trial];
        let line = match event {
            SweepEvent::Began { trial } => {
                json!({ "event": "began", "trial": trial, "parameters": parameters(&self.plan.space, of(*trial)) })
            }
            SweepEvent::GoesOn { trial } => {
                json!({ "event": "goes_on", "trial": trial, "num_epochs": num_epochs(of(*trial)) })
            }
            SweepEvent::Epoch { trial, epoch, value } => {
                json!({ "event": "epoch", "trial": trial, "num_epochs": epoch, self.plan.watched.to_string(): value })
            }
            SweepEvent::Paused { trial } => {
                json!({ "event": "paused", "trial": trial, "num_epochs": num_epochs(of(*trial)) })
            }
            SweepEvent::Finished { trial, is_best } => {
                let trial = of(*trial);
                let state = match trial.state {
                    TrialState::Complete => "complete",
                    TrialState::Pruned => "pruned",
                    TrialState::Failed | TrialState::Running | TrialState::Waiting => "failed",
                };
                json!({
                    "event": "finished", "trial": trial.number, "state": state, "value": trial.value,
                    "is_best": is_best, "is_feasible": trial.is_feasible(), "figures": trial.figures,
                    "failure": trial.failure,
                })
            }
            SweepEvent::Tick => return Ok(()),
        };
        output::even_unread(output::line(line))
    }
}

fn num_finished(study: &Study) -> usize {
    study.trials.iter().filter(|trial| trial.is_finished()).count()
}

fn total_epochs(study: &Study) -> u64 {
    study.trials.iter().map(|trial| u64::from(num_epochs(trial))).sum()
}

/// `name=value` of each parameter that varies in a trial.
pub fn values(space: &Space, trial: &Trial) -> String {
    let short = |value: &toml::Value| match value {
        toml::Value::Float(number) => format!("{number:.4e}"),
        other => other.to_string(),
    };
    let values = space.values(&trial.assignment);
    values
        .map(|(parameter, value)| format!("{}={}", parameter.name, short(&value)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The same as an object.
pub fn parameters(space: &Space, trial: &Trial) -> Map<String, Value> {
    space.values(&trial.assignment).map(|(parameter, value)| (parameter.name.clone(), json!(value))).collect()
}
