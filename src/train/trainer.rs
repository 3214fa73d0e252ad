//! The loop over epochs and steps.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;
use std::time::Instant;

use ipsight_kernels::negatives::Negatives;
use ipsight_kernels::shape::Families;

use super::checkpoint::{Checkpointer, Written};
use super::divergence::{Failure, NotFinite, check_scores, diverged};
use super::initial::InitialModel;
use super::inputs::{PREFETCHED_MINI_BATCHES, TrainInputs};
use super::losses::DeviceLosses;
use super::memory::RunData;
use super::metrics::{EpochMetrics, FamilyAucs, TrainEvent};
use super::progress::{HostSums, Progress};
use super::run_memory::RunMemory;
use super::step::TrainState;
use crate::data::{Events, MiniBatch};
use crate::evaluate::{Detector, Evaluator, Family};
use crate::event::AddressFamilies;
use crate::inference::{PAIRS_PER_BATCH, Scorer};
use crate::model::{IpInsights, IpInsightsConfig, check_family, families};
use crate::model_folder::InitFrom;
use crate::model_folder::entity_filter::EntityFilter;
use crate::{Error, Result};

/// Steps after which the sums of the loss are read at the latest, published or not: counts in float32 are
/// exact up to 16 million pairs and good to six digits well beyond.
const MAX_STEPS_BETWEEN_READS: usize = 1000;

/// Receives the events.
type OnEvent<'a> = &'a mut dyn FnMut(&TrainEvent) -> Result<()>;

/// The number of a signal.
type Signal = i32;

/// A model that was trained, on the plain device.
pub struct Trained {
    /// The model.
    pub model: IpInsights,
    /// For each table row, how many events it was trained on in the first epoch of this run and of those that it
    /// began from: 0 means never.
    pub row_counts: Vec<u32>,
    /// What it began from; `None`: random weights.
    pub init_from: Option<InitFrom>,
    /// The entities that it was trained on, in this run and in those that it began from.
    pub entity_filter: EntityFilter,
    /// One entry per finished epoch.
    pub epochs: Vec<EpochMetrics>,
    /// Steps done.
    pub num_steps: usize,
    /// The signal that stopped the run before its end.
    pub stopped_by: Option<i32>,
    /// Whether the run paused before its end, at [`TrainInputs::until_epoch`].
    pub is_paused: bool,
    /// Why the last checkpoint could not be written, which does not keep the model from being saved.
    pub checkpoint_error: Option<Error>,
}

/// Trains a model.
///
/// # Errors
///
/// [`Error::Device`] where the model does not fit the device or the device fails, [`Error::Diverged`] where
/// the loss or a weight stops being finite: with the step, its mini-batch and the last good checkpoint.
/// [`Error::Data`] without events, and whatever `on_event` returns.
pub fn train(inputs: &TrainInputs<'_>, on_event: OnEvent<'_>) -> Result<Trained> {
    if inputs.events.is_empty() {
        return Err(Error::data("training data", "there are no events", "give at least one event"));
    }
    check_families(inputs)?;
    let data = RunData::of(inputs.config, inputs.events, inputs.validation, inputs.init_from);
    let memory = RunMemory::plan(inputs.config, &inputs.device.limits, &data)?;
    let model_config = IpInsightsConfig::of(inputs.config, memory.device.max_rows_per_shard);
    memory.probe()?;
    let mut run = Run::new(inputs, &model_config)?;
    on_event(&TrainEvent::Started {
        steps_per_epoch: inputs.steps_per_epoch(),
        memory,
        epoch: run.progress.epoch,
        num_steps_of_epoch: run.progress.num_steps,
    })?;
    match run.train(on_event) {
        Ok(end) => Ok(run.into_trained(end)),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::NotFinite(found)) => Err(run.diverged(found)),
    }
}

