use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::checkpoint::{Checkpoint, Resume};
use super::lock::FolderLock;
use super::metrics::TrainEvent;
use super::tensorboard::{self, EventWriter};
use crate::config::Config;
use crate::durable::{OutputFile, RUN_PREFIX};
use crate::model_folder;
use crate::{At, Error, Result};

const MODEL: &str = "model";

/// The folder of a training run: `config.toml` (resolved), `metrics.jsonl`, `tensorboard/`, `checkpoints/`, `model/`.
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    tensorboard: EventWriter<BufWriter<File>>,
    num_steps: i64,
    _lock: FolderLock,
}

impl RunFolder {
    /// Begins the records of a run in a folder that this process holds, and writes the configuration into it. A run
    /// that resumes from a checkpoint keeps the records up to there; one that begins again removes those of the run
    /// before it. A model that is there stays until the new one is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::Data`] where the checkpoint is damaged.
    pub fn create(lock: FolderLock, path: &Path, config: &Config, from: Option<&Checkpoint>) -> Result<Self> {
        let [config_path, metrics_path, tensorboard_path] =
            ["config.toml", "metrics.jsonl", "tensorboard"].map(|name| path.join(name));
        remove_half_written(path)?;
        if from.is_none() && tensorboard_path.exists() {
            fs::remove_dir_all(&tensorboard_path).map_err(Error::io("remove", &tensorboard_path))?;
        }
        fs::create_dir_all(&tensorboard_path).map_err(Error::io("create", &tensorboard_path))?;
        OutputFile::write_of_run(&config_path, config.to_toml().as_bytes())?;
        let known = match from {
            Some(checkpoint) => known_metrics(&metrics_path, checkpoint)?,
            None => String::new(),
        };
        OutputFile::write_of_run(&metrics_path, known.as_bytes())?;
        let metrics =
            File::options().append(true).open(&metrics_path).map_err(Error::io("write", &metrics_path))?;
        let num_steps = from.map_or(0, |checkpoint| checkpoint.manifest().num_steps as i64);
        let tensorboard = create_event_file(&tensorboard_path)
            .and_then(|file| {
                let mut events = EventWriter::new(BufWriter::new(file), wall_time())?;
                if from.is_some() {
                    events.restart(num_steps + 1, wall_time())?;
                }
                Ok(events)
            })
            .map_err(Error::io("create", &tensorboard_path))?;
        Ok(Self { path: path.to_path_buf(), metrics, tensorboard, num_steps, _lock: lock })
    }

    /// Refuses a folder that holds a run which may neither be overwritten nor resumed, and one that holds nothing to
    /// resume where that is a must.
    ///
    /// # Errors
    ///
    /// [`Error::Config`].
    pub fn check(path: &Path, overwrite: bool, resume: Resume) -> Result<()> {
        let refused =
            |what: &str, help: &str| Err(Error::config(At::option_of("output", path.display()), what, help));
        let holds_run = ["config.toml", "metrics.jsonl", "tensorboard", "checkpoints", "model"]
            .iter()
            .any(|name| path.join(name).exists());
        if resume == Resume::Must && !holds_run {
            let help = "give the folder of a run that was interrupted, or set the option resume to auto";
            return refused("there is no run to resume", help);
        }
        if !holds_run || overwrite || resume == Resume::Must {
            return Ok(());
        }
        if model_folder::is_completed(&path.join("model")) {
            let help = "give another folder, or add the option overwrite to replace the run";
            return refused("the folder holds a run that is complete", help);
        }
        if resume == Resume::Never {
            let help = "give another folder, add the option overwrite to replace the run, or set the option resume \
                        to auto to resume it";
            return refused("the folder holds a run", help);
        }
        Ok(())
    }

    /// Where the checkpoints of the run in `path` go.
    pub fn checkpoints_path(path: &Path) -> PathBuf {
        path.join("checkpoints")
    }

