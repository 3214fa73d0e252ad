//! A trial's trainings, each a process of this program in a folder of its own, and their results.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::figures::NUM_EPOCHS;
use super::process::{Failure, Launch, Stopper};
use crate::config::Config;
use crate::model_folder;
use crate::train::FolderLock;
use crate::{Error, Result};

/// The work on a trial until it pauses or ends.
pub(super) struct Leg {
    /// The epoch at which it pauses; `None`: at its end.
    pub until_epoch: Option<u32>,
    /// The configuration of each training.
    pub configs: Vec<Config>,
    /// The trial's folder.
    pub folder: PathBuf,
}

/// What a leg reports.
#[derive(Debug)]
pub(super) enum LegEvent {
    /// A training's figures of an epoch, as its process prints them.
    Epoch {
        /// Which of the trial's trainings.
        training: usize,
        /// The figures.
        figures: Value,
    },
    /// The leg has ended.
    End(LegEnd),
}

/// How a leg ended.
#[derive(Debug)]
pub(super) enum LegEnd {
    /// It has paused.
    Paused,
    /// All trainings have finished.
    Done(Vec<TrainingResult>),
    /// It was stopped.
    Stopped,
    /// A process did not do its work.
    Failed(Failure),
}

/// The result of a training that has finished.
#[derive(Debug)]
pub(super) struct TrainingResult {
    /// An object of figures by their names.
    pub figures: Value,
    /// The document that `evaluate` prints of its model.
    pub evaluation: Option<Value>,
}

/// The folder of one of a trial's trainings.
pub(super) fn run_folder(trial_folder: &Path, training: usize) -> PathBuf {
    trial_folder.join(format!("run-{training}"))
}

impl Leg {
    /// Runs it to its end. `tell` gets the epochs.
    pub fn run(&self, launch: &Launch, stopper: &Stopper, tell: &dyn Fn(LegEvent)) -> LegEnd {
        let end = self.run_trainings(launch, stopper, tell).unwrap_or_else(LegEnd::Failed);
        if stopper.is_asked() { LegEnd::Stopped } else { end }
    }

    fn run_trainings(
        &self,
        launch: &Launch,
        stopper: &Stopper,
        tell: &dyn Fn(LegEvent),
    ) -> std::result::Result<LegEnd, Failure> {
        let mut results = Vec::new();
        for (training, config) in self.configs.iter().enumerate() {
            let folder = run_folder(&self.folder, training);
            let is_finished = || model_folder::is_completed(&folder.join("model"));
            // A process of a sweep that was killed may still work there.
            wait_until_free(&folder)?;
            if !is_finished() {
                self.train(training, config, launch, stopper, tell)?;
            }
            if stopper.is_asked() {
                return Ok(LegEnd::Stopped);
            }
            // The run's records hold all epochs, those that no process could report, too.
            let epochs = epochs_of(&folder)?;
            for figures in &epochs {
                tell(LegEvent::Epoch { training, figures: figures.clone() });
            }
            if is_finished() {
                let evaluation = self.evaluate(&folder, launch, stopper)?;
                results.push(TrainingResult { figures: figures_of(&folder, &epochs)?, evaluation });
            }
        }
        Ok(if results.len() == self.configs.len() { LegEnd::Done(results) } else { LegEnd::Paused })
    }

    fn train(
        &self,
        training: usize,
        config: &Config,
        launch: &Launch,
        stopper: &Stopper,
        tell: &dyn Fn(LegEvent),
    ) -> std::result::Result<(), Failure> {
        let folder = run_folder(&self.folder, training);
        let path = self.folder.join(format!("run-{training}.toml"));
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        fs::write(&path, config.to_toml()).map_err(Error::io("write", &path))?;
        let mut args: Vec<OsString> = ["train", "--json", "--tied-to-stdin"].map(OsString::from).into();
        args.extend(["--config".into(), path.into_os_string(), "--output".into(), folder.into_os_string()]);
        if let Some(epoch) = self.until_epoch {
            args.extend(["--until-epoch".into(), epoch.to_string().into()]);
        }
        launch.run(args, &self.folder, stopper, &mut |line| {
            if let Some(figures) = epoch_of(line) {
                tell(LegEvent::Epoch { training, figures });
            }
        })
    }

    /// The document that `evaluate` prints of a training's model, if the sweep needs one.
    fn evaluate(
        &self,
        folder: &Path,
        launch: &Launch,
        stopper: &Stopper,
    ) -> std::result::Result<Option<Value>, Failure> {
        let Some(more) = &launch.evaluation else { return Ok(None) };
        let mut args: Vec<OsString> =
            ["evaluate", "--json", "--tied-to-stdin", "--model"].map(OsString::from).into();
        args.push(folder.join("model").into_os_string());
        args.extend(more.iter().map(OsString::from));
        let mut text = String::new();
        launch.run(args, &self.folder, stopper, &mut |line| {
            text += line;
            text.push('\n');
        })?;
        let not_json = |error| Failure::OfProcess(format!("evaluate printed no JSON document: {error}"));
        serde_json::from_str(&text).map(Some).map_err(not_json)
    }
}

/// Waits while a process of a sweep that was killed still works in a folder: it ends with its stdin, but not at once.
fn wait_until_free(folder: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let start = Instant::now();
    loop {
        match FolderLock::take(folder) {
            Ok(_) => return Ok(()),
            Err(Error::Config { .. }) if start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(50))
            }
            Err(error) => return Err(error),
        }
    }
}

/// The figures in a line of a training, if it is that of an epoch.
fn epoch_of(line: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok().filter(|value| value["event"] == "epoch")
}

/// The figures of a run's epochs, in their order.
fn epochs_of(folder: &Path) -> Result<Vec<Value>> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Ok(text.lines().filter_map(epoch_of).collect())
}

/// The figures of a run that has finished.
fn figures_of(folder: &Path, epochs: &[Value]) -> Result<Value> {
    let model = folder.join("model");
    let sum = |name: &str| epochs.iter().filter_map(|epoch| epoch[name].as_f64()).sum::<f64>();
    // The positives of an epoch are its speed times its seconds.
    let positives =
        |epoch: &Value| Some(epoch["positives_per_second"].as_f64()? * epoch["seconds"].as_f64()?);
    let num_positives: f64 = epochs.iter().filter_map(positives).sum();
    let seconds = sum("seconds");
    let mut figures = Map::new();
    for name in ["discriminator_auc", "loss", "accuracy"] {
        figures.insert(name.into(), epochs.last().map_or(Value::Null, |epoch| epoch[name].clone()));
    }
    // A model of one family has no figure of the other.
    for name in ["discriminator_auc_ipv4", "discriminator_auc_ipv6"] {
        if let Some(auc) = epochs.last().and_then(|epoch| epoch.get(name)) {
            figures.insert(name.into(), auc.clone());
        }
    }
    figures.insert("positives_per_second".into(), json!(num_positives / seconds.max(1e-9)));
    figures.insert("seconds".into(), json!(seconds));
    figures.insert(NUM_EPOCHS.into(), json!(epochs.len()));
    figures.insert("model_bytes".into(), json!(model_folder::num_tensor_bytes(&model)?));
    Ok(Value::Object(figures))
}