/// Refuses events with addresses of a family that the model does not know; readers of files did so before.
fn check_families(inputs: &TrainInputs<'_>) -> Result<()> {
    let families = families(inputs.config.model.addresses);
    if families == Families::Both {
        return Ok(());
    }
    let all = inputs.validation.into_iter().chain([inputs.events]);
    all.flat_map(Events::iter).try_for_each(|event| check_family(event.address, families))
}

struct Run<'a> {
    inputs: &'a TrainInputs<'a>,
    state: TrainState,
    progress: Progress,
    /// Sums of the loss that have not been read back.
    losses: DeviceLosses,
    checkpointer: Option<Checkpointer<'a>>,
    /// Those that were trained on before the run.
    initial_entities: EntityFilter,
}

/// How a run ended.
struct End {
    stopped_by: Option<Signal>,
    is_paused: bool,
    checkpoint_error: Option<Error>,
}

impl<'a> Run<'a> {
    fn new(inputs: &'a TrainInputs<'a>, model_config: &IpInsightsConfig) -> Result<Self> {
        let (config, device) = (inputs.config, &inputs.device.device);
        let (state, progress, losses) = match (inputs.from, inputs.init_from) {
            (Some(checkpoint), _) => {
                let (state, progress, unread) = checkpoint.restore(model_config, config, device)?;
                let losses = unread.map(|sums| DeviceLosses::resumed(sums, device));
                (state, progress, losses.unwrap_or_default())
            }
            (None, Some(initial)) => {
                let (state, progress) = initial.begin(model_config, config, device)?;
                (state, progress, DeviceLosses::default())
            }
            (None, None) => {
                let h = &config.hyperparameters;
                let progress = Progress::new(vec![0; h.num_entity_vectors]);
                (TrainState::new(model_config, h, device), progress, DeviceLosses::default())
            }
        };
        state.probe()?;
        let initial_entities =
            inputs.init_from.map(InitialModel::entity_filter).transpose()?.unwrap_or_default();
        let checkpointer = match inputs.checkpoints {
            Some(folder) => {
                let init_from = inputs.init_from.map(InitialModel::init_from);
                Checkpointer::new(folder, config, init_from, state.num_steps())?
            }
            None => None,
        };
        Ok(Self { inputs, state, progress, losses, checkpointer, initial_entities })
    }

    /// Trains until the end, the pause or a signal, and writes the last checkpoint, also of a run that is at its end: what
    /// follows, the detector and the model's folder, may fail, and is done again from it.
    fn train(&mut self, on_event: OnEvent<'_>) -> Result<End, Failure> {
        let stopped_by = self.epochs(on_event)?.break_value();
        if stopped_by.is_some() {
            // Its model and its checkpoint are those of a step, which nothing has looked at yet.
            self.check_state()?;
        }
        let is_paused = stopped_by.is_none() && self.progress.epoch < self.inputs.num_epochs();
        let written = self.checkpoint(on_event).and_then(|()| match &mut self.checkpointer {
            Some(checkpointer) => Ok(checkpointer.finish()?),
            None => Ok(()),
        });
        let checkpoint_error = match written {
            Ok(()) => None,
            Err(Failure::Other(error)) => Some(error),
            Err(not_finite) => return Err(not_finite), // no model that could be saved
        };
        Ok(End { stopped_by, is_paused, checkpoint_error })
    }

