//! The loop of a sweep: it starts the trials that the scheduler chooses, each on a thread that waits for its processes,
//! and records what becomes of them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ipsight_search::journal::Journal;
use ipsight_search::space::Assignment;
use ipsight_search::study::{Study, Trial};
use serde_json::Value;

use super::events::{OnEvent, SweepEvent};
use super::inputs::SweepInputs;
use super::plan::EarlyStopping;
use super::process::Failure;
use super::recorder::Recorder;
use super::running::Running;
use super::scheduler::{Scheduler, UnderWay, Work};
use super::trial::{Leg, LegEnd, LegEvent};
use crate::{Error, Result};

/// The name of a thread that runs a trial's processes.
const TRIAL: &str = "trial";

/// How often the loop looks at signals and the clock.
const TICK: Duration = Duration::from_millis(100);

/// A process that was asked to end is killed after this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time that the sweep has run is recorded this often, so that a sweep that was killed knows its hours.
const CLOCK_INTERVAL: Duration = Duration::from_secs(30);

/// How a sweep ended.
#[derive(Debug)]
pub struct SweepEnd {
    /// The trials.
    pub study: Study,
    /// Seconds that the sweep has run, those before a resumption included.
    pub elapsed: f64,
    /// The signal that stopped it.
    pub stopped_by: Option<i32>,
}

/// Runs a sweep from the state of its journal until its budget is used up, or until a signal.
///
/// # Errors
///
/// [`crate::Error::Io`] where the journal or a folder cannot be written, and every error of `on_event`. A trial that
/// fails is a result and no error.
pub fn run(
    inputs: &SweepInputs<'_>,
    journal: Journal,
    study: Study,
    on_event: OnEvent<'_>,
) -> Result<SweepEnd> {
    let recorder = Recorder::new(inputs, journal, study, on_event);
    recorder.catch_up()?;
    let mut sweep = Sweep::new(inputs, recorder);
    let result = sweep.work();
    // No process outlives this one, whatever the result.
    let stopped = sweep.stop_all();
    let stopped_by = result.and_then(|stopped_by| stopped.map(|()| stopped_by))?;
    if stopped_by.is_none() {
        sweep.recorder.prune_paused()?;
    }
    Ok(SweepEnd { elapsed: sweep.clock.elapsed(), study: sweep.recorder.into_study(), stopped_by })
}

struct Sweep<'a> {
    inputs: &'a SweepInputs<'a>,
    scheduler: Scheduler<'a>,
    recorder: Recorder<'a>,
    running: BTreeMap<usize, Running>,
    clock: Clock,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

/// An event of a trial's leg.
type Message = (usize, LegEvent);

impl<'a> Sweep<'a> {
    fn new(inputs: &'a SweepInputs<'a>, recorder: Recorder<'a>) -> Self {
        let (sender, receiver) = channel();
        let (scheduler, running) = (Scheduler::new(inputs.plan), BTreeMap::new());
        let clock = Clock::new(recorder.elapsed());
        Self { inputs, scheduler, recorder, running, clock, sender, receiver }
    }

