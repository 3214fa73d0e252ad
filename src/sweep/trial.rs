//! A trial under way: its trainings, each a process of this program in a folder of its own, and what they say.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};

use crate::config::{Config, DeviceChoice};
use crate::model_folder;
use crate::train::FolderLock;
use crate::{Error, Result};

/// How processes are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// This program.
    pub program: PathBuf,
    /// What comes before it on the command line, as `srun`; may be empty.
    pub launcher: Vec<String>,
    /// Threads of each process.
    pub num_threads: usize,
    /// The device that was found for all.
    pub device: DeviceChoice,
    /// What `ipsight evaluate` is given beside the model; none: nothing is evaluated.
    pub evaluation: Option<Vec<String>>,
}

/// A trial's trainings up to a pause or the end.
pub struct Leg {
    /// The trial.
    pub trial: usize,
    /// Where it pauses; none: at its end.
    pub until_epoch: Option<u32>,
    /// Of each training its configuration.
    pub configs: Vec<Config>,
    /// The trial's folder.
    pub folder: PathBuf,
}

/// What a leg tells as it goes.
#[derive(Debug)]
pub enum LegEvent {
    /// A training's figures of an epoch, as it prints them.
    Epoch {
        /// Which of the trial's trainings.
        training: usize,
        /// The figures.
        figures: Value,
    },
    /// It is over.
    End(LegEnd),
}

/// How a leg ended.
#[derive(Debug)]
pub enum LegEnd {
    /// At its pause.
    Paused,
    /// At the end of the trial: of each training its figures, and the evaluation of its model.
    Done(Vec<(Value, Option<Value>)>),
    /// It was stopped.
    Stopped,
    /// A process failed, with this as its last word.
    Failed(String),
    /// A process was ended by SIGINT or SIGTERM, which the leg did not send.
    Terminated,
    /// It is the machine's fault: a disk that is full, a program that cannot be started.
    Broken(Error),
}

/// How a process ended that did not do its work.
enum Ended {
    Failed(String),
    Terminated,
}

impl From<Ended> for LegEnd {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(last_word) => LegEnd::Failed(last_word),
            Ended::Terminated => LegEnd::Terminated,
        }
    }
}

/// Stops a leg from another thread.
#[derive(Clone, Default)]
pub struct Stopper {
    is_asked: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
}

