//! Checkpoints: folders from which a training goes on as if it had not been cut off.
//!
//! `step-NNNNNNNNNN/` holds `state.safetensors` (the table and the encoder with both moments of each, the sums of the
//! loss, the counts of rows, the filter of entities, the figures of finished epochs), `config.toml` (resolved) and `manifest.json` (where the
//! run is, what it trains on and began from, size and BLAKE3 of the other files, and a checksum of itself). The order of events and the negatives are
//! functions of (seed, epoch, step), so nothing else is needed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::Device;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::progress::{HostSums, Progress};
use super::step::TrainState;
use super::trainer::EpochMetrics;
use crate::config::{Config, LearningRateSchedule, differences as differing};
use crate::data::DataDigest;
use crate::event::ENTITY_HASH;
use crate::model::IpInsightsConfig;
use crate::model_folder::entity_filter::EntityFilter;
use crate::model_folder::{self, FileEntry, InitFrom, Tensors, Unreadable, read_checksummed};
use crate::{Error, Result};

/// Version of the folder's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 3;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const STATE: &str = "state.safetensors";
pub(super) const CONFIG: &str = "config.toml";

/// Tensors of the state beside those of [`TrainState::tensors`].
pub(super) const ROW_COUNTS: &str = "entity_row_counts";
pub(super) const SUMS: &str = "loss_sums";
pub(super) const UNREAD_SUMS: &str = "unread_loss_sums";
pub(super) const SECONDS: &str = "epoch_seconds";
pub(super) const EPOCHS: &str = "epoch_metrics";

/// Figures of a finished epoch in [`EPOCHS`].
pub(super) const FIGURES_OF_EPOCH: usize = 5;

const DAMAGED_HELP: &str = "the checkpoint is damaged: delete its folder";

/// Whether a run goes on from a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// From the last good one if there is one; a run that came to its end is left alone.
    #[default]
    Auto,
    /// It begins anew.
    Never,
    /// From the last good one, and it is an error if there is none.
    Must,
}

impl FromStr for Resume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Resume::Auto),
            "never" => Ok(Resume::Never),
            "must" => Ok(Resume::Must),
            _ => {
                let what = format!("no such choice `{text}`");
                Err(Error::config("--resume", what, "valid choices: auto, never, must"))
            }
        }
    }
}

/// `manifest.json` of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointManifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The version of `ipsight` that wrote it.
    pub ipsight_version: String,
    /// Name and version of the entity hash: [`ENTITY_HASH`].
    pub entity_hash: String,
    /// Steps done, of all epochs.
    pub num_steps: usize,
    /// The epoch that was under way, from 0.
    pub epoch: u32,
    /// Steps of it that were done.
    pub num_steps_of_epoch: usize,
    /// 3, or 0 where all sums of the loss had been read back from the device.
    pub num_unread_sums: usize,
    /// What the run trains on.
    pub data: DataDigest,
    /// What it began from; `None`: random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
    /// The other files of the folder.
    pub files: BTreeMap<String, FileEntry>,
}

impl CheckpointManifest {
    /// Steps that the moments of Adam know of before those of the run.
    pub(super) fn num_steps_before(&self) -> usize {
        self.init_from.as_ref().map_or(0, |init_from| init_from.num_optimizer_steps)
    }

    /// What a run records that begins from this checkpoint.
    pub(super) fn as_init_from(&self) -> InitFrom {
        let blake3 = self.files.get(STATE).map_or(String::new(), |file| file.blake3.clone());
        InitFrom { blake3, num_optimizer_steps: self.num_steps_before() + self.num_steps }
    }
}

/// What makes a run this one: on the CPU all of it decides every byte.
#[derive(Clone, Copy, Debug)]
pub struct RunIdentity<'a> {
    /// The resolved configuration.
    pub config: &'a Config,
    /// The digest of the training events.
    pub data: &'a DataDigest,
    /// What it begins from; `None`: random weights.
    pub init_from: Option<&'a InitFrom>,
}

/// A checkpoint whose files were read once and found whole.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: CheckpointManifest,
    config: Config,
}