    /// Until there is nothing left to do, or until a signal, whose number it returns.
    fn work(&mut self) -> Result<Option<i32>> {
        loop {
            if let Some(signal) = (self.inputs.stop)() {
                return Ok(Some(signal));
            }
            let is_late = self.is_out_of_time();
            if is_late {
                self.running.values_mut().for_each(Running::ask_to_stop);
            }
            let has_worker = !is_late && self.running.len() < self.inputs.num_jobs;
            if has_worker && self.begin_next()? {
                continue;
            }
            if self.running.is_empty() {
                return Ok(None);
            }
            match self.receiver.recv_timeout(TICK) {
                Ok(message) => self.on_message(message)?,
                Err(RecvTimeoutError::Timeout) => self.recorder.report(SweepEvent::Tick)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
            self.running.values().filter(|running| running.is_late(PATIENCE)).for_each(|r| r.stopper.kill());
            if self.clock.is_due() {
                self.record_clock()?;
            }
        }
    }

    /// Begins the work that is next; false if there is none, or no room for it.
    fn begin_next(&mut self) -> Result<bool> {
        self.recorder.read_enqueued()?;
        let under_way: UnderWay =
            self.running.iter().map(|(trial, running)| (*trial, running.until_epoch)).collect();
        match self.scheduler.next(self.recorder.study(), &under_way) {
            Work::End | Work::Wait => Ok(false),
            Work::GoOn { trial, until_epoch } => {
                if !self.has_room(&self.recorder.study().trials[trial].assignment) {
                    return Ok(false);
                }
                self.recorder.report(SweepEvent::GoesOn { trial })?;
                self.begin_leg(trial, until_epoch)
            }
            Work::BeginWaiting { trial, assignment, until_epoch } => {
                if !self.has_room(&assignment) {
                    return Ok(false);
                }
                self.recorder.begin_waiting(trial, assignment)?;
                self.begin_leg(trial, until_epoch)
            }
            Work::Refuse { trial, why } => self.recorder.fail(trial, why).map(|()| true),
            Work::Begin { assignment, until_epoch } => {
                if !self.has_room(&assignment) {
                    return Ok(false);
                }
                let trial = self.recorder.begin(assignment)?;
                self.begin_leg(trial, until_epoch)
            }
        }
    }

    /// Starts a trial's processes, or ends it as failed if its configuration is wrong. Returns true.
    fn begin_leg(&mut self, trial: usize, until_epoch: Option<u32>) -> Result<bool> {
        let assignment = &self.recorder.study().trials[trial].assignment;
        let (configs, num_bytes) =
            (self.inputs.configs(trial, assignment), self.inputs.num_bytes(assignment));
        let configs = match configs {
            Ok(configs) => configs,
            Err(error) => return self.recorder.fail(trial, error.to_string()).map(|()| true),
        };
        let num_epochs = configs.first().map_or(0, |config| config.hyperparameters.epochs);
        let num_epochs = u32::try_from(num_epochs).unwrap_or(u32::MAX);
        let running = Running::new(until_epoch, num_bytes, num_epochs, configs.len());
        self.recorder.begin_leg(trial, until_epoch)?;
        let (sender, launch, stopper) =
            (self.sender.clone(), self.inputs.launch.clone(), running.stopper.clone());
        let leg = Leg { until_epoch, configs, folder: self.inputs.trial_folder(trial) };
        let run = move || {
            // The receiver is gone where the sweep has ended with an error.
            let tell = |event| drop(sender.send((trial, event)));
            let end = leg.run(&launch, &stopper, &tell);
            tell(LegEvent::End(end));
        };
        // Where there is no thread the sweep ends, and the trial continues when it is resumed.
        thread::Builder::new().name(TRIAL.into()).spawn(run).map_err(Error::thread(TRIAL))?;
        self.running.insert(trial, running);
        Ok(true)
    }

    /// Whether a trial fits beside those that run. Alone it is tried in any case.
    fn has_room(&self, assignment: &Assignment) -> bool {
        let taken: u64 = self.running.values().map(|running| running.num_bytes).sum();
        let wanted = taken.saturating_add(self.inputs.num_bytes(assignment));
        self.running.is_empty() || self.inputs.capacity_bytes.is_none_or(|capacity| wanted <= capacity)
    }

    fn on_message(&mut self, (trial, event): Message) -> Result<()> {
        match event {
            LegEvent::Epoch { training, figures } => self.on_epoch(trial, training, &figures),
            LegEvent::End(end) => self.on_end(trial, end),
        }
    }

    fn on_epoch(&mut self, trial: usize, training: usize, figures: &Value) -> Result<()> {
        let Some(running) = self.running.get_mut(&trial) else { return Ok(()) };
        let Some(epoch) = figures["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch + 1).ok()) else {
            return Ok(());
        };
        let is_known = self.recorder.study().trials[trial].intermediate.contains_key(&epoch);
        let value = self.inputs.plan.watched.value(figures, None);
        if !running.add(training, epoch, value) || is_known {
            return Ok(()); // a run's records repeat what its process reported
        }
        let means = running.means();
        self.recorder.report(SweepEvent::Epoch { trial, epoch, value })?;
        if let Some((mean, true)) = means.get(&epoch) {
            self.recorder.add_epoch(trial, epoch, *mean)?;
        }
        // After the last epoch there is nothing left to save.
        if let EarlyStopping::Median(rule) = &self.inputs.plan.early_stopping
            && epoch < running.num_epochs
        {
            let study = self.recorder.study();
            let intermediate = means.into_iter().map(|(epoch, (mean, _))| (epoch, mean)).collect();
            let so_far = Trial { intermediate, ..study.trials[trial].clone() };
            if rule.should_stop(study, &so_far, epoch) {
                running.ask_to_stop();
            }
        }
        Ok(())
    }

    fn on_end(&mut self, trial: usize, end: LegEnd) -> Result<()> {
        let Some(running) = self.running.remove(&trial) else { return Ok(()) };
        self.recorder.end_leg(trial, &running)?;
        match end {
            LegEnd::Paused => self.recorder.report(SweepEvent::Paused { trial }),
            LegEnd::Done(results) => self.recorder.complete(trial, &results),
            LegEnd::Stopped if running.is_stopping() => {
                for (epoch, (mean, _)) in running.means() {
                    self.recorder.add_epoch(trial, epoch, mean)?;
                }
                self.recorder.prune(trial)
            }
            // The sweep stops: the trial continues when it is resumed.
            LegEnd::Stopped => Ok(()),
            LegEnd::Failed(Failure::OfProcess(why)) => self.recorder.fail(trial, why),
            LegEnd::Failed(Failure::Terminated(_)) if self.is_stopping() => Ok(()),
            LegEnd::Failed(Failure::Terminated(why)) => self.recorder.fail(trial, why),
            // Neither the trial's fault nor its result.
            LegEnd::Failed(Failure::OfMachine(error)) => Err(error),
        }
    }

    /// Whether a signal that ended a trial's process is for the sweep, too, as one for a whole process group is.
    fn is_stopping(&self) -> bool {
        thread::sleep(2 * TICK);
        (self.inputs.stop)().is_some()
    }

    fn is_out_of_time(&self) -> bool {
        self.inputs.plan.file.budget.hours.is_some_and(|hours| self.clock.elapsed() >= 3600.0 * hours)
    }

    fn record_clock(&mut self) -> Result<()> {
        self.clock.recorded = Instant::now();
        self.recorder.set_elapsed(self.clock.elapsed())
    }

    /// Ends every process. The trials keep their states.
    fn stop_all(&mut self) -> Result<()> {
        self.running.values().for_each(|running| running.stopper.ask());
        let asked = Instant::now();
        while !self.running.is_empty() {
            match self.receiver.recv_timeout(TICK) {
                Ok((trial, LegEvent::End(_))) => _ = self.running.remove(&trial),
                Ok(_) => {}
                Err(_) if asked.elapsed() > PATIENCE => {
                    self.running.values().for_each(|running| running.stopper.kill());
                }
                Err(_) => {}
            }
        }
        self.record_clock()
    }
}

/// The time that a sweep has run.
struct Clock {
    /// Seconds of earlier processes.
    before: f64,
    start: Instant,
    /// When the time was last recorded.
    recorded: Instant,
}

impl Clock {
    fn new(before: f64) -> Self {
        let now = Instant::now();
        Self { before, start: now, recorded: now }
    }

    fn elapsed(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    fn is_due(&self) -> bool {
        self.recorded.elapsed() >= CLOCK_INTERVAL
    }
}