impl Stopper {
    /// Asks the leg to stop: its process ends when its stdin does.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Some(child) = self.lock().as_mut() {
            drop(child.stdin.take());
        }
    }

    /// Kills the process, and those that a launcher has started for it.
    pub fn kill(&self) {
        if let Some(child) = self.lock().as_mut()
            && let Ok(None) = child.try_wait()
            && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of one of a trial's trainings.
pub fn run_folder(trial_folder: &Path, training: usize) -> PathBuf {
    trial_folder.join(format!("run-{training}"))
}

impl Leg {
    /// Runs it. `tell` hears of epochs.
    pub fn run(&self, launch: &Launch, stopper: &Stopper, tell: &dyn Fn(LegEvent)) -> LegEnd {
        match self.try_run(launch, stopper, tell) {
            _ if stopper.is_asked() => LegEnd::Stopped,
            Ok(end) => end,
            Err(error) => LegEnd::Broken(error),
        }
    }

    fn try_run(&self, launch: &Launch, stopper: &Stopper, tell: &dyn Fn(LegEvent)) -> Result<LegEnd> {
        let mut done = Vec::new();
        for (training, config) in self.configs.iter().enumerate() {
            let folder = run_folder(&self.folder, training);
            // One that a sweep before this one left behind may still come to its end.
            wait_until_free(&folder)?;
            if !model_folder::is_completed(&folder.join("model"))
                && let Err(ended) = self.train(training, config, launch, stopper, tell)?
            {
                return Ok(ended.into());
            }
            if stopper.is_asked() {
                return Ok(LegEnd::Stopped);
            }
            // The records know of all epochs, those of earlier legs and those that were told to nobody, too.
            let epochs = epochs_of(&folder)?;
            for figures in &epochs {
                tell(LegEvent::Epoch { training, figures: figures.clone() });
            }
            if !model_folder::is_completed(&folder.join("model")) {
                continue; // it has paused
            }
            let evaluation = match &launch.evaluation {
                Some(args) => match self.evaluate(&folder, args, launch, stopper)? {
                    Ok(evaluation) => Some(evaluation),
                    Err(ended) => return Ok(ended.into()),
                },
                None => None,
            };
            done.push((figures_of(&folder, &epochs)?, evaluation));
        }
        Ok(if done.len() == self.configs.len() { LegEnd::Done(done) } else { LegEnd::Paused })
    }

    fn train(
        &self,
        training: usize,
        config: &Config,
        launch: &Launch,
        stopper: &Stopper,
        tell: &dyn Fn(LegEvent),
    ) -> Result<std::result::Result<(), Ended>> {
        let folder = run_folder(&self.folder, training);
        let path = self.folder.join(format!("run-{training}.toml"));
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        fs::write(&path, config.to_toml()).map_err(Error::io("write", &path))?;
        let mut args = vec!["train".into(), "--json".into(), "--tied-to-stdin".into()];
        args.extend(["--config".into(), path.into_os_string(), "--output".into(), folder.into_os_string()]);
        if let Some(epoch) = self.until_epoch {
            args.extend(["--until-epoch".into(), epoch.to_string().into()]);
        }
        let on_line = &mut |line: &str| {
            let Ok(figures) = serde_json::from_str::<Value>(line) else { return };
            if figures["event"] == "epoch" {
                tell(LegEvent::Epoch { training, figures });
            }
        };
        self.process(launch, args, stopper, on_line)
    }

    fn evaluate(
        &self,
        folder: &Path,
        args: &[String],
        launch: &Launch,
        stopper: &Stopper,
    ) -> Result<std::result::Result<Value, Ended>> {
        let model = folder.join("model").into_os_string();
        let mut all =
            vec!["evaluate".into(), "--json".into(), "--tied-to-stdin".into(), "--model".into(), model];
        all.extend(args.iter().map(Into::into));
        let mut text = String::new();
        let ended = self.process(launch, all, stopper, &mut |line| {
            text += line;
            text.push('\n');
        })?;
        Ok(ended.and_then(|()| {
            let refuse = |error| Ended::Failed(format!("evaluate printed no JSON document: {error}"));
            serde_json::from_str(&text).map_err(refuse)
        }))
    }

    /// Runs a process to its end; the inner error says how it failed.
    fn process(
        &self,
        launch: &Launch,
        args: Vec<std::ffi::OsString>,
        stopper: &Stopper,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<std::result::Result<(), Ended>> {
        let log_path = self.folder.join("log");
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(Error::io("create", &log_path))?;
        let log_start = log.metadata().map_err(Error::io("read", &log_path))?.len();
        let mut words = launch.launcher.iter().map(std::ffi::OsString::from);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&launch.program);
                command
            }
            None => Command::new(&launch.program),
        };
        command.args(args).args(["--device", launch.device.name()]);
        command.env("RAYON_NUM_THREADS", launch.num_threads.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        // Ctrl-C is for the sweep, which tells its trials.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(Error::io("start", &launch.program))?;
        let stdout = child.stdout.take();
        *stopper.lock() = Some(child);
        if stopper.is_asked() {
            stopper.ask(); // it came before there was a process
        }
        for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
            match line {
                Ok(line) => on_line(&line),
                Err(_) => break, // the process's end says more
            }
        }
        let status = wait(stopper).map_err(Error::io("wait for", &launch.program))?;
        let last_word = || last_word(&log_path, log_start).unwrap_or_else(|| status.to_string());
        match status.code() {
            Some(0) => Ok(Ok(())),
            // Input and output: the next trial would meet the same.
            Some(4) => Err(Error::io("work in", &self.folder)(io::Error::other(last_word()))),
            Some(130 | 143) => Ok(Err(Ended::Terminated)),
            _ => Ok(Err(Ended::Failed(last_word()))),
        }
    }
}

/// Waits for the process without keeping others from stopping it.
fn wait(stopper: &Stopper) -> io::Result<std::process::ExitStatus> {
    loop {
        if let Some(child) = stopper.lock().as_mut()
            && let Some(status) = child.try_wait()?
        {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A process of a sweep that was killed ends with its stdin, but not at once.
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

/// The last error in a log past `start`, without what it says to do.
fn last_word(log: &Path, start: u64) -> Option<String> {
    let bytes = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(start).ok()?..)?).into_owned();
    let error = text.lines().rev().find_map(|line| line.strip_prefix("error: ").map(str::to_string));
    let panic = || text.lines().find(|line| line.contains("panicked at")).map(str::to_string);
    let last = || text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_string);
    error.or_else(panic).or_else(last)
}

/// The figures of a run's epochs, in their order.
fn epochs_of(folder: &Path) -> Result<Vec<Value>> {
    let path = folder.join("metrics.jsonl");
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let values = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(values.filter(|value| value["event"] == "epoch").collect())
}

/// The figures of a run that came to its end.
fn figures_of(folder: &Path, epochs: &[Value]) -> Result<Value> {
    let model = folder.join("model");
    let sum = |name: &str| epochs.iter().filter_map(|epoch| epoch[name].as_f64()).sum::<f64>();
    // Positives of an epoch are its speed times its seconds.
    let positives =
        |epoch: &Value| Some(epoch["positives_per_second"].as_f64()? * epoch["seconds"].as_f64()?);
    let num_positives: f64 = epochs.iter().filter_map(positives).sum();
    let seconds = sum("seconds");
    let mut figures = Map::new();
    for name in ["discriminator_auc", "loss", "accuracy"] {
        figures.insert(name.into(), epochs.last().map_or(Value::Null, |epoch| epoch[name].clone()));
    }
    figures.insert("positives_per_second".into(), json!(num_positives / seconds.max(1e-9)));
    figures.insert("seconds".into(), json!(seconds));
    figures.insert("num_epochs".into(), json!(epochs.len()));
    figures.insert("model_bytes".into(), json!(model_folder::num_tensor_bytes(&model)?));
    Ok(Value::Object(figures))
}