/// The checkpoints of a folder by their steps, ascending. A folder that is not there has none.
///
/// # Errors
///
/// [`Error::Io`].
pub fn list(folder: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        if let Some(num_steps) = num_steps_of(&entry) {
            found.push((num_steps, folder.join(entry)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Finds the checkpoint that a run goes on from, and removes those that it does not go on from: past that one, or all
/// where there is none.
///
/// # Errors
///
/// As [`last_good`], and [`Error::Config`] where there is none and [`Resume::Must`] asks for one.
pub fn find(
    folder: &Path,
    resume: Resume,
    run: &RunIdentity<'_>,
    on_damaged: &mut dyn FnMut(&Path, &Error),
) -> Result<Option<Checkpoint>> {
    let found = match resume {
        Resume::Never => None,
        Resume::Auto | Resume::Must => last_good(folder, run, on_damaged)?,
    };
    if found.is_none() && resume == Resume::Must {
        return Err(Error::config(
            folder.display().to_string(),
            "there is no good checkpoint to go on from",
            "begin anew: leave out --resume must, or add --overwrite",
        ));
    }
    remove_after(folder, found.as_ref().map(|checkpoint| checkpoint.manifest.num_steps))?;
    Ok(found)
}

/// The name of the folder of a checkpoint.
pub(super) fn folder_name(num_steps: usize) -> String {
    format!("step-{num_steps:010}")
}

fn num_steps_of(name: &str) -> Option<usize> {
    let num_steps = name.strip_prefix("step-")?.parse().ok()?;
    (folder_name(num_steps) == name).then_some(num_steps)
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder)(error)),
    };
    let name =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(Error::io("read", folder))
}

/// Removes the checkpoints past `num_steps`, and what a run that was killed left half written or half removed.
fn remove_after(folder: &Path, num_steps: Option<usize>) -> Result<()> {
    for name in entries(folder)? {
        let is_left_over = name.starts_with(".step-") && (name.ends_with(".tmp") || name.ends_with(".old"));
        let is_past = num_steps_of(&name).is_some_and(|found| num_steps.is_none_or(|last| found > last));
        if is_left_over || is_past {
            let path = folder.join(name);
            fs::remove_dir_all(&path).map_err(Error::io("remove", path))?;
        }
    }
    Ok(())
}

/// The last good checkpoint of a folder for a run. Of each that is damaged
/// `on_damaged` is told, and the one before it is looked at.
///
/// # Errors
///
/// [`Error::Config`] where the run that left it trains on other events, by another configuration or from another model
/// than this one: with each difference. [`Error::Io`] where the folder cannot be read.
pub fn last_good(
    folder: &Path,
    run: &RunIdentity<'_>,
    on_damaged: &mut dyn FnMut(&Path, &Error),
) -> Result<Option<Checkpoint>> {
    for (_, path) in list(folder)?.into_iter().rev() {
        match Checkpoint::open(&path) {
            Ok(checkpoint) => {
                checkpoint.check_same(run)?;
                return Ok(Some(checkpoint));
            }
            Err(error) if is_damage(&error) => on_damaged(&path, &error),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Another version's checkpoint is none that is damaged: nobody wants it passed over and removed.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        Error::Data { .. } => true,
        _ => false,
    }
}

impl Checkpoint {
    /// Reads a checkpoint and checks every checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file is missing, [`Error::Data`] where one is damaged, [`Error::Config`] where another
    /// version of `ipsight` wrote it that this one cannot go on from.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest_path = path.join(MANIFEST);
        let at = manifest_path.display().to_string();
        let text = fs::read(&manifest_path).map_err(Error::io("read", &manifest_path))?;
        let manifest: CheckpointManifest = match read_checksummed(&text, FORMAT_VERSION) {
            Ok(manifest) => manifest,
            Err(Unreadable::Damaged(what)) => return Err(Error::data(at, what, DAMAGED_HELP)),
            Err(Unreadable::OtherVersion(found)) => {
                let help = format!(
                    "this ipsight reads version {FORMAT_VERSION}: take the one that wrote it, or begin anew"
                );
                return Err(Error::config(at, found, help));
            }
        };
        if manifest.entity_hash != ENTITY_HASH {
            let what = format!("entities were hashed with {}, not {ENTITY_HASH}", manifest.entity_hash);
            return Err(Error::config(at, what, "take the ipsight that wrote it, or begin anew"));
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

    /// Refuses a run that would not have come here.
    ///
    /// What may differ: the device, how often checkpoints are written and kept, and how often metrics are published;
    /// what the files of events are called and how they are read, as long as the events are the same; what is
    /// validated on. `epochs` may be raised where the learning rate does not depend on it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with each key, its value then and its value now.
    pub fn check_same(&self, run: &RunIdentity<'_>) -> Result<()> {
        let RunIdentity { config, data, init_from } = *run;
        let mut differences = Vec::new();
        let then = &self.manifest.data;
        if then.num_events != data.num_events {
            let (then, now) = (then.num_events, data.num_events);
            differences.push(format!("training events: {then} then, {now} now"));
        } else if then != data {
            differences.push(format!(
                "training events: as many ({}), but others or in another order (BLAKE3 {}… then, {}… now)",
                data.num_events,
                &then.blake3[..8.min(then.blake3.len())],
                &data.blake3[..8]
            ));
        }
        if self.manifest.init_from.as_ref() != init_from {
            let (then, now) = (begun_from(self.manifest.init_from.as_ref()), begun_from(init_from));
            differences.push(format!("--init-from: {then} then, {now} now"));
        }
        let table = |config: &Config| Table::try_from(config).unwrap_or_default();
        differences
            .extend(differing(&table(&self.config), &table(config), |key| self.may_differ(key, config)));
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::config(
            self.path.display().to_string(),
            format!("this checkpoint is of another run: {}", differences.join("; ")),
            "take what was taken then; or begin anew, with --overwrite or in a folder without checkpoints",
        ))
    }

    fn may_differ(&self, key: &str, now: &Config) -> bool {
        const HARMLESS: [&str; 4] = [
            "training.device",
            "training.checkpoint_interval",
            "training.keep_checkpoints",
            "hyperparameters.batch_metrics_publish_interval",
        ];
        if key == "hyperparameters.epochs" {
            let is_constant = now.training.learning_rate_schedule == LearningRateSchedule::Constant;
            return is_constant && now.hyperparameters.epochs > self.config.hyperparameters.epochs;
        }
        // The events themselves are compared.
        HARMLESS.contains(&key) || key.starts_with("data.")
    }

    /// The state of the run, on a device; and the sums of the loss that had not been read back.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the state is not what the configuration says.
    pub(super) fn restore(
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
    pub(super) fn begin(
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
    pub(super) fn entity_filter(&self) -> Result<EntityFilter> {
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

fn begun_from(init_from: Option<&InitFrom>) -> String {
    init_from.map_or("nothing".into(), |InitFrom { blake3, num_optimizer_steps }| {
        let weights = format!("weights with BLAKE3 {}…", &blake3[..8.min(blake3.len())]);
        match num_optimizer_steps {
            0 => weights,
            steps => format!("{weights} and moments of {steps} steps"),
        }
    })
}

fn doubles(state: &Tensors, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
    let bytes = state.values(name, Dtype::F64, shape)?;
    Ok(bytes.as_chunks::<8>().0.iter().copied().map(f64::from_le_bytes).collect())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().copied().map(f32::from_le_bytes).collect()
}

/// The figures of an epoch as [`EPOCHS`] holds them; [`epoch_metrics`] is the inverse.
pub(super) fn figures(metrics: &EpochMetrics) -> [f64; FIGURES_OF_EPOCH] {
    let auc = metrics.discriminator_auc.unwrap_or(f64::NAN);
    [metrics.loss, metrics.accuracy, auc, metrics.positives_per_second, metrics.seconds]
}

fn epoch_metrics((figures, epoch): (&[f64], u32)) -> EpochMetrics {
    EpochMetrics {
        epoch,
        loss: figures[0],
        accuracy: figures[1],
        discriminator_auc: Some(figures[2]).filter(|auc| !auc.is_nan()),
        positives_per_second: figures[3],
        seconds: figures[4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_by_their_names_and_left_overs_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(list(&path.join("not there")).unwrap().is_empty());
        for name in [
            "step-0000000010",
            "step-0000000002",
            "step-12345678901",
            "step-3",
            "step-000000001x",
            ".step-0000000004.77.tmp",
            ".step-0000000001.77.old",
            "mine",
        ] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let steps = || list(path).unwrap().into_iter().map(|(steps, _)| steps).collect::<Vec<_>>();
        assert_eq!(steps(), [2, 10, 12_345_678_901]);
        remove_after(path, Some(10)).unwrap();
        assert_eq!(steps(), [2, 10]);
        remove_after(path, None).unwrap();
        let mut names = entries(path).unwrap();
        names.sort();
        assert_eq!(names, ["mine", "step-000000001x", "step-3"], "what is not ours stays");
    }

    #[test]
    fn every_figure_of_an_epoch_comes_back() {
        for discriminator_auc in [None, Some(0.1 + 0.2)] {
            let (loss, accuracy) = (1.0 / 3.0, f64::MIN_POSITIVE);
            let metrics = EpochMetrics {
                epoch: 4,
                loss,
                accuracy,
                discriminator_auc,
                positives_per_second: 1e300,
                seconds: 0.1,
            };
            assert_eq!(epoch_metrics((&figures(&metrics), 4)), metrics);
        }
    }
}
