//! The loop of a sweep: legs of trials on threads, each a process; one journal that knows what came of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::file::{EarlyStopping, SweepPlan};
use super::journal::{Ending, Journal};
use super::outcome::{self, PreparedData};
use super::scheduler::{self, Scheduler, UnderWay, Work};
use super::space::Assignment;
use super::study::{Study, Trial, TrialState};
use super::trial::{Launch, Leg, LegEnd, LegEvent, Stopper, run_folder};
use crate::Result;
use crate::device::{DeviceLimits, MemoryPlan};

/// How often the loop looks at signals and the clock.
const TICK: Duration = Duration::from_millis(100);

/// After so long a process that was asked to end is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Work is written down this often, so that a sweep that was killed knows its hours.
const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

/// Figures of a trial that are for the sweep itself: where its last leg was to pause, the epochs of all its trainings
/// together, and which of them has the model to keep.
pub(super) const UNTIL_EPOCH: &str = "until_epoch";
pub(super) const TRAINED_EPOCHS: &str = "trained_epochs";
const BEST_TRAINING: &str = "best_training";

/// The journal's attribute with the seconds that the sweep has worked.
const ELAPSED: &str = "elapsed_seconds";

/// What a sweep tells its caller as it goes.
#[derive(Debug)]
pub enum SweepEvent {
    /// A trial was begun.
    Began {
        /// Its number.
        trial: usize,
    },
    /// A trial that paused or was cut off goes on.
    GoesOn {
        /// Its number.
        trial: usize,
    },
    /// One of a trial's trainings has finished an epoch.
    Epoch {
        /// The trial.
        trial: usize,
        /// Epochs of this training.
        epoch: u32,
        /// The metric that is watched.
        value: Option<f64>,
    },
    /// A trial has paused.
    Paused {
        /// Its number.
        trial: usize,
    },
    /// A trial has come to an end, whichever: the study says more.
    Finished {
        /// Its number.
        trial: usize,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// Some time has passed.
    Tick,
}

/// What a sweep is run with.
pub struct SweepInputs<'a> {
    /// What is looked for, where.
    pub plan: &'a SweepPlan,
    /// The sweep's folder, which this process holds.
    pub folder: &'a Path,
    /// What is trained on.
    pub data: &'a PreparedData,
    /// Processes at a time.
    pub num_jobs: usize,
    /// How they are started.
    pub launch: Launch,
    /// What fits the device.
    pub limits: DeviceLimits,
    /// Bytes that all trials at a time may take; none: it is not known.
    pub capacity_bytes: Option<u64>,
    /// Asked now and then: the number of a signal that asks the sweep to stop.
    pub stop: &'a dyn Fn() -> Option<i32>,
}

/// How a sweep ended.
#[derive(Debug)]
pub struct SweepEnd {
    /// The trials.
    pub study: Study,
    /// Seconds of work, those before a resumption included.
    pub elapsed: f64,
    /// The signal that stopped it.
    pub stopped_by: Option<i32>,
}

/// Runs a sweep from its journal on until its budget is used up, or a signal.
///
/// # Errors
///
/// [`Error::Io`] where the journal or a folder cannot be written, and whatever `on_event` returns. What a trial fails of
/// is its result and no error.
pub fn run(
    inputs: &SweepInputs<'_>,
    journal: Journal,
    study: Study,
    on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
) -> Result<SweepEnd> {
    let before = journal.study_attrs().get(ELAPSED).and_then(Value::as_f64).unwrap_or(0.0);
    let (sender, receiver) = channel();
    let mut sweep = Sweep {
        inputs,
        scheduler: Scheduler::new(inputs.plan),
        journal,
        study,
        under_way: BTreeMap::new(),
        start: Instant::now(),
        before,
        clock: Instant::now(),
    };
    sweep.make_good()?;
    std::thread::scope(|scope| {
        let result = sweep.work(scope, &sender, &receiver, on_event);
        // However that went, no process outlives this one.
        let stopped = sweep.stop_all(&receiver);
        result.and_then(|stopped_by| stopped.map(|()| stopped_by))
    })
    .and_then(|stopped_by| sweep.end(stopped_by, on_event))
}

