//! A checkpoint that is read.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::tensor::Dtype;

use super::format::{
    CONFIG, CheckpointManifest, EPOCHS, FIGURES_OF_EPOCH, FORMAT_VERSION, MANIFEST, ROW_COUNTS, SECONDS,
    STATE, SUMS, UNREAD_SUMS, epoch_metrics,
};
use crate::config::Config;
use crate::event::ENTITY_HASH;
use crate::model::IpInsightsConfig;
use crate::model_folder::entity_filter::EntityFilter;
use crate::model_folder::{self, Tensors, Unreadable, read_checksummed};
use crate::train::metrics::EpochMetrics;
use crate::train::progress::{HostSums, Progress};
use crate::train::step::TrainState;
use crate::{Error, Result};

const DAMAGED_HELP: &str = "the checkpoint is damaged: delete its folder";

/// A checkpoint whose files were read once and found whole.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: CheckpointManifest,
    config: Config,
}

impl Checkpoint {
    /// Reads a checkpoint and checks every checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged, [`Error::Config`] where another
    /// version of `ipsight` wrote it that this one cannot resume.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest_path = path.join(MANIFEST);
        let at = manifest_path.display().to_string();
        let text = fs::read(&manifest_path).map_err(Error::io("read", &manifest_path))?;
        let manifest: CheckpointManifest = match read_checksummed(&text, FORMAT_VERSION) {
            Ok(manifest) => manifest,
            Err(Unreadable::Damaged(what)) => return Err(Error::data(at, what, DAMAGED_HELP)),
            Err(Unreadable::OtherVersion(found)) => {
                let help = format!(
                    "this ipsight reads version {FORMAT_VERSION}: take the one that wrote it, or begin again"
                );
                return Err(Error::config(at, found, help));
            }
        };
        if manifest.entity_hash != ENTITY_HASH {
            let what = format!("entities were hashed with {}, not {ENTITY_HASH}", manifest.entity_hash);
            return Err(Error::config(at, what, "take the ipsight that wrote it, or begin again"));
        }
        for name in [CONFIG, STATE] {
            let file = path.join(name);
            model_folder::verify(&file, &model_folder::map(&file)?, manifest.files.get(name))?;
        }
        let config = Config::load(Some(&path.join(CONFIG)), &[])?;
        Ok(Self { path: path.to_path_buf(), manifest, config })
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run was, and what it trains on.
    pub fn manifest(&self) -> &CheckpointManifest {
        &self.manifest
    }

    /// The state of the run, on a device; and the sums of the loss that had not been read back.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the state is not what the configuration says.
    pub(in crate::train) fn restore(
        &self,
        model: &IpInsightsConfig,
        config: &Config,
        device: &Device,
    ) -> Result<(TrainState, Progress, Option<[f32; 3]>)> {
        let state = self.state()?;
        let num_steps = [self.manifest.num_steps_before(), self.manifest.num_steps];
        let train_state = train_state(&state, model, config, device, num_steps)?;
        let sums = doubles(&state, SUMS, &[2, 3])?;
        let sums =
            |i: usize| HostSums { cross_entropy: sums[i], num_correct: sums[i + 1], num_pairs: sums[i + 2] };
        let progress = Progress {
            epoch: self.manifest.epoch,
            num_steps: self.manifest.num_steps_of_epoch,
            seconds: doubles(&state, SECONDS, &[1])?[0],
            of_epoch: sums(0),
            of_interval: sums(3),
            row_counts: row_counts(&state, config)?,
            epochs: self.epochs_of(&state)?,
        };
        let unread = floats(&state.values(UNREAD_SUMS, Dtype::F32, &[self.manifest.num_unread_sums])?);
        Ok((train_state, progress, unread.try_into().ok()))
    }

    /// The beginning of another run, of the same shape, with the weights and the moments of this one.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::restore`].
    pub(in crate::train) fn begin(
        &self,
        model: &IpInsightsConfig,
        config: &Config,
        device: &Device,
    ) -> Result<(TrainState, Progress)> {
        let state = self.state()?;
        let num_steps = [self.manifest.as_init_from().num_optimizer_steps, 0];
        let train_state = train_state(&state, model, config, device, num_steps)?;
        Ok((train_state, Progress::new(row_counts(&state, config)?)))
    }

    /// The entities that its run trains on or began with: where its first epoch was under way, of all events, whether
    /// they had come up or not.
    pub(in crate::train) fn entity_filter(&self) -> Result<EntityFilter> {
        model_folder::entity_filter(&self.state()?)
    }

    /// The configuration of its run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The figures of the epochs that were finished.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`].
    pub fn epochs(&self) -> Result<Vec<EpochMetrics>> {
        self.epochs_of(&self.state()?)
    }

    fn state(&self) -> Result<Tensors> {
        let path = self.path.join(STATE);
        Ok(Tensors { bytes: model_folder::map(&path)?, path })
    }

    fn epochs_of(&self, state: &Tensors) -> Result<Vec<EpochMetrics>> {
        let figures = doubles(state, EPOCHS, &[self.manifest.epoch as usize, FIGURES_OF_EPOCH])?;
        Ok(figures.chunks_exact(FIGURES_OF_EPOCH).zip(0..).map(epoch_metrics).collect())
    }
}

/// Weights and moments, with the steps of [`TrainState::restore`].
fn train_state(
    state: &Tensors,
    model: &IpInsightsConfig,
    config: &Config,
    device: &Device,
    num_steps: [usize; 2],
) -> Result<TrainState> {
    let h = &config.hyperparameters;
    TrainState::restore(model, h, device, num_steps, |name, rows, width| {
        let num_rows = if name.starts_with("entity_embedding") { h.num_entity_vectors } else { 1 };
        let bytes = state.values(name, Dtype::F32, &[num_rows, width])?;
        Ok(floats(&bytes[4 * width * rows.start..4 * width * rows.end]))
    })
}

fn row_counts(state: &Tensors, config: &Config) -> Result<Vec<u32>> {
    let counts = state.values(ROW_COUNTS, Dtype::U32, &[config.hyperparameters.num_entity_vectors])?;
    Ok(counts.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).collect())
}

fn doubles(state: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
    let bytes = state.values(name, Dtype::F64, shape)?;
    Ok(bytes.as_chunks::<8>().0.iter().copied().map(f64::from_le_bytes).collect())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().copied().map(f32::from_le_bytes).collect()
}
