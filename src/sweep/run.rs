//! The loop of a sweep: legs of trials on threads, each a process; one journal that knows what came of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::file::{EarlyStopping, SweepPlan};
use super::journal::{Ending, Journal};
use super::outcome::{self, PreparedData};
use super::scheduler::{Scheduler, UnderWay, Work};
use super::space::Assignment;
use super::study::{Study, TrialState};
use super::trial::{Launch, Leg, LegEnd, LegEvent, Stopper, run_folder};
use crate::Result;
use crate::device::{DeviceLimits, MemoryPlan};

/// How often the loop looks at signals and the clock.
const TICK: Duration = Duration::from_millis(100);

/// After so long a process that was asked to end is killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Work is written down this often, so that a sweep that was killed knows its hours.
const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

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
    /// Of each training the watched metric by epochs.
    curves: Vec<BTreeMap<u32, f64>>,
    /// Why it was asked to stop.
    stopping: Option<(Instant, &'static str)>,
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

/// Why a trial was stopped.
const BY_MEDIAN: &str = "it is below the median";
const OUT_OF_TIME: &str = "the sweep's hours are over";

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
                self.ask_all(OUT_OF_TIME);
            }
            while !is_late && self.under_way.len() < self.inputs.num_jobs {
                if !self.begin(scope, sender, on_event)? {
                    break;
                }
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
        let leg = Leg { trial, until_epoch, configs, folder: trial_folder(self.inputs.folder, trial) };
        let stopper = Stopper::default();
        let running = Running {
            until_epoch,
            stopper: stopper.clone(),
            bytes: self.bytes_of(assignment),
            began: Instant::now(),
            curves: vec![BTreeMap::new(); leg.configs.len()],
            stopping: None,
        };
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
        let value = self.inputs.plan.watched.value(figures, None);
        let Some(found) = value else {
            return on_event(&SweepEvent::Epoch { trial, epoch, value }, &self.study);
        };
        if running.curves[training].insert(epoch, found).is_some() {
            return Ok(()); // the records tell again what was told
        }
        on_event(&SweepEvent::Epoch { trial, epoch, value }, &self.study)?;
        let of_all: Option<Vec<f64>> =
            running.curves.iter().map(|curve| curve.get(&epoch).copied()).collect();
        let Some(of_all) = of_all else { return Ok(()) };
        self.journal.report(&mut self.study, trial, epoch, mean(&of_all))?;
        if let EarlyStopping::Median(rule) = &self.inputs.plan.early_stopping
            && running.stopping.is_none()
            && rule.should_stop(&self.study, &self.study.trials[trial], epoch)
        {
            running.ask(BY_MEDIAN);
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
        let wall = running.began.elapsed().as_secs_f64();
        let wall = wall
            + self.study.trials[trial].figures.get("wall_seconds").and_then(Value::as_f64).unwrap_or(0.0);
        self.journal.set_figure(&mut self.study, trial, "wall_seconds", json!(wall))?;
        match (end, running.stopping) {
            (LegEnd::Paused, _) => on_event(&SweepEvent::Paused { trial }, &self.study),
            (LegEnd::Done(figures), _) => self.complete(trial, &figures, on_event),
            (LegEnd::Stopped, Some((_, why))) => self.prune(trial, why, on_event),
            // The sweep stops: the trial goes on with it.
            (LegEnd::Stopped, None) => Ok(()),
            (LegEnd::Failed(why), _) => self.fail(trial, why, on_event),
        }
    }

    /// Ends a trial that came to its end: keeps its model if it is the best, and writes down what came out.
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
                    "epochs" | "model_bytes" => json!(mean(&found) as u64),
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
        let value = mean(&values);
        let ending = Ending { state: TrialState::Complete, value: Some(value), constraints, failure: None };
        let is_best = ending.constraints.iter().all(|violation| *violation <= 0.0)
            && self
                .study
                .best()
                .and_then(|best| best.value)
                .is_none_or(|best| plan.goal.is_better(value, best));
        if is_best {
            let better =
                |a: &usize, b: &usize| plan.goal.loss(values[*a]).total_cmp(&plan.goal.loss(values[*b]));
            let training = (0..values.len()).min_by(better).unwrap_or(0);
            let model = run_folder(&trial_folder(self.inputs.folder, trial), training).join("model");
            let config = plan.training_config(trial, &self.study.trials[trial].assignment, training)?;
            outcome::keep_best(self.inputs.folder, &model, &config)?;
        }
        self.finish(trial, ending, is_best, on_event)
    }

    fn prune(
        &mut self,
        trial: usize,
        why: &str,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        let value = self.study.trials[trial].intermediate.last_key_value().map(|(_, value)| *value);
        let ending = match value {
            Some(_) => Ending { state: TrialState::Pruned, value, constraints: Vec::new(), failure: None },
            None => failed(why.into()),
        };
        self.finish(trial, ending, false, on_event)
    }

    fn fail(
        &mut self,
        trial: usize,
        why: String,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        self.finish(trial, failed(why), false, on_event)
    }

    fn finish(
        &mut self,
        trial: usize,
        ending: Ending,
        is_best: bool,
        on_event: &mut dyn FnMut(&SweepEvent, &Study) -> Result<()>,
    ) -> Result<()> {
        self.journal.finish(&mut self.study, trial, ending, now())?;
        outcome::clear(&trial_folder(self.inputs.folder, trial), self.inputs.plan.file.seeds_per_trial);
        on_event(&SweepEvent::Finished { trial, is_best }, &self.study)
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

    fn ask_all(&mut self, why: &'static str) {
        self.under_way.values_mut().filter(|running| running.stopping.is_none()).for_each(|it| it.ask(why));
    }

    fn kill_late(&self) {
        for running in self.under_way.values() {
            if running.stopping.is_some_and(|(asked, _)| asked.elapsed() > PATIENCE) {
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
                self.prune(trial, "it was not begun", on_event)?;
            }
        }
        let elapsed = self.elapsed();
        Ok(SweepEnd { study: self.study, elapsed, stopped_by })
    }
}

impl Running {
    fn ask(&mut self, why: &'static str) {
        self.stopping = Some((Instant::now(), why));
        self.stopper.ask();
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