    /// The epochs that are left, or those until the pause.
    fn epochs(&mut self, on_event: OnEvent<'_>) -> Result<ControlFlow<Signal>, Failure> {
        let num_epochs = self.inputs.num_epochs();
        let until = self.inputs.until_epoch.map_or(num_epochs, |until| until.min(num_epochs));
        while self.progress.epoch < until {
            let metrics = match self.epoch(on_event)? {
                ControlFlow::Continue(metrics) => metrics,
                ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
            };
            on_event(&TrainEvent::Epoch(metrics.clone()))?;
            self.progress.end_epoch(metrics);
            self.checkpoint_after_epoch(on_event)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is left of the epoch.
    fn epoch(&mut self, on_event: OnEvent<'_>) -> Result<ControlFlow<Signal, EpochMetrics>, Failure> {
        let (start, seconds_before) = (Instant::now(), self.progress.seconds);
        let seconds = || seconds_before + start.elapsed().as_secs_f64();
        let (inputs, epoch, first_step) = (self.inputs, self.progress.epoch, self.progress.num_steps);
        let outcome = std::thread::scope(|scope| {
            let batches = prefetch(scope, inputs, epoch, first_step)?;
            self.steps(batches, &seconds, on_event)
        })?;
        let sums = match outcome {
            ControlFlow::Continue(sums) => sums,
            ControlFlow::Break(signal) => return Ok(ControlFlow::Break(signal)),
        };
        let seconds = seconds();
        inputs.check_unchanged()?;
        let (discriminator_auc, auc_by_family) = match self.validate()? {
            ControlFlow::Continue(validated) => validated,
            ControlFlow::Break(signal) => {
                // All steps are done; a run that continues begins with the validation.
                (self.progress.of_epoch, self.progress.of_interval) = (sums, HostSums::default());
                self.progress.seconds = seconds;
                return Ok(ControlFlow::Break(signal));
            }
        };
        Ok(ControlFlow::Continue(EpochMetrics {
            epoch,
            loss: sums.loss(),
            accuracy: sums.accuracy(),
            discriminator_auc,
            auc_by_family,
            positives_per_second: inputs.events.len() as f64 / seconds,
            seconds,
        }))
    }

    /// The steps that are left of the epoch, and the sums over all of it; `seconds` says how long it has taken.
    fn steps(
        &mut self,
        batches: Receiver<MiniBatch>,
        seconds: &dyn Fn() -> f64,
        on_event: OnEvent<'_>,
    ) -> Result<ControlFlow<Signal, HostSums>, Failure> {
        for batch in batches {
            if let Some(signal) = (self.inputs.stop)() {
                self.progress.seconds = seconds();
                return Ok(ControlFlow::Break(signal));
            }
            self.step(&batch);
            self.publish(on_event)?;
            on_event(&TrainEvent::Step { num_positives: batch.len() })?;
            self.checkpoint_after_step(seconds, on_event)?;
        }
        let mut of_epoch = self.progress.of_epoch;
        of_epoch.add(self.progress.of_interval);
        of_epoch.add(self.losses.take(self.progress.num_steps)?);
        Ok(ControlFlow::Continue(of_epoch))
    }

    fn step(&mut self, batch: &MiniBatch) {
        let h = self.inputs.hyperparameters();
        let negatives = Negatives::training(
            h.random_negative_sampling_rate,
            h.shuffled_negative_sampling_rate,
            self.inputs.config.training.seed,
            self.progress.epoch,
            self.progress.num_steps as u32,
        );
        self.state.set_learning_rate(self.learning_rate());
        self.losses.add(self.state.step(batch, negatives).sums);
        if self.progress.epoch == 0 {
            batch.entity_rows.iter().for_each(|row| {
                let count = &mut self.progress.row_counts[*row as usize];
                *count = count.saturating_add(1);
            });
        }
        self.progress.num_steps += 1;
    }

    /// Of the next step.
    fn learning_rate(&self) -> f64 {
        let h = self.inputs.hyperparameters();
        let num_steps = self.inputs.steps_per_epoch().saturating_mul(h.epochs);
        self.inputs.config.training.learning_rate(h.learning_rate, self.state.num_steps(), num_steps)
    }

    /// Reads the sums of the loss back where that is due after a step, and reports the means where they are to be
    /// published.
    fn publish(&mut self, on_event: OnEvent<'_>) -> Result<(), Failure> {
        let num_steps = self.progress.num_steps;
        let is_due = num_steps.is_multiple_of(self.inputs.hyperparameters().batch_metrics_publish_interval);
        if is_due || num_steps.is_multiple_of(MAX_STEPS_BETWEEN_READS) {
            let sums = self.losses.take(num_steps)?;
            self.progress.of_interval.add(sums);
        }
        if is_due {
            let of_interval = std::mem::take(&mut self.progress.of_interval);
            let (loss, accuracy) = (of_interval.loss(), of_interval.accuracy());
            let (epoch, step) = (self.progress.epoch, num_steps as u32 - 1);
            on_event(&TrainEvent::Batch { epoch, step, loss, accuracy })?;
            self.progress.of_epoch.add(of_interval);
        }
        Ok(())
    }

    fn checkpoint_after_step(
        &mut self,
        seconds: &dyn Fn() -> f64,
        on_event: OnEvent<'_>,
    ) -> Result<(), Failure> {
        let Some(checkpointer) = &mut self.checkpointer else { return Ok(()) };
        checkpointer.poll()?;
        if checkpointer.is_due(self.state.num_steps()) {
            self.progress.seconds = seconds();
            self.checkpoint(on_event)?;
        }
        Ok(())
    }

    /// Begins to write a checkpoint where one is due after the epoch that has ended and the run is not at its end.
    fn checkpoint_after_epoch(&mut self, on_event: OnEvent<'_>) -> Result<(), Failure> {
        let num_epochs = self.progress.epoch;
        let is_due = self.checkpointer.as_ref().is_some_and(|it| it.is_due_after_epoch(num_epochs));
        if is_due && num_epochs < self.inputs.num_epochs() { self.checkpoint(on_event) } else { Ok(()) }
    }

    /// Begins to write a checkpoint, unless the last one holds all that has been done.
    fn checkpoint(&mut self, on_event: OnEvent<'_>) -> Result<(), Failure> {
        let num_steps = self.state.num_steps();
        match &mut self.checkpointer {
            Some(checkpointer) if !checkpointer.is_up_to_date(num_steps) => {}
            _ => return Ok(()),
        }
        self.inputs.check_unchanged()?;
        self.check_state()?;
        on_event(&TrainEvent::Checkpoint { num_steps })?;
        let Some(checkpointer) = &mut self.checkpointer else { return Ok(()) };
        // The sums stay where they are: read now, they would be added in another order.
        let written = checkpointer.write(&self.state, &self.progress, self.losses.total(), &|| {
            self.initial_entities.with(self.inputs.events.iter().map(|event| event.entity))
        })?;
        match written {
            Written::Begun => Ok(()),
            Written::NotFinite(name) => {
                let what = format!("`{name}` became a number that is not finite");
                Err(NotFinite { what, step: None }.into())
            }
        }
    }

    /// Refuses a state of which nothing more can come: a loss so far, a score or a weight that is not finite. What is
    /// on the device stays there.
    fn check_state(&self) -> Result<(), Failure> {
        let Progress { epoch, num_steps, .. } = self.progress;
        self.losses.check(num_steps)?;
        if num_steps == 0 {
            return Ok(());
        }
        let (order, positions) = (self.inputs.order(epoch), self.inputs.mini_batch(num_steps - 1));
        let event = |position| self.inputs.events.get(order.event_at(position));
        let sample: Vec<_> = positions.take(PAIRS_PER_BATCH).map(event).collect();
        check_scores(&self.scorer(), &self.state, &sample)
    }

    fn scorer(&self) -> Scorer {
        Scorer::of_training(self.state.snapshot(), self.progress.row_counts.clone())
    }

    /// Checks that the model scores and, where there is a validation set, computes its `discriminator_auc`, of all events
    /// and by family.
    fn validate(&self) -> Result<ControlFlow<Signal, (Option<f64>, FamilyAucs)>, Failure> {
        let scorer = self.scorer();
        let sample: Vec<_> = self.inputs.events.iter().take(PAIRS_PER_BATCH).collect();
        check_scores(&scorer, &self.state, &sample)?;
        let Some(validation) = self.inputs.validation else {
            return Ok(ControlFlow::Continue((None, FamilyAucs::default())));
        };
        let mut evaluator = Evaluator::against_random_ipv4(&scorer, self.inputs.config.training.seed);
        for event in validation.iter() {
            if let Some(signal) = (self.inputs.stop)() {
                return Ok(ControlFlow::Break(signal));
            }
            evaluator.push_event(event, None)?;
        }
        let evaluation = evaluator.finish()?;
        let by_family = match self.inputs.config.model.addresses {
            AddressFamilies::Ipv4 => FamilyAucs::default(), // its figure is that of all events
            AddressFamilies::Both => family_aucs(evaluation.model()),
        };
        Ok(ControlFlow::Continue((Some(evaluation.auc), by_family)))
    }

    fn diverged(mut self, found: NotFinite) -> Error {
        let last_checkpoint = self.checkpointer.as_mut().and_then(Checkpointer::last_good);
        diverged(found, self.inputs, &self.progress, last_checkpoint)
    }

    fn into_trained(self, end: End) -> Trained {
        let Self { inputs, state, progress, initial_entities, .. } = self;
        let End { stopped_by, is_paused, checkpoint_error } = end;
        let num_steps = state.num_steps();
        // The optimiser's state goes first: the filter takes less.
        let model = state.into_model();
        let entity_filter = seen_entities(inputs, &progress, &initial_entities);
        let init_from = inputs.init_from.map(|initial| initial.init_from().clone());
        let Progress { row_counts, epochs, .. } = progress;
        Trained {
            model,
            row_counts,
            entity_filter,
            init_from,
            epochs,
            num_steps,
            stopped_by,
            is_paused,
            checkpoint_error,
        }
    }
}

fn family_aucs(model: &Detector) -> FamilyAucs {
    let of = |family: Family| {
        let found = model.by_family.iter().find(|(name, _)| *name == family.name());
        found.and_then(|(_, figures)| figures.auc)
    };
    FamilyAucs { ipv4: of(Family::Ipv4), ipv6: of(Family::Ipv6) }
}

/// Gathers the mini-batches of an epoch, from that of a step on, on a thread of its own.
fn prefetch<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    inputs: &'a TrainInputs<'a>,
    epoch: u32,
    first_step: usize,
) -> Result<Receiver<MiniBatch>> {
    const NAME: &str = "mini-batches";
    let order = inputs.order(epoch);
    let num_rows = inputs.hyperparameters().num_entity_vectors;
    let (events, batches) = (inputs.events, inputs.mini_batches(first_step));
    let (sender, receiver) = sync_channel(PREFETCHED_MINI_BATCHES);
    let gather = move || {
        for positions in batches {
            let batch = MiniBatch::gather(events, &order, positions, num_rows);
            if sender.send(batch).is_err() {
                return; // the run stopped
            }
        }
    };
    let thread = std::thread::Builder::new().name(NAME.into()).spawn_scoped(scope, gather);
    thread.map_err(Error::thread(NAME))?;
    Ok(receiver)
}

/// The entities that were trained on, here and before: after the first epoch those of all events. It follows from the
/// events and the progress alone, so that a run that was resumed has the same.
fn seen_entities(inputs: &TrainInputs<'_>, progress: &Progress, initial: &EntityFilter) -> EntityFilter {
    let events = inputs.events;
    if progress.epoch > 0 {
        return initial.with(events.iter().map(|event| event.entity));
    }
    let order = inputs.order(0);
    let num_trained = progress.num_steps.saturating_mul(inputs.hyperparameters().mini_batch_size);
    let positions = 0..num_trained.min(events.len());
    initial.with(positions.map(|position| events.get(order.event_at(position)).entity))
}
