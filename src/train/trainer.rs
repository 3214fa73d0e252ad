use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use burn::tensor::Tensor;
use ipsight_kernels::negatives::Negatives;

use super::checkpoint::Checkpoint;
use super::checkpointer::{CheckpointFolder, Checkpointer};
use super::initial::InitialModel;
use super::progress::{HostSums, Progress};
use super::step::TrainState;
use crate::config::{Config, Hyperparameters};
use crate::data::{EpochOrder, Events, MiniBatch};
use crate::device::{ComputeDevice, MemoryPlan};
use crate::evaluate::Evaluator;
use crate::inference::{PAIRS_PER_BATCH, Scorer};
use crate::model::{IpInsights, IpInsightsConfig};
use crate::model_folder::InitFrom;
use crate::model_folder::entity_filter::EntityFilter;
use crate::tensors::read_floats;
use crate::{Error, Event, Result};

/// Steps after which the sums of the loss are read at the latest, published or not: counts in float32 are
/// exact up to 16 million pairs and good to six digits well beyond.
const MAX_STEPS_BETWEEN_READS: usize = 1000;

/// Mini-batches that may wait for the device.
const PREFETCHED_MINI_BATCHES: usize = 3;

/// What a run trains on.
pub struct TrainInputs<'a> {
    /// The resolved configuration.
    pub config: &'a Config,
    /// The training events; at least one.
    pub events: &'a Events,
    /// Validation events, scored after each epoch.
    pub validation: Option<&'a Events>,
    /// Where to train.
    pub device: &'a ComputeDevice,
    /// Asked after every step: the number of a signal that asks the run to stop.
    pub stop: &'a (dyn Fn() -> Option<i32> + Sync),
    /// Where checkpoints go, as often as the configuration says, and one when a signal stops the run; none: nowhere.
    pub checkpoints: Option<CheckpointFolder<'a>>,
    /// What it begins from instead of random weights.
    pub init_from: Option<&'a InitialModel>,
    /// The checkpoint to go on from, of a run that [`Checkpoint::check_same`] finds to be this one.
    pub from: Option<&'a Checkpoint>,
    /// The number of epochs, those before the checkpoint included, after which the run pauses: a checkpoint is
    /// written, and the rest left for later. None: it goes on to its end.
    pub until_epoch: Option<u32>,
}

/// What training tells its caller as it goes.
#[derive(Clone, Debug)]
pub enum TrainEvent {
    /// Before anything is allocated for training.
    Started {
        /// Steps of an epoch.
        steps_per_epoch: usize,
        /// The epoch that it begins in, from 0: another than 0 where it goes on from a checkpoint.
        epoch: u32,
        /// Steps of that epoch which are done.
        num_steps_of_epoch: usize,
        /// What will be allocated.
        memory: MemoryPlan,
    },
    /// After each step; the device may still be at work on it.
    Step {
        /// Positive pairs of the mini-batch.
        num_positives: usize,
    },
    /// Every `batch_metrics_publish_interval` steps: means since the last time.
    Batch {
        /// From 0.
        epoch: u32,
        /// Step within the epoch, from 0.
        step: u32,
        /// Mean cross entropy.
        loss: f64,
        /// Share of pairs on the right side of 0.
        accuracy: f64,
    },
    /// Before a checkpoint is written: what was told so far is what the run goes on from.
    Checkpoint {
        /// Steps done.
        num_steps: usize,
    },
    /// After each epoch.
    Epoch(EpochMetrics),
}

impl TrainEvent {
    /// The event as one JSON object for machines: batches and epochs have one.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        match self {
            TrainEvent::Started { .. } | TrainEvent::Step { .. } | TrainEvent::Checkpoint { .. } => None,
            TrainEvent::Batch { epoch, step, loss, accuracy } => Some(serde_json::json!({
                "event": "batch", "epoch": epoch, "step": step, "loss": loss, "accuracy": accuracy,
            })),
            TrainEvent::Epoch(metrics) => Some(serde_json::json!({
                "event": "epoch",
                "epoch": metrics.epoch,
                "loss": metrics.loss,
                "accuracy": metrics.accuracy,
                "discriminator_auc": metrics.discriminator_auc,
                "positives_per_second": metrics.positives_per_second,
                "seconds": metrics.seconds,
            })),
        }
    }
}