    /// Where the model goes.
    pub fn model_path(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Appends an event's figures to `metrics.jsonl` and TensorBoard.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where writing fails.
    pub fn record(&mut self, event: &TrainEvent) -> Result<()> {
        match event {
            TrainEvent::Step { .. } => self.num_steps += 1,
            TrainEvent::Checkpoint { .. } => {
                // A checkpoint must not know more than the records.
                let synced = self.metrics.sync_data();
                return synced.map_err(Error::io("sync", self.path.join("metrics.jsonl")));
            }
            _ => {}
        }
        let Some(json) = event.to_json() else { return Ok(()) };
        let metrics_path = self.path.join("metrics.jsonl");
        // At once: who reads it meanwhile sees whole lines.
        self.metrics.write_all(format!("{json}\n").as_bytes()).map_err(Error::io("write", metrics_path))?;
        self.write_scalars(event).map_err(Error::io("write", self.path.join("tensorboard")))
    }

    fn write_scalars(&mut self, event: &TrainEvent) -> std::io::Result<()> {
        let scalars = match event {
            TrainEvent::Batch { loss, accuracy, .. } => {
                vec![("train/batch_loss", Some(*loss)), ("train/batch_accuracy", Some(*accuracy))]
            }
            TrainEvent::Epoch(metrics) => vec![
                ("train/loss", Some(metrics.loss)),
                ("train/accuracy", Some(metrics.accuracy)),
                ("train/positives_per_second", Some(metrics.positives_per_second)),
                ("validation/discriminator_auc", metrics.discriminator_auc),
                ("validation/discriminator_auc_ipv4", metrics.auc_by_family.ipv4),
                ("validation/discriminator_auc_ipv6", metrics.auc_by_family.ipv6),
            ],
            _ => Vec::new(),
        };
        // A batch's figures are reported just before its step.
        let num_steps = self.num_steps + i64::from(matches!(event, TrainEvent::Batch { .. }));
        for (tag, value) in scalars {
            if let Some(value) = value {
                self.tensorboard.scalar(tag, value as f32, num_steps, wall_time())?;
            }
        }
        self.tensorboard.flush()
    }
}

/// The lines of `metrics.jsonl` up to a checkpoint. Where they are gone, as on another machine, those of the epochs
/// that the checkpoint knows.
fn known_metrics(path: &Path, checkpoint: &Checkpoint) -> Result<String> {
    let manifest = checkpoint.manifest();
    let reached = (u64::from(manifest.epoch), manifest.num_steps_of_epoch as u64);
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let lines =
                checkpoint.epochs()?.into_iter().filter_map(|epoch| TrainEvent::Epoch(epoch).to_json());
            return Ok(lines.map(|line| format!("{line}\n")).collect());
        }
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let is_known = |line: &&str| {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { return false };
        let Some(epoch) = line["epoch"].as_u64() else { return false };
        // A batch is in once its step is done, an epoch once the next one is under way.
        (epoch, line["step"].as_u64().unwrap_or(u64::MAX)) < reached
    };
    Ok(String::from_utf8_lossy(&text).lines().filter(is_known).map(|line| format!("{line}\n")).collect())
}

/// Removes what a run that was killed while it wrote left half written. What another verb is writing here stays, a report
/// or scores.
fn remove_half_written(path: &Path) -> Result<()> {
    crate::durable::remove_half_written(&path.join(MODEL))?;
    for entry in fs::read_dir(path).map_err(Error::io("read", path))? {
        let entry = entry.map_err(Error::io("read", path))?;
        if entry.file_name().to_string_lossy().starts_with(RUN_PREFIX) {
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
    }
    Ok(())
}

/// A run that is resumed within the same second must not write over the file of the one before.
fn create_event_file(folder: &Path) -> io::Result<File> {
    let mut time = wall_time();
    loop {
        match File::create_new(folder.join(tensorboard::file_name(time))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => time += 1.0,
            other => return other,
        }
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