/// A trial under way.
struct Running {
    until_epoch: Option<u32>,
    stopper: Stopper,
    bytes: u64,
    began: Instant,
    /// Epochs of each training.
    num_epochs: u32,
    /// Of each training the watched metric, where it has one, by epochs that were told.
    curves: Vec<BTreeMap<u32, Option<f64>>>,
    /// When it was asked to stop early.
    stopping: Option<Instant>,
}

impl Running {
    fn ask(&mut self) {
        self.stopping = Some(Instant::now());
        self.stopper.ask();
    }

    /// The watched metric by epochs: the mean over the trainings that have come so far, and whether all have.
    fn means(&self) -> BTreeMap<u32, (f64, bool)> {
        let mut found: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        for (epoch, value) in self.curves.iter().flatten() {
            found.entry(*epoch).or_default().extend(value);
        }
        found.retain(|_, values| !values.is_empty());
        let num_trainings = self.curves.len();
        found.into_iter().map(|(epoch, of)| (epoch, (mean(&of), of.len() == num_trainings))).collect()
    }
}

struct Sweep<'a> {
    inputs: &'a SweepInputs<'a>,
    scheduler: Scheduler<'a>,
    journal: Journal,
    study: Study,
    under_way: BTreeMap<usize, Running>,
    start: Instant,
    /// Seconds of earlier processes.
    before: f64,
    /// When seconds were last written down.
    clock: Instant,
}

type Message = (usize, LegEvent);