/// The figures of one epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochMetrics {
    /// From 0.
    pub epoch: u32,
    /// Mean cross entropy over the epoch's pairs.
    pub loss: f64,
    /// Share of pairs on the right side of 0.
    pub accuracy: f64,
    /// ROC AUC of the validation events against random IPv4; none without a validation set.
    pub discriminator_auc: Option<f64>,
    /// Positive pairs trained per second, validation not counted.
    pub positives_per_second: f64,
    /// Seconds of training, validation not counted.
    pub seconds: f64,
}

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
/// [`Error::Device`] where the model does not fit the device or the device fails, [`Error::Config`] where
/// the loss or a weight stops being finite: with the step, its mini-batch and the last good checkpoint.
/// [`Error::Data`] without events, and whatever `on_event` returns.
pub fn train(
    inputs: &TrainInputs<'_>,
    on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>,
) -> Result<Trained> {
    let h = &inputs.config.hyperparameters;
    if inputs.events.is_empty() {
        return Err(Error::data("training data", "there are no events", "give at least one event"));
    }
    // The encoder knows IPv4 only; what IPv6 addresses tell is the usage history's.
    let of_ipv4 = |events: &Events| (!events.are_ipv4()).then(|| events.of_ipv4());
    let (events, validation) = (of_ipv4(inputs.events), inputs.validation.and_then(of_ipv4));
    let inputs = &TrainInputs {
        events: events.as_ref().unwrap_or(inputs.events),
        validation: validation.as_ref().or(inputs.validation).filter(|events| !events.is_empty()),
        ..*inputs
    };
    if inputs.events.is_empty() {
        let help = "give events with IPv4 addresses, too";
        return Err(Error::data("training data", "there are no events with IPv4 addresses", help));
    }
    let memory = MemoryPlan::for_training(inputs.config, &inputs.device.limits)?;
    let model_config = IpInsightsConfig::of(inputs.config, memory.max_rows_per_shard);
    let mut run = Run::new(inputs, &model_config)?;
    on_event(&TrainEvent::Started {
        steps_per_epoch: inputs.events.len().div_ceil(h.mini_batch_size),
        memory,
        epoch: run.progress.epoch,
        num_steps_of_epoch: run.progress.num_steps,
    })?;
    let stopped_by = run.epochs(on_event)?;
    if stopped_by.is_some() {
        // Its model and its checkpoint are those of a step, which nothing has looked at yet.
        run.check_state()?;
    }
    let is_paused = stopped_by.is_none() && run.progress.epoch < run.num_epochs();
    let last_checkpoint = match stopped_by {
        None if !is_paused => Ok(()),
        _ => run.checkpoint(on_event),
    };
    let checkpoints = run.checkpointer.as_mut();
    let checkpoint_error =
        match last_checkpoint.and_then(|()| checkpoints.map_or(Ok(()), Checkpointer::finish)) {
            Err(error @ Error::Config { .. }) => return Err(error), // no model that could be saved
            other => other.err(),
        };
    let Run { state, progress, initial_entities, .. } = run;
    let num_steps = state.num_steps();
    // The optimiser's state goes first: the filter takes less.
    let model = state.into_model();
    let entity_filter = seen_entities(inputs, &progress, &initial_entities);
    let init_from = inputs.init_from.map(|initial| initial.init_from().clone());
    let Progress { row_counts, epochs, .. } = progress;
    Ok(Trained {
        model,
        row_counts,
        entity_filter,
        init_from,
        epochs,
        num_steps,
        stopped_by,
        is_paused,
        checkpoint_error,
    })
}

