//! How much memory the whole command of a training takes, phase by phase, found before it begins.
//!
//! Each part's formula stands beside the code that allocates it. Mapped files, prepared events among them, are counted
//! apart: their pages are in the process's resident memory while it reads them, but they are the system's page cache, which
//! it takes back where memory is short, and no limit of `ulimit -d` or of a control group refuses them.

use super::checkpoint;
use super::detector::{detector_bytes, fits_head, log_bytes};
use super::initial::InitialModel;
use super::inputs::prefetched_bytes;
use super::run_memory::{Phase, RunMemory};
use crate::config::{Config, DetectorKind};
use crate::data::{Events, HeldEvents};
use crate::device::{DeviceLimits, MemoryPlan, bytes};
use crate::evaluate::Evaluator;
use crate::inference::training_batch_bytes;
use crate::memory_limits::peak_so_far;
use crate::model::IpInsightsConfig;
use crate::model_folder;
use crate::model_folder::EntityFilter;
use crate::{Error, Result};

/// What the process takes beside all that is planned, measured with the smallest model: the program's own pages 24 MiB, its
/// threads and runtime 18, and what the allocator keeps of memory that was given back.
const PROCESS_BYTES: u64 = 64 << 20;

/// What a run reads, as far as it decides how much memory it takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunData {
    /// The training events.
    pub events: HeldEvents,
    /// The validation events.
    pub validation: HeldEvents,
    /// Distinct entities of the training events, at most.
    pub max_entities: u64,
    /// Bytes of the files of the model or checkpoint that it begins from.
    pub initial_bytes: u64,
    /// Whether it keeps the head of the model that it begins from.
    pub keeps_head: bool,
    /// The greatest resident memory of this process so far: what reading has taken.
    pub peak_so_far: u64,
}

impl RunData {
    /// Of events that were read.
    pub fn of(
        config: &Config,
        events: &Events,
        validation: Option<&Events>,
        init_from: Option<&InitialModel>,
    ) -> Self {
        Self {
            events: events.held(),
            validation: validation.map(Events::held).unwrap_or_default(),
            max_entities: (config.hyperparameters.num_entity_vectors as u64).min(events.len() as u64),
            initial_bytes: init_from.map_or(0, InitialModel::num_file_bytes),
            keeps_head: !fits_head(events.len(), init_from.and_then(InitialModel::detector)),
            peak_so_far: peak_so_far().unwrap_or(0),
        }
    }

    /// Of prepared files with so many training events, which trainings share.
    pub fn prepared(config: &Config, num_events: u64) -> Self {
        let events = HeldEvents { num_events, ..HeldEvents::default() };
        let max_entities = (config.hyperparameters.num_entity_vectors as u64).min(num_events);
        Self { events, max_entities, ..Self::default() }
    }
}

impl RunMemory {
    /// Plans a run.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] with the figure and what to lower, where a row, a step or the whole does not fit.
    pub fn plan(config: &Config, limits: &DeviceLimits, data: &RunData) -> Result<Self> {
        let device = MemoryPlan::for_training(config, limits)?;
        let held_bytes = PROCESS_BYTES + data.events.own_bytes + data.validation.own_bytes;
        let is_cpu = limits.max_binding_bytes.is_none();
        let plan = Self {
            phases: phases(config, &device, data, is_cpu),
            device,
            is_cpu,
            held_bytes,
            peak_so_far: data.peak_so_far,
        };
        plan.check(config, limits)?;
        Ok(plan)
    }

    /// The memory that was free when the process began, which it was part of.
    fn check(&self, config: &Config, limits: &DeviceLimits) -> Result<()> {
        match limits.available_bytes {
            Some(available) if self.total_bytes().saturating_sub(PROCESS_BYTES) > available => {
                let limit = limits.limited_by.unwrap_or("the free memory");
                let what = format!("{self} are needed, but {limit} leaves {}", bytes(available));
                Err(Error::device(what, remedy(self.peak(), config)))
            }
            _ => Ok(()),
        }
    }
}

const TABLE: &str = "entity table";
const EVENTS: &str = "events";