impl<'scope> Sweep<'scope> {
    /// Until there is nothing left to do, or a signal.
    fn work<'s>(
        &mut self,
        scope: &'s std::thread::Scope<'s, '_>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<Option<i32>>
    where
        'scope: 's,
    {
        loop {
            if let Some(signal) = (self.inputs.stop)() {
                return Ok(Some(signal));
            }
            let is_late = self.is_out_of_time();
            if is_late {
                self.ask_all();
            }
            let has_worker = !is_late && self.under_way.len() < self.inputs.num_jobs;
            if has_worker && self.begin(scope, sender, on_event)? {
                continue;
            }
            if self.under_way.is_empty() {
                return Ok(None);
            }
            match receiver.recv_timeout(TICK) {
                Ok(message) => self.on_message(message, on_event)?,
                Err(RecvTimeoutError::Timeout) => on_event(&SweepEvent::Tick, &self.study)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            self.kill_late();
            if self.clock.elapsed() >= CLOCK_INTERVAL {
                self.write_clock()?;
            }
        }
    }

    /// Begins what is next; false where there is nothing, or no room.
    fn begin<'s>(
        &mut self,
        scope: &'s std::thread::Scope<'s, '_>,
        sender: &Sender<Message>,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<bool>
    where
        'scope: 's,
    {
        let (trial, until_epoch) = match self.scheduler.next(&self.study, &self.pauses()) {
            Work::End | Work::Wait => return Ok(false),
            Work::GoOn { trial, until_epoch } => {
                if !self.has_room(&self.study.trials[trial].assignment) {
                    return Ok(false);
                }
                on_event(&SweepEvent::GoesOn { trial }, &self.study)?;
                (trial, until_epoch)
            }
            Work::Begin { assignment, until_epoch } => {
                if !self.has_room(&assignment) {
                    return Ok(false);
                }
                let trial = self.journal.begin_trial(&mut self.study, assignment, now())?;
                on_event(&SweepEvent::Began { trial }, &self.study)?;
                (trial, until_epoch)
            }
        };
        let assignment = &self.study.trials[trial].assignment;
        let configs = match self.configs(trial, assignment) {
            Ok(configs) => configs,
            Err(error) => {
                self.fail(trial, error.to_string(), on_event)?;
                return Ok(true);
            }
        };
        let num_epochs = configs.first().map_or(0, |config| config.hyperparameters.epochs);
        let running = Running {
            until_epoch,
            stopper: Stopper::default(),
            bytes: self.bytes_of(assignment),
            began: Instant::now(),
            num_epochs: u32::try_from(num_epochs).unwrap_or(u32::MAX),
            curves: vec![BTreeMap::new(); configs.len()],
            stopping: None,
        };
        if let Some(epoch) = until_epoch {
            // One that is cut off before it comes there is told from one that has paused.
            self.journal.set_figure(&mut self.study, trial, UNTIL_EPOCH, json!(epoch))?;
        }
        let leg = Leg { trial, until_epoch, configs, folder: trial_folder(self.inputs.folder, trial) };
        let stopper = running.stopper.clone();
        self.under_way.insert(trial, running);
        let (sender, launch) = (sender.clone(), self.inputs.launch.clone());
        scope.spawn(move || {
            // The sweep that would hear of it may have ended with an error.
            let tell = |event| drop(sender.send((leg.trial, event)));
            let end = leg.run(&launch, &stopper, &tell);
            tell(LegEvent::End(end));
        });
        Ok(true)
    }

    /// The configurations of a trial's trainings, as its processes get them.
    fn configs(&self, trial: usize, assignment: &Assignment) -> Result<Vec<crate::Config>> {
        let plan = self.inputs.plan;
        MemoryPlan::for_training(&plan.trial_config(trial, assignment)?, &self.inputs.limits)?;
        let config = |training| {
            let mut config = plan.training_config(trial, assignment, training)?;
            self.inputs.data.lay_over(&mut config);
            config.training.checkpoint_interval = "1 epochs".into();
            config.training.keep_checkpoints = 1;
            Ok(config)
        };
        (0..plan.file.seeds_per_trial).map(config).collect()
    }

    fn bytes_of(&self, assignment: &Assignment) -> u64 {
        let config = self.inputs.plan.trial_config(0, assignment);
        // One that is none, or fits nowhere, fails when it is begun.
        let plan = config.and_then(|config| MemoryPlan::for_training(&config, &self.inputs.limits));
        plan.map_or(0, |plan| plan.total_bytes())
    }

    /// Whether a trial fits beside those under way. Alone it is tried in any case.
    fn has_room(&self, assignment: &Assignment) -> bool {
        let taken: u64 = self.under_way.values().map(|running| running.bytes).sum();
        let wanted = taken.saturating_add(self.bytes_of(assignment));
        self.under_way.is_empty() || self.inputs.capacity_bytes.is_none_or(|capacity| wanted <= capacity)
    }

    fn pauses(&self) -> UnderWay {
        self.under_way.iter().map(|(trial, running)| (*trial, running.until_epoch)).collect()
    }

    fn on_message(
        &mut self,
        (trial, event): Message,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        match event {
            LegEvent::Epoch { training, figures } => self.on_epoch(trial, training, &figures, on_event),
            LegEvent::End(end) => self.on_end(trial, end, on_event),
        }
    }

    fn on_epoch(
        &mut self,
        trial: usize,
        training: usize,
        figures: &Value,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        let Some(running) = self.under_way.get_mut(&trial) else { return Ok(()) };
        let Some(epoch) = figures["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch + 1).ok()) else {
            return Ok(());
        };
        let is_known = self.study.trials[trial].intermediate.contains_key(&epoch);
        let value = self.inputs.plan.watched.value(figures, None);
        if running.curves[training].insert(epoch, value).is_some() || is_known {
            return Ok(()); // the records tell again what was told
        }
        let means = running.means();
        on_event(&SweepEvent::Epoch { trial, epoch, value }, &self.study)?;
        if let Some((mean, true)) = means.get(&epoch) {
            self.journal.report(&mut self.study, trial, epoch, *mean)?;
        }
        // Behind the last epoch there is nothing left to be saved.
        if let EarlyStopping::Median(rule) = &self.inputs.plan.early_stopping
            && running.stopping.is_none()
            && epoch < running.num_epochs
        {
            let intermediate = means.into_iter().map(|(epoch, (mean, _))| (epoch, mean)).collect();
            let so_far = Trial { intermediate, ..self.study.trials[trial].clone() };
            if rule.should_stop(&self.study, &so_far, epoch) {
                running.ask();
            }
        }
        Ok(())
    }

    fn on_end(
        &mut self,
        trial: usize,
        end: LegEnd,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        let Some(running) = self.under_way.remove(&trial) else { return Ok(()) };
        let before =
            |name: &str| self.study.trials[trial].figures.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        let wall = before("wall_seconds") + running.began.elapsed().as_secs_f64();
        let last_epochs = running.curves.iter().filter_map(|curve| curve.last_key_value());
        let trained = last_epochs.map(|(epoch, _)| u64::from(*epoch)).sum::<u64>();
        let trained = trained.max(before(TRAINED_EPOCHS) as u64);
        self.journal.set_figure(&mut self.study, trial, "wall_seconds", json!(wall))?;
        self.journal.set_figure(&mut self.study, trial, TRAINED_EPOCHS, json!(trained))?;
        match end {
            LegEnd::Paused => on_event(&SweepEvent::Paused { trial }, &self.study),
            LegEnd::Done(figures) => self.complete(trial, &figures, on_event),
            LegEnd::Stopped if running.stopping.is_some() => {
                for (epoch, (mean, _)) in running.means() {
                    self.journal.report(&mut self.study, trial, epoch, mean)?;
                }
                self.prune(trial, on_event)
            }
            // The sweep stops: the trial goes on with it.
            LegEnd::Stopped => Ok(()),
            LegEnd::Failed(why) => self.fail(trial, why, on_event),
            // Neither the trial's fault nor its result.
            LegEnd::Broken(error) => Err(error),
            LegEnd::Terminated if self.is_stopping() => Ok(()),
            LegEnd::Terminated => self.fail(trial, "somebody stopped its process".into(), on_event),
        }
    }

    /// Whether a signal that ended a trial's process is for the sweep, too, as when a whole group is told to end.
    fn is_stopping(&self) -> bool {
        std::thread::sleep(2 * TICK);
        (self.inputs.stop)().is_some()
    }

    /// Ends a trial that came to its end: writes down what came out.
    fn complete(
        &mut self,
        trial: usize,
        figures: &[(Value, Option<Value>)],
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        let plan = self.inputs.plan;
        let of_metric = |metric: &super::metric::Metric| -> Option<Vec<f64>> {
            figures.iter().map(|(training, evaluation)| metric.value(training, evaluation.as_ref())).collect()
        };
        let Some(values) = of_metric(&plan.metric) else {
            return self.fail(trial, format!("there is no {} in its figures", plan.metric), on_event);
        };
        let names = figures.first().and_then(|(training, _)| training.as_object()).into_iter().flatten();
        for (name, _) in names {
            let found: Option<Vec<f64>> =
                figures.iter().map(|(training, _)| training[name].as_f64()).collect();
            if let Some(found) = found {
                let mean = match name.as_str() {
                    "num_epochs" | "model_bytes" => json!(mean(&found) as u64),
                    _ => json!(mean(&found)),
                };
                self.journal.set_figure(&mut self.study, trial, name, mean)?;
            }
        }
        let mut constraints = Vec::new();
        for constraint in &plan.constraints {
            let value = of_metric(&constraint.metric).map(|values| mean(&values));
            constraints.push(constraint.violation(value));
            if constraint.metric.needs_evaluation() {
                let name = constraint.metric.to_string();
                self.journal.set_figure(&mut self.study, trial, &name, json!(value))?;
            }
        }
        // Of several trainings the best one's model is that of the trial.
        let better = |a: &usize, b: &usize| plan.goal.loss(values[*a]).total_cmp(&plan.goal.loss(values[*b]));
        let training = (0..values.len()).min_by(better).unwrap_or(0);
        self.journal.set_figure(&mut self.study, trial, BEST_TRAINING, json!(training))?;
        let value = Some(mean(&values));
        self.finish(
            trial,
            Ending { state: TrialState::Complete, value, constraints, failure: None },
            on_event,
        )
    }

    fn prune(
        &mut self,
        trial: usize,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        let last = self.study.trials[trial].intermediate.last_key_value().map(|(_, value)| *value);
        // What is watched says nothing of another metric.
        let value = last.filter(|_| self.inputs.plan.watched == self.inputs.plan.metric);
        let ending = match last {
            Some(_) => Ending { state: TrialState::Pruned, value, constraints: Vec::new(), failure: None },
            None => failed("it was stopped before the end of its first epoch".into()),
        };
        self.finish(trial, ending, on_event)
    }

    fn fail(
        &mut self,
        trial: usize,
        why: String,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        self.finish(trial, failed(why), on_event)
    }

    fn finish(
        &mut self,
        trial: usize,
        ending: Ending,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        // A kill may have come between the last epoch's report and this figure.
        let seeds = self.inputs.plan.file.seeds_per_trial as u64;
        let trained = scheduler::trained_epochs(&self.study.trials[trial], seeds);
        if trained > 0 {
            self.journal.set_figure(&mut self.study, trial, TRAINED_EPOCHS, json!(trained))?;
        }
        self.journal.finish(&mut self.study, trial, ending, now())?;
        // The journal knows first: what is cut off from here on is made good at the next start.
        let is_best = self.study.best().is_some_and(|best| best.number == trial);
        if is_best {
            self.keep_best()?;
        }
        outcome::clear(&trial_folder(self.inputs.folder, trial), self.inputs.plan.file.seeds_per_trial);
        on_event(&SweepEvent::Finished { trial, is_best }, &self.study)
    }

    /// Moves the best trial's model to its place, if it is not there yet, and writes its configuration.
    fn keep_best(&self) -> Result<()> {
        let Some(best) = self.study.best() else { return Ok(()) };
        let training = best.figures.get(BEST_TRAINING).and_then(Value::as_u64).unwrap_or(0) as usize;
        let folder = trial_folder(self.inputs.folder, best.number);
        let config = self.inputs.plan.training_config(best.number, &best.assignment, training)?;
        outcome::keep_best(self.inputs.folder, &run_folder(&folder, training).join("model"), &config)
    }

    /// Does what a sweep that was cut off had left to do for trials that have ended.
    fn make_good(&self) -> Result<()> {
        self.keep_best()?;
        for trial in self.study.trials.iter().filter(|trial| trial.is_finished()) {
            let folder = trial_folder(self.inputs.folder, trial.number);
            outcome::clear(&folder, self.inputs.plan.file.seeds_per_trial);
        }
        Ok(())
    }

    fn is_out_of_time(&self) -> bool {
        self.inputs.plan.file.budget.hours.is_some_and(|hours| self.elapsed() >= 3600.0 * hours)
    }

    fn elapsed(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    fn write_clock(&mut self) -> Result<()> {
        self.clock = Instant::now();
        self.journal.set_study_attr(ELAPSED, json!(self.elapsed()))
    }

    fn ask_all(&mut self) {
        self.under_way.values_mut().filter(|running| running.stopping.is_none()).for_each(Running::ask);
    }

    fn kill_late(&self) {
        for running in self.under_way.values() {
            if running.stopping.is_some_and(|asked| asked.elapsed() > PATIENCE) {
                running.stopper.kill();
            }
        }
    }

    /// Ends every process; their trials stay where they are.
    fn stop_all(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        self.under_way.values().for_each(|running| running.stopper.ask());
        let asked = Instant::now();
        while !self.under_way.is_empty() {
            match receiver.recv_timeout(TICK) {
                Ok((trial, LegEvent::End(_))) => _ = self.under_way.remove(&trial),
                Ok(_) => {}
                Err(_) if asked.elapsed() > PATIENCE => {
                    self.under_way.values().for_each(|running| running.stopper.kill());
                }
                Err(_) => {}
            }
        }
        self.write_clock()
    }

    /// What is left to say of trials that wait at a rung from which they will not go on.
    fn end(
        mut self,
        stopped_by: Option<i32>,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<SweepEnd> {
        if stopped_by.is_none() {
            let waiting: Vec<usize> = self
                .study
                .trials
                .iter()
                .filter(|trial| !trial.is_finished())
                .map(|trial| trial.number)
                .collect();
            for trial in waiting {
                self.prune(trial, on_event)?;
            }
        }
        let elapsed = self.elapsed();
        Ok(SweepEnd { study: self.study, elapsed, stopped_by })
    }
}

fn failed(why: String) -> Ending {
    Ending { state: TrialState::Failed, value: None, constraints: Vec::new(), failure: Some(why) }
}

/// The folder of a trial.
pub(super) fn trial_folder(sweep: &Path, trial: usize) -> PathBuf {
    sweep.join("trials").join(format!("{trial:05}"))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