/// The entities that were trained on, here and before: after the first epoch those of all events. It follows from the
/// events and the progress alone, so that a run that was resumed has the same.
fn seen_entities(inputs: &TrainInputs<'_>, progress: &Progress, initial: &EntityFilter) -> EntityFilter {
    let events = inputs.events;
    if progress.epoch > 0 {
        return initial.with(events.iter().map(|event| event.entity));
    }
    let order = EpochOrder::new(events.len(), inputs.config.training.seed, 0);
    let num_trained = progress.num_steps.saturating_mul(inputs.config.hyperparameters.mini_batch_size);
    let positions = 0..num_trained.min(events.len());
    initial.with(positions.map(|position| events.get(order.event_at(position)).entity))
}

struct Run<'a> {
    inputs: &'a TrainInputs<'a>,
    state: TrainState,
    progress: Progress,
    /// Sums of the loss that have not been read back.
    on_device: Option<Tensor<1>>,
    /// Those of each step of this process among them, which say which step it was where they are not finite.
    of_steps: Vec<Tensor<1>>,
    checkpointer: Option<Checkpointer<'a>>,
    /// Those that were trained on before the run.
    initial_entities: EntityFilter,
}

impl<'a> Run<'a> {
    fn new(inputs: &'a TrainInputs<'a>, model_config: &IpInsightsConfig) -> Result<Self> {
        let (config, device) = (inputs.config, &inputs.device.device);
        let (state, progress, on_device) = match (inputs.from, inputs.init_from) {
            (Some(checkpoint), _) => {
                let (state, progress, unread) = checkpoint.restore(model_config, config, device)?;
                (state, progress, unread.map(|sums| Tensor::from_data(sums, device)))
            }
            (None, Some(initial)) => {
                let (state, progress) = initial.begin(model_config, config, device)?;
                (state, progress, None)
            }
            (None, None) => {
                let h = &config.hyperparameters;
                let progress = Progress::new(vec![0; h.num_entity_vectors]);
                (TrainState::new(model_config, h, device), progress, None)
            }
        };
        state.probe()?;
        let num_steps = state.num_steps();
        let initial_entities =
            inputs.init_from.map(InitialModel::entity_filter).transpose()?.unwrap_or_default();
        let checkpointer = match inputs.checkpoints {
            Some(folder) => {
                let init_from = inputs.init_from.map(InitialModel::init_from);
                Checkpointer::new(folder, config, init_from, num_steps)?
            }
            None => None,
        };
        let of_steps = Vec::new();
        Ok(Self { inputs, state, progress, on_device, of_steps, checkpointer, initial_entities })
    }