/// What to lower, by what the peak consists of.
fn remedy(peak: &Phase, config: &Config) -> String {
    let of = |name: &str| peak.parts.iter().filter(|part| part.0 == name).map(|part| part.1).sum::<u64>();
    let (all, by_rows) = (peak.total_bytes() - PROCESS_BYTES, of(TABLE) + of(OPTIMIZER) + of(ROWS));
    let by_events = of(EVENTS) + of(LOG) + of(FIT);
    let mut remedies = Vec::new();
    if 3 * by_rows > all {
        remedies.push("lower num_entity_vectors or vector_dim");
    }
    if 3 * of(STEP) > all {
        remedies.push("lower mini_batch_size, the negative sampling rates or vector_dim");
    }
    if 3 * by_events > all {
        remedies.push("train on fewer events (max_events_per_entity, max_events_per_ip), or prepare them, so that they are mapped");
        if config.model.detector == DetectorKind::History {
            remedies.push("set model.detector = \"engine\"");
        }
    }
    if remedies.is_empty() {
        remedies.push("lower num_entity_vectors, vector_dim or mini_batch_size");
    }
    remedies.join("; or ")
}

const PROCESS: &str = "the process";
const OPTIMIZER: &str = "its optimiser state";
const ROWS: &str = "counts of rows";
const STEP: &str = "a step";
const LOG: &str = "the events in order";
const FIT: &str = "counting and fitting";

fn phases(config: &Config, device: &MemoryPlan, data: &RunData, is_cpu: bool) -> Vec<Phase> {
    let h = &config.hyperparameters;
    let shape = IpInsightsConfig::of(config, usize::MAX).shape();
    // What lies on an adapter is none of the process's memory.
    let of_device = |bytes: u64| if is_cpu { bytes } else { 0 };
    let (table, optimizer) = (of_device(device.table_bytes), of_device(device.optimizer_bytes));
    let counts = size_of::<u32>() as u64 * h.num_entity_vectors as u64;
    let filter = EntityFilter::max_bytes(data.max_entities);
    let validation = data.validation.num_events;
    let process = (PROCESS, PROCESS_BYTES);
    let events = (EVENTS, data.events.own_bytes + data.validation.own_bytes);
    let training = [process, events, (TABLE, table), (OPTIMIZER, optimizer)];
    let mapped_bytes = data.events.mapped_bytes + data.validation.mapped_bytes + data.initial_bytes;
    let phase = |name, held: &[(&'static str, u64)], more: &[(&'static str, u64)]| Phase {
        name,
        parts: [held, more].concat(),
        mapped_bytes,
    };
    let batch = ("a batch of scores", of_device(training_batch_bytes(&shape)));
    let step = (STEP, of_device(device.step_bytes) + prefetched_bytes(h.mini_batch_size));
    let mut phases = vec![
        phase("training", &training, &[(ROWS, counts), step]),
        phase(
            "validation",
            &training,
            &[(ROWS, 2 * counts), batch, ("scores", Evaluator::scores_bytes(validation))],
        ),
    ];
    if config.training.checkpoint_interval != "off" {
        let making = EntityFilter::making_bytes(data.events.num_events, data.max_entities);
        let pieces = checkpoint::pieces_bytes(device.table_bytes + device.optimizer_bytes);
        let more = [(ROWS, 2 * counts), ("entities", filter + making.max(pieces))];
        phases.push(phase("a checkpoint", &training, &more));
    }
    let model = [process, (TABLE, table), (ROWS, counts), ("entities", filter)];
    if config.model.detector == DetectorKind::History {
        let log = (LOG, log_bytes(data.events.num_events));
        let events = [(EVENTS, data.events.own_bytes), ("their order", data.events.order_bytes), log];
        phases.push(phase("copying the events in order", &model, &events));
        let counting = (FIT, detector_bytes(data.events.num_events, !data.keeps_head));
        // The events are gone then.
        let mapped_bytes = data.initial_bytes;
        phases.push(Phase { mapped_bytes, ..phase("the history and its head", &model, &[log, counting]) });
    }
    phases.push(phase("saving", &model, &[("pieces", model_folder::pieces_bytes(device.table_bytes))]));
    phases
}
