//! What a run begins from instead of random weights: a model, or a checkpoint with the moments of its optimiser.

use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::checkpoint::{Checkpoint, STATE};
use super::progress::Progress;
use super::step::TrainState;
use crate::config::{Config, differences};
use crate::event::ENTITY_HASH;
use crate::history::Detector;
use crate::model::IpInsightsConfig;
use crate::model_folder::entity_filter::EntityFilter;
use crate::model_folder::{InitFrom, MANIFEST, StoredWeights};
use crate::{At, Error, Result};

/// Weights of the shape that a run needs, verified.
pub struct InitialModel {
    path: PathBuf,
    source: Source,
    init_from: InitFrom,
    num_entity_vectors: usize,
}

enum Source {
    Model(Box<StoredWeights>),
    Checkpoint(Box<Checkpoint>),
}

impl InitialModel {
    /// Finds the weights in a model folder, a run folder (its model) or the folder of a checkpoint, checks every checksum,
    /// and that a run by `config` can begin from them; an "auto" number of rows is theirs then. From a checkpoint the moments of Adam come along; a model has
    /// none, so they begin at 0. Rows that were trained there stay seen: the numbers of events add up.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where there are no weights, and where the entity hash or the shape is another: with each
    /// difference. [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        let folder = find(path)?;
        let (source, init_from, (num_entity_vectors, differing)) = if folder.join(STATE).exists() {
            let checkpoint = Checkpoint::open(&folder)?;
            let differing = shape_differences(checkpoint.config(), config);
            let init_from = checkpoint.manifest().as_init_from();
            (Source::Checkpoint(Box::new(checkpoint)), init_from, differing)
        } else {
            let weights = StoredWeights::open(&folder)?;
            let (num_entity_vectors, mut differing) = shape_differences(&weights.config, config);
            if weights.manifest.entity_hash != ENTITY_HASH {
                let then = &weights.manifest.entity_hash;
                differing.insert(0, format!("entity hash: {then} then, {ENTITY_HASH} now"));
            }
            let blake3 = weights.manifest.weights_digest().unwrap_or_default().into();
            let init_from = InitFrom { blake3, num_optimizer_steps: 0 };
            (Source::Model(Box::new(weights)), init_from, (num_entity_vectors, differing))
        };
        if differing.is_empty() {
            return Ok(Self { path: folder, source, init_from, num_entity_vectors });
        }
        let help = help(&differing);
        let what = format!("its weights do not fit this run: {}", differing.join("; "));
        Err(Error::config(At::option_of("init_from", path.display()), what, help))
    }

    /// What identifies these weights.
    pub fn init_from(&self) -> &InitFrom {
        &self.init_from
    }

    /// The rows of their table of entities.
    pub fn num_entity_vectors(&self) -> usize {
        self.num_entity_vectors
    }

    /// Bytes of the files that are mapped while the run begins from them, or as long as it lasts.
    pub(super) fn num_file_bytes(&self) -> u64 {
        match &self.source {
            Source::Checkpoint(checkpoint) => {
                checkpoint.manifest().files.values().map(|file| file.bytes).sum()
            }
            Source::Model(weights) => weights.num_file_bytes(),
        }
    }

    /// Where they lie.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The detector beside them: a checkpoint has none, and a model of the engine alone.
    pub fn detector(&self) -> Option<&Detector> {
        match &self.source {
            Source::Checkpoint(_) => None,
            Source::Model(weights) => weights.detector.as_ref(),
        }
    }

    /// The entities that they were trained on.
    pub(super) fn entity_filter(&self) -> Result<EntityFilter> {
        match &self.source {
            Source::Checkpoint(checkpoint) => checkpoint.entity_filter(),
            Source::Model(weights) => weights.entity_filter(),
        }
    }

    /// The state and the progress of a run that begins from them.
    pub(super) fn begin(
        &self,
        model: &IpInsightsConfig,
        config: &Config,
        device: &Device,
    ) -> Result<(TrainState, Progress)> {
        match &self.source {
            Source::Checkpoint(checkpoint) => checkpoint.begin(model, config, device),
            Source::Model(weights) => {
                let (model, row_counts) = weights.model(model, device)?;
                let state = TrainState::from_model(model, &config.hyperparameters);
                Ok((state, Progress::new(row_counts)))
            }
        }
    }
}

impl fmt::Display for InitialModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights of {}", self.path.display())?;
        match self.init_from.num_optimizer_steps {
            0 => Ok(()),
            steps => write!(f, " and the moments of {steps} steps"),
        }
    }
}

/// The folder that has the weights.
fn find(path: &Path) -> Result<PathBuf> {
    let of_run = path.join("model");
    for folder in [path, &of_run] {
        if folder.join(MANIFEST).exists() {
            return Ok(folder.to_path_buf());
        }
    }
    Err(Error::config(
        At::option_of("init_from", path.display()),
        "there is no model and no checkpoint",
        "give a model folder, a run folder, or a checkpoint as in RUN/checkpoints/step-0000001000",
    ))
}

/// Keys that say how the weights lie.
const SHAPE_KEYS: [&str; 4] = [
    "hyperparameters.num_entity_vectors",
    "hyperparameters.vector_dim",
    "hyperparameters.num_ip_encoder_layers",
    "model.addresses",
];

/// The rows that there are, and what differs among [`SHAPE_KEYS`]; an "auto" number of rows takes what there is.
fn shape_differences(then: &Config, now: &Config) -> (usize, Vec<String>) {
    let table = |config: &Config| config.table().unwrap_or_default();
    let is_free =
        |key: &str| !SHAPE_KEYS.contains(&key) || now.auto_sizes.num_entity_vectors && key == SHAPE_KEYS[0];
    (then.hyperparameters.num_entity_vectors, differences(&table(then), &table(now), is_free))
}

fn help(differing: &[String]) -> &'static str {
    match differing.iter().any(|difference| difference.starts_with("hyperparameters.num_entity_vectors")) {
        true => {
            "an entity's row is its hash modulo num_entity_vectors, and a model does not know its entities, so its \
             rows cannot be dealt out anew: keep the old number, or train from scratch with the new one, without \
             init_from\nfor the other keys: take the values of then, in config.toml beside the weights"
        }
        false => {
            "take the values of then, which are in config.toml beside the weights; or train from scratch, without \
             init_from"
        }
    }
}
