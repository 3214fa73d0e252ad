use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::tensorboard::{self, EventWriter};
use super::trainer::TrainEvent;
use crate::config::Config;
use crate::{Error, Result};

/// The folder of a training run: `config.toml` (resolved), `metrics.jsonl`, `tensorboard/`, `model/`.
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    tensorboard: EventWriter<BufWriter<File>>,
    num_steps: i64,
}

impl RunFolder {
    /// Makes the folder and writes the configuration into it.
    ///
    /// # Errors
    ///
    /// As [`RunFolder::check`], else [`Error::Io`].
    /// A model that is overwritten stays until the new one is whole.
    pub fn create(path: &Path, config: &Config, overwrite: bool) -> Result<Self> {
        let [config_path, metrics_path, tensorboard_path] =
            ["config.toml", "metrics.jsonl", "tensorboard"].map(|name| path.join(name));
        Self::check(path, overwrite)?;
        if tensorboard_path.exists() {
            fs::remove_dir_all(&tensorboard_path).map_err(Error::io("remove", &tensorboard_path))?;
        }
        fs::create_dir_all(&tensorboard_path).map_err(Error::io("create", &tensorboard_path))?;
        fs::write(&config_path, config.to_toml()).map_err(Error::io("write", &config_path))?;
        let metrics = File::create(&metrics_path).map_err(Error::io("create", &metrics_path))?;
        let events_path = tensorboard_path.join(tensorboard::file_name(wall_time()));
        let tensorboard = File::create(&events_path)
            .and_then(|file| EventWriter::new(BufWriter::new(file), wall_time()))
            .map_err(Error::io("create", &events_path))?;
        Ok(Self { path: path.to_path_buf(), metrics, tensorboard, num_steps: 0 })
    }

    /// Refuses a folder that holds a run already, unless it may be overwritten.
    ///
    /// # Errors
    ///
    /// [`Error::Config`].
    pub fn check(path: &Path, overwrite: bool) -> Result<()> {
        let holds_run = ["config.toml", "metrics.jsonl", "tensorboard", "model"]
            .iter()
            .any(|name| path.join(name).exists());
        if holds_run && !overwrite {
            return Err(Error::config(
                format!("--output {}", path.display()),
                "the folder holds a run",
                "give another folder, or add --overwrite to replace the run",
            ));
        }
        Ok(())
    }

    /// Where the model goes.
    pub fn model_path(&self) -> PathBuf {
        self.path.join("model")
    }

    /// Appends an event's figures to `metrics.jsonl` and TensorBoard.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where writing fails.
    pub fn record(&mut self, event: &TrainEvent) -> Result<()> {
        if let TrainEvent::Step { .. } = event {
            self.num_steps += 1;
        }
        let Some(json) = event.to_json() else { return Ok(()) };
        let metrics_path = self.path.join("metrics.jsonl");
        writeln!(self.metrics, "{json}").map_err(Error::io("write", metrics_path))?;
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
            ],
            _ => Vec::new(),
        };
        for (tag, value) in scalars {
            if let Some(value) = value {
                self.tensorboard.scalar(tag, value as f32, self.num_steps, wall_time())?;
            }
        }
        self.tensorboard.flush()
    }
}

/// Seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