    fn hyperparameters(&self) -> &'a Hyperparameters {
        &self.inputs.config.hyperparameters
    }

    /// Of the whole run. More than a u32 counts would take longer than anybody waits.
    fn num_epochs(&self) -> u32 {
        u32::try_from(self.hyperparameters().epochs).unwrap_or(u32::MAX)
    }

    /// The epochs that are left, or those until the pause; the signal that stopped them.
    fn epochs(&mut self, on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>) -> Result<Option<i32>> {
        let until = self.inputs.until_epoch.map_or(self.num_epochs(), |until| until.min(self.num_epochs()));
        while self.progress.epoch < until {
            match self.epoch(on_event)? {
                Ok(metrics) => {
                    on_event(&TrainEvent::Epoch(metrics.clone()))?;
                    self.progress.end_epoch(metrics);
                    self.checkpoint_after_epoch(on_event)?;
                }
                Err(signal) => return Ok(Some(signal)),
            }
        }
        Ok(None)
    }

    /// What is left of the epoch; the inner `Err` is the signal that stopped it.
    fn epoch(
        &mut self,
        on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>,
    ) -> Result<std::result::Result<EpochMetrics, i32>> {
        let (start, seconds_before) = (Instant::now(), self.progress.seconds);
        let inputs = self.inputs;
        let epoch = self.progress.epoch;
        let order = EpochOrder::new(inputs.events.len(), inputs.config.training.seed, epoch);
        let (batch_size, num_rows) =
            (self.hyperparameters().mini_batch_size, self.hyperparameters().num_entity_vectors);
        let first_step = self.progress.num_steps;
        let outcome = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PREFETCHED_MINI_BATCHES);
            scope.spawn(move || {
                for positions in mini_batch_positions(inputs.events.len(), batch_size, first_step) {
                    let batch = MiniBatch::gather(inputs.events, &order, positions, num_rows);
                    if sender.send(batch).is_err() {
                        return; // the run stopped
                    }
                }
            });
            let seconds = || seconds_before + start.elapsed().as_secs_f64();
            self.steps(receiver.into_iter(), &seconds, on_event)
        })?;
        let sums = match outcome {
            Ok(sums) => sums,
            Err(signal) => return Ok(Err(signal)),
        };
        let seconds = seconds_before + start.elapsed().as_secs_f64();
        let discriminator_auc = match self.validate()? {
            Ok(auc) => auc,
            Err(signal) => {
                // All steps are done; whoever goes on begins with the validation.
                (self.progress.of_epoch, self.progress.of_interval) = (sums, HostSums::default());
                self.progress.seconds = seconds;
                return Ok(Err(signal));
            }
        };
        Ok(Ok(EpochMetrics {
            epoch,
            loss: sums.loss(),
            accuracy: sums.accuracy(),
            discriminator_auc,
            positives_per_second: inputs.events.len() as f64 / seconds,
            seconds,
        }))
    }

    /// The steps that are left of the epoch; `seconds` says how long it has taken.
    fn steps(
        &mut self,
        batches: impl Iterator<Item = MiniBatch>,
        seconds: &dyn Fn() -> f64,
        on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>,
    ) -> Result<std::result::Result<HostSums, i32>> {
        let h = self.hyperparameters();
        let seed = self.inputs.config.training.seed;
        let epoch = self.progress.epoch;
        for batch in batches {
            if let Some(signal) = (self.inputs.stop)() {
                self.progress.seconds = seconds();
                return Ok(Err(signal));
            }
            let step = self.progress.num_steps;
            let negatives = Negatives::training(
                h.random_negative_sampling_rate,
                h.shuffled_negative_sampling_rate,
                seed,
                epoch,
                step as u32,
            );
            self.state.set_learning_rate(self.learning_rate());
            let sums = self.state.step(&batch, negatives).sums;
            self.of_steps.push(sums.clone());
            self.on_device = Some(self.on_device.take().map_or(sums.clone(), |total| total + sums));
            if epoch == 0 {
                batch.entity_rows.iter().for_each(|row| {
                    let count = &mut self.progress.row_counts[*row as usize];
                    *count = count.saturating_add(1);
                });
            }
            self.progress.num_steps = step + 1;
            let publish = (step + 1).is_multiple_of(h.batch_metrics_publish_interval);
            if publish || (step + 1).is_multiple_of(MAX_STEPS_BETWEEN_READS) {
                let sums = self.read_sums()?;
                self.progress.of_interval.add(sums);
            }
            if publish {
                let of_interval = std::mem::take(&mut self.progress.of_interval);
                let (loss, accuracy) = (of_interval.loss(), of_interval.accuracy());
                on_event(&TrainEvent::Batch { epoch, step: step as u32, loss, accuracy })?;
                self.progress.of_epoch.add(of_interval);
            }
            on_event(&TrainEvent::Step { num_positives: batch.len() })?;
            if let Some(checkpointer) = &mut self.checkpointer {
                checkpointer.poll()?;
                if checkpointer.is_due(self.state.num_steps()) {
                    self.progress.seconds = seconds();
                    self.checkpoint(on_event)?;
                }
            }
        }
        let mut of_epoch = self.progress.of_epoch;
        of_epoch.add(self.progress.of_interval);
        of_epoch.add(self.read_sums()?);
        Ok(Ok(of_epoch))
    }

    /// Begins to write a checkpoint where one is due after the epoch that has ended and the run goes on.
    fn checkpoint_after_epoch(&mut self, on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>) -> Result<()> {
        let num_epochs = self.progress.epoch;
        let is_due = self.checkpointer.as_ref().is_some_and(|it| it.is_due_after_epoch(num_epochs));
        if is_due && num_epochs < self.num_epochs() { self.checkpoint(on_event) } else { Ok(()) }
    }

    /// Begins to write a checkpoint, unless the last one holds all that has been done.
    fn checkpoint(&mut self, on_event: &mut dyn FnMut(&TrainEvent) -> Result<()>) -> Result<()> {
        let num_steps = self.state.num_steps();
        match &mut self.checkpointer {
            Some(checkpointer) if !checkpointer.is_up_to_date(num_steps) => {}
            _ => return Ok(()),
        }
        self.check_state()?;
        on_event(&TrainEvent::Checkpoint { num_steps })?;
        let Some(checkpointer) = &mut self.checkpointer else { return Ok(()) };
        // The sums stay where they are: read now, they would be added in another order.
        let written = checkpointer.write(&self.state, &self.progress, self.on_device.as_ref(), &|| {
            self.initial_entities.with(self.inputs.events.iter().map(|event| event.entity))
        })?;
        written.map_err(|name| self.not_finite(format!("`{name}` became a number that is not finite"), None))
    }

    /// Of the next step.
    fn learning_rate(&self) -> f64 {
        let h = self.hyperparameters();
        let num_steps = self.inputs.events.len().div_ceil(h.mini_batch_size).saturating_mul(h.epochs);
        self.inputs.config.training.learning_rate(h.learning_rate, self.state.num_steps(), num_steps)
    }

    /// Takes the sums that are on the device.
    fn read_sums(&mut self) -> Result<HostSums> {
        let Some(sums) = self.on_device.take() else { return Ok(HostSums::default()) };
        let sums = read_floats(sums)?;
        self.check_loss(sums[0])?;
        self.of_steps.clear();
        let [cross_entropy, num_correct, num_pairs] = [0, 1, 2].map(|i| sums[i] as f64);
        Ok(HostSums { cross_entropy, num_correct, num_pairs })
    }

    /// Refuses a state of which nothing more can come: a loss so far, a score or a weight that is not finite. What is
    /// on the device stays there.
    fn check_state(&mut self) -> Result<()> {
        if let Some(sums) = &self.on_device {
            let sums = read_floats(sums.clone())?;
            self.check_loss(sums[0])?;
        }
        if self.progress.num_steps > 0 {
            let (order, positions) = self.mini_batch(self.progress.epoch, self.progress.num_steps - 1);
            let events = self.inputs.events;
            let sample = positions.take(PAIRS_PER_BATCH).map(|position| events.get(order.event_at(position)));
            self.check_scores(&self.scorer(), &sample.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Checks a sum of the loss. Where it is not finite, the sums of the steps behind it say since when.
    fn check_loss(&mut self, sum: f32) -> Result<()> {
        if sum.is_finite() {
            return Ok(());
        }
        let first = self.progress.num_steps - self.of_steps.len();
        for (i, sums) in std::mem::take(&mut self.of_steps).into_iter().enumerate() {
            let value = read_floats(sums)?[0];
            if !value.is_finite() {
                return Err(self.not_finite(format!("the loss became {value}"), Some(first + i)));
            }
        }
        Err(self.not_finite(format!("the sum of the loss became {sum}"), None))
    }

    /// The loss is that before the last update, which may have been one too many.
    fn check_scores(&mut self, scorer: &Scorer, sample: &[Event]) -> Result<()> {
        let sum = scorer.dot_products(sample)?.iter().sum::<f32>();
        if !sum.is_finite() {
            return Err(self.not_finite(format!("the sum of scores became {sum}"), None));
        }
        // A ReLU turns a weight that is no number into a score that is one.
        let sum = self.state.sum_of_parameters()?;
        if sum.is_finite() {
            Ok(())
        } else {
            Err(self.not_finite(format!("the sum of the encoder's weights became {sum}"), None))
        }
    }

    /// The error that ends a run: what was found, in a step of the epoch or, where it is not known which, after the last
    /// one; the mini-batch, by which it can be found again; and from where to begin again.
    fn not_finite(&mut self, what: String, step: Option<usize>) -> Error {
        let steps_per_epoch = self.inputs.events.len().div_ceil(self.hyperparameters().mini_batch_size);
        const SINCE: &str =
            "in a step since the last checkpoint or the beginning of the epoch, at the latest in";
        let (when, epoch, step) = match (step, self.progress.epoch, self.progress.num_steps) {
            (Some(step), epoch, _) => ("in", epoch, step),
            (None, epoch, 0) => (SINCE, epoch.saturating_sub(1), steps_per_epoch - 1),
            (None, epoch, num_steps) => (SINCE, epoch, num_steps - 1),
        };
        let (order, positions) = self.mini_batch(epoch, step);
        let (first, num_events) = (positions.start, positions.len());
        let digest = self.inputs.events.digest_of(positions.map(|position| order.event_at(position)));
        let checkpoint = self.checkpointer.as_mut().and_then(Checkpointer::last_good);
        let (checkpoint, from) = match checkpoint.map(|path| path.display().to_string()) {
            Some(path) => (
                format!("the last good checkpoint is {path}"),
                format!(
                    ", anew; or, if the loss was small there, from the checkpoint: --init-from {path} and another --output"
                ),
            ),
            None => ("there is no checkpoint yet".into(), ", anew".into()),
        };
        Error::config(
            "hyperparameters.learning_rate",
            format!(
                "{what} {when} step {step} of epoch {epoch}, both from 0 as in metrics.jsonl; its \
                 mini-batch, positions {first} to {} of the epoch's order, has BLAKE3 {digest}; {checkpoint}",
                first + num_events.saturating_sub(1)
            ),
            format!("lower it (now {}) and begin again{from}", self.hyperparameters().learning_rate),
        )
    }

    /// The order of an epoch, and the positions in it of the mini-batch of a step.
    fn mini_batch(&self, epoch: u32, step: usize) -> (EpochOrder, Range<usize>) {
        let num_events = self.inputs.events.len();
        let order = EpochOrder::new(num_events, self.inputs.config.training.seed, epoch);
        let positions = mini_batch_positions(num_events, self.hyperparameters().mini_batch_size, step).next();
        (order, positions.unwrap_or(num_events..num_events))
    }

    fn scorer(&self) -> Scorer {
        Scorer::of_training(self.state.snapshot(), self.progress.row_counts.clone())
    }

    /// Checks that the model scores and, where there is a validation set, computes its `discriminator_auc`; the inner
    /// `Err` is the signal that stopped it.
    fn validate(&mut self) -> Result<std::result::Result<Option<f64>, i32>> {
        let scorer = self.scorer();
        let sample: Vec<_> = self.inputs.events.iter().take(PAIRS_PER_BATCH).collect();
        self.check_scores(&scorer, &sample)?;
        let Some(validation) = self.inputs.validation else { return Ok(Ok(None)) };
        let mut evaluator = Evaluator::against_random_ipv4(&scorer, self.inputs.config.training.seed);
        for event in validation.iter() {
            if let Some(signal) = (self.inputs.stop)() {
                return Ok(Err(signal));
            }
            evaluator.push_event(event, None)?;
        }
        Ok(Ok(Some(evaluator.finish()?.auc)))
    }
}

/// The positions of each mini-batch of an epoch, from that of a step on; the last may be smaller.
fn mini_batch_positions(
    num_events: usize,
    batch_size: usize,
    first_step: usize,
) -> impl Iterator<Item = Range<usize>> {
    let first = first_step.saturating_mul(batch_size).min(num_events);
    (first..num_events).step_by(batch_size).map(move |start| start..(start + batch_size).min(num_events))
}
