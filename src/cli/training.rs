//! What the verbs that train share: reading, signals, reports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::ProgressBar;
use ipsight::config::{Config, GeneratedConfig};
use ipsight::data::{EventLimits, Events, Format, ReadOptions, csv_escape_of, load_events};
use ipsight::device::{ComputeDevice, MemoryPlan};
use ipsight::model_folder::{TrainedModel, TrainingSummary};
use ipsight::synth::{AddressRanges, GenerateOptions, GeneratedLogins, Ipv6Shares, generate};
use ipsight::train::{
    CheckpointFolder, EpochMetrics, FamilyAucs, FolderLock, InitialModel, Resume, RunData, RunDetector,
    RunFolder, RunIdentity, RunMemory, TrainEvent, TrainInputs, Trained, checkpoint, few_steps_warning,
    learning_warnings, resolve_sizes,
};
use ipsight::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::output;
use super::read_args::{inputs_of, talk_about, talk_about_limits};

/// How a training is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Log<'a> {
    /// Epochs on stderr.
    People,
    /// That, and one JSON object a line on stdout.
    Json,
    /// That, and on stdout the metric lines that Amazon SageMaker reads.
    Sagemaker {
        /// The machine's name.
        host: &'a str,
    },
}

/// A training that is about to begin.
pub struct Training<'a> {
    pub config: &'a Config,
    pub events: &'a Events,
    pub validation: Option<&'a Events>,
    pub device: &'a ComputeDevice,
    /// Where its records go, which this process holds.
    pub folder: &'a Path,
    pub lock: FolderLock,
    pub checkpoints: &'a Path,
    /// As [`TrainInputs::init_from`].
    pub init_from: Option<&'a InitialModel>,
    pub resume: Resume,
    /// As [`TrainInputs::until_epoch`].
    pub until_epoch: Option<u32>,
    pub stop: Stop,
    pub log: Log<'a>,
}

impl Training<'_> {
    /// Trains, from a checkpoint or from the beginning, until the end or a signal.
    pub fn run(self) -> Result<Trained> {
        let Self { config, events, validation, device, folder, lock, checkpoints, .. } = self;
        let Self { init_from, resume, until_epoch, stop, log, .. } = self;
        let data = events.digest();
        let run = RunIdentity { config, data: &data, init_from: init_from.map(InitialModel::init_from) };
        let from = checkpoint::find(checkpoints, resume, &run, &mut |path, error| {
            talk!("{} is damaged and left out: {error}", path.display());
        })?;
        match &from {
            Some(from) => {
                let (path, at) = (from.path().display(), from.manifest());
                let (epoch, step) = (at.epoch + 1, at.num_steps_of_epoch);
                match at.epoch as usize >= config.hyperparameters.epochs {
                    true => talk!("going on from {path}: all epochs are done"),
                    false => talk!("going on from {path}: epoch {epoch}, after {step} of its steps"),
                }
            }
            None if resume == Resume::Auto && folder.join("metrics.jsonl").exists() => {
                talk!("there is no good checkpoint in {}: the run begins anew", checkpoints.display());
            }
            None => {}
        }
        if let (None, Some(initial)) = (&from, init_from) {
            talk!("beginning from {initial}");
        }
        let folder = RunFolder::create(lock, folder, config, from.as_ref())?;
        stop.gently();
        let inputs = TrainInputs {
            config,
            events,
            validation,
            device,
            stop: &|| stop.signal(),
            checkpoints: Some(CheckpointFolder { path: checkpoints, data: &data }),
            init_from,
            from: from.as_ref(),
            until_epoch,
        };
        let mut reporter = Reporter::new(log, folder, config, events.len());
        let trained = ipsight::train(&inputs, &mut |event| reporter.on_event(event))?;
        reporter.bar.finish_and_clear();
        events.check_unchanged()?;
        for warning in learning_warnings(config, &trained.epochs) {
            talk!("warning: {warning}");
        }
        match trained.stopped_by {
            Some(signal) if trained.num_steps == 0 => Err(Error::Stopped { signal, saved: None }),
            _ => Ok(trained),
        }
    }
}

/// What the model's manifest says of a training.
pub fn summary(trained: &Trained, config: &Config, num_events: usize) -> TrainingSummary {
    let last = trained.epochs.last();
    TrainingSummary {
        num_events: num_events as u64,
        num_entity_rows_seen: trained.row_counts.iter().filter(|count| **count > 0).count() as u64,
        num_epochs: trained.epochs.len(),
        num_steps: trained.num_steps,
        completed: trained.stopped_by.is_none(),
        loss: last.map(|metrics| metrics.loss),
        accuracy: last.map(|metrics| metrics.accuracy),
        discriminator_auc: last.and_then(|metrics| metrics.discriminator_auc),
        discriminator_auc_ipv4: last.and_then(|metrics| metrics.auc_by_family.ipv4),
        discriminator_auc_ipv6: last.and_then(|metrics| metrics.auc_by_family.ipv6),
        warnings: learning_warnings(config, &trained.epochs),
        init_from: trained.init_from.clone(),
    }
}

/// What of a training goes into the model folder.
pub fn trained_model<'a>(trained: &'a Trained, detector: Option<&'a RunDetector>) -> TrainedModel<'a> {
    let Trained { model, row_counts, entity_filter, .. } = trained;
    let detector = detector.map(|detector| &detector.fitted);
    TrainedModel { model, row_counts, entity_filter, detector }
}

/// What is left to say once the model is saved: that its last checkpoint is not, or that a signal stopped it.
pub fn end(trained: Trained, model: &Path) -> Result<()> {
    if let Some(error) = trained.checkpoint_error {
        talk!("the model is in {}, but its last checkpoint could not be written", model.display());
        return Err(error);
    }
    match trained.stopped_by {
        Some(signal) => Err(Error::Stopped { signal, saved: Some(model.to_path_buf()) }),
        None => Ok(()),
    }
}

/// Formats of the inputs; none: the content decides.
#[derive(Clone, Copy, Default)]
pub struct Formats {
    pub train: Option<Format>,
    pub validation: Option<Format>,
}

/// The inputs of a training.
pub struct InputPaths {
    pub train: Vec<PathBuf>,
    pub validation: Vec<PathBuf>,
}

impl InputPaths {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let paths = |names: &[String]| names.iter().map(PathBuf::from).collect();
        Self { train: paths(&config.data.train), validation: paths(&config.data.validation) }
    }

    /// Those that flags name, which the configuration then names, too, and otherwise those of the configuration. A
    /// configuration is text: of a path that is not UTF-8 it has the nearest one that is.
    pub fn lay_over(config: &mut Config, train: &[PathBuf], validation: &[PathBuf]) -> Self {
        let names =
            |paths: &[PathBuf]| paths.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        if !train.is_empty() {
            config.data.train = names(train);
            config.data.generated = None;
        }
        if !validation.is_empty() {
            config.data.validation = names(validation);
        }
        let of_config = Self::of(config);
        let chosen = |flags: &[PathBuf], others| if flags.is_empty() { others } else { flags.to_vec() };
        Self { train: chosen(train, of_config.train), validation: chosen(validation, of_config.validation) }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PathBuf> {
        self.train.iter().chain(&self.validation)
    }
}

pub fn nothing_to_train_on() -> Error {
    Error::config(
        "data.train",
        "there is nothing to train on",
        "give --train PATH, data.train in the configuration, or a [data.generated] table",
    )
}

fn escape_of(text: &str) -> Result<u8> {
    csv_escape_of(text).ok_or_else(|| {
        let help = "give one ASCII character that is no quote, comma or line end, such as a backslash";
        Error::config("data.csv_escape", format!("{text:?} cannot be an escape"), help)
    })
}

/// How the configuration has events read.
pub fn read_options(config: &Config) -> Result<ReadOptions> {
    Ok(ReadOptions {
        entity_column: config.data.entity_column.clone(),
        ip_column: config.data.ip_column.clone(),
        time_column: config.data.time_column.clone(),
        keep_nobody: config.data.keep_nobody,
        csv_escape: config.data.csv_escape.as_deref().map(escape_of).transpose()?,
        addresses: config.model.addresses,
        on_bad_row: config.data.on_bad_row.parse()?,
        max_bad_fraction: config.data.max_bad_fraction,
        ..ReadOptions::default()
    })
}

/// The training and validation events: read from files, or generated in memory. Limits are for those of training.
pub fn load(config: &Config, inputs: &InputPaths, formats: Formats) -> Result<(Events, Option<Events>)> {
    let options = read_options(config)?;
    let read = |paths: &[PathBuf], what: &str, format| -> Result<Events> {
        let mut options = ReadOptions { format, ..options.clone() };
        if what == "validation" {
            options.on_bad_row = options.on_bad_row.of_part(what);
        }
        let (events, report) = load_events(&inputs_of(paths)?, &options)?;
        talk_about(&report);
        talk!("{what}: {} events", output::count(events.len() as u64));
        Ok(events)
    };
    let (train, generated_validation) = match &config.data.generated {
        None => (read(&inputs.train, "training", formats.train)?, None),
        Some(generated) => generate_events(generated),
    };
    let (per_entity, per_ip) = (config.data.max_events_per_entity, config.data.max_events_per_ip);
    let (train, left_out) = EventLimits { per_entity, per_ip }.apply(train, config.training.seed);
    talk_about_limits(&left_out);
    let validation = match inputs.validation.as_slice() {
        [] => generated_validation.filter(|events| !events.is_empty()),
        paths => Some(read(paths, "validation", formats.validation)?),
    };
    Ok((train, validation))
}

/// Sets the sizes that the events decide, checks the memory, and reports both.
pub fn fit_sizes(
    config: &mut Config,
    (events, validation): (&Events, Option<&Events>),
    init_from: Option<&InitialModel>,
    device: &ComputeDevice,
) -> Result<()> {
    let auto = config.auto_sizes;
    resolve_sizes(config, events, init_from);
    let h = &config.hyperparameters;
    if auto.num_entity_vectors {
        talk!("num_entity_vectors: {}", output::count(h.num_entity_vectors as u64));
    }
    if auto.mini_batch_size {
        talk!("mini_batch_size: {}", output::count(h.mini_batch_size as u64));
    }
    if let Some(warning) = few_steps_warning(config, events) {
        talk!("warning: {warning}");
    }
    if auto.any() {
        config.validate("automatic sizes")?;
    }
    let data = RunData::of(config, events, validation, init_from);
    talk!("memory: {}", RunMemory::plan(config, &device.limits, &data)?);
    Ok(())
}

/// Refuses a model whose sizes are given and that does not fit, before anything is read; those that events decide are checked
/// once these are read, and so is all that a run takes beside its model.
pub fn check_memory(config: &Config, device: &ComputeDevice) -> Result<()> {
    match config.auto_sizes.any() {
        true => Ok(()),
        false => MemoryPlan::for_training(config, &device.limits).map(drop),
    }
}

/// Generated logins for training and for validation.
pub fn generate_events(generated: &GeneratedConfig) -> (Events, Option<Events>) {
    let &GeneratedConfig { users: num_users, days: num_days, seed } = generated;
    let options = GenerateOptions { num_users, num_days, seed, ipv6: Ipv6Shares::default() };
    let logins = generate(&AddressRanges::built_in(), &options);
    let [train, validation] = [&logins.train, &logins.validation].map(|logins| {
        let (entities, addresses, times) = GeneratedLogins::columns(logins);
        Events::with_times(entities, addresses, times)
    });
    talk!("generated {} logins of {num_users} users", output::count(train.len() as u64));
    (train, Some(validation))
}

/// Ends this process when its parent closes stdin or ends.
pub fn end_with_stdin() -> Result<()> {
    let wait = || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // As by SIGTERM, but without a model that nobody waits for; checkpoints are whole or not there.
        std::process::exit(143);
    };
    const NAME: &str = "stdin";
    let thread = std::thread::Builder::new().name(NAME.into()).spawn(wait);
    thread.map(drop).map_err(Error::thread(NAME))
}

/// Refuses to read events from a stdin that says when to end.
pub fn check_stdin<'a>(is_tied: bool, mut inputs: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    if is_tied && inputs.any(|path| path == Path::new("-")) {
        return Err(Error::config("--tied-to-stdin", "stdin is an input already", "read events from files"));
    }
    Ok(())
}

/// Signals that ask a run to stop. Until it begins to train they end it at once, which they would not do of
/// themselves in a container, where it is the first process. Then the first one has it stop after its step, and a second
/// one ends it at once.
pub struct Stop {
    signal: Arc<AtomicUsize>,
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// Takes the signals.
    pub fn on_signals() -> Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let at_once = Arc::new(AtomicBool::new(true));
        for number in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, at_once.clone())
                .and_then(|_| signal_hook::flag::register(number, at_once.clone()))
                .and_then(|_| signal_hook::flag::register_usize(number, signal.clone(), number as usize))
                .map_err(Error::process("handle signals"))?;
        }
        Ok(Self { signal, at_once })
    }

    /// From now on the first signal waits.
    pub fn gently(&self) {
        self.at_once.store(false, Ordering::Relaxed);
    }

    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as i32),
        }
    }
}

/// Shows training to people or machines and keeps its records.
struct Reporter<'a> {
    log: Log<'a>,
    folder: RunFolder,
    bar: ProgressBar,
    num_events: usize,
    mini_batch_size: usize,
    num_epochs: usize,
}

impl<'a> Reporter<'a> {
    fn new(log: Log<'a>, folder: RunFolder, config: &Config, num_events: usize) -> Self {
        let h = &config.hyperparameters;
        let bar = ProgressBar::hidden();
        Self { log, folder, bar, num_events, mini_batch_size: h.mini_batch_size, num_epochs: h.epochs }
    }

    fn on_event(&mut self, event: &TrainEvent) -> Result<()> {
        self.folder.record(event)?;
        match event {
            TrainEvent::Started { epoch, num_steps_of_epoch, .. } => {
                self.start_bar(*epoch, num_steps_of_epoch * self.mini_batch_size);
            }
            TrainEvent::Checkpoint { .. } => {}
            TrainEvent::Step { num_positives } => self.bar.inc(*num_positives as u64),
            TrainEvent::Batch { loss, .. } => self.bar.set_message(format!("loss {loss:.4}")),
            TrainEvent::Epoch(metrics) => self.epoch(metrics),
        }
        match (self.log, event) {
            (Log::Json, TrainEvent::Epoch(_)) => {
                output::even_unread(output::line(event.to_json().expect("an epoch has figures")))
            }
            (Log::Sagemaker { host }, _) => {
                output::even_unread(SagemakerLog { host, num_epochs: self.num_epochs }.log(event))
            }
            _ => Ok(()),
        }
    }

    fn start_bar(&mut self, epoch: u32, num_done: usize) {
        const TEMPLATE: &str = "{prefix} {wide_bar} {pos}/{len}  {msg}  {speed} positives/s  {eta} left";
        self.bar = output::bar(self.num_events as u64, TEMPLATE);
        self.bar.set_prefix(format!("epoch {}/{}", epoch + 1, self.num_epochs));
        self.bar.set_position(num_done as u64);
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        let mut auc =
            metrics.discriminator_auc.map_or(String::new(), |auc| format!("  discriminator_auc {auc:.6}"));
        let FamilyAucs { ipv4, ipv6 } = metrics.auc_by_family;
        if let (Some(ipv4), Some(ipv6)) = (ipv4, ipv6) {
            auc += &format!(" (IPv4 {ipv4:.6}, IPv6 {ipv6:.6})");
        }
        let line = format!(
            "epoch {}/{}  loss {:.6}  accuracy {:.6}{auc}  {} positives/s  {:.1} s",
            metrics.epoch + 1,
            self.num_epochs,
            metrics.loss,
            metrics.accuracy,
            output::count(metrics.positives_per_second as u64),
            metrics.seconds,
        );
        self.bar.suspend(|| talk!("{line}"));
        if metrics.epoch as usize + 1 < self.num_epochs {
            self.bar.reset();
            self.bar.set_prefix(format!("epoch {}/{}", metrics.epoch + 2, self.num_epochs));
        }
    }
}

/// The metric lines that Amazon SageMaker reads from a training job's log.
struct SagemakerLog<'a> {
    host: &'a str,
    num_epochs: usize,
}

impl SagemakerLog<'_> {
    fn log(&self, event: &TrainEvent) -> Result<()> {
        let host = format!("host={}", self.host);
        const ACCURACY: &str = "train binary_classification_accuracy <score>";
        const CROSS_ENTROPY: &str = "train binary_classification_cross_entropy <loss>";
        match event {
            TrainEvent::Batch { epoch, step, loss, accuracy } => {
                let at = format!("#quality_metric: {host}, epoch={epoch}, batch={step}");
                output::line(format!("{at} {ACCURACY}={accuracy}"))?;
                output::line(format!("{at} {CROSS_ENTROPY}={loss}"))
            }
            TrainEvent::Epoch(metrics) => {
                let at = format!("#quality_metric: {host}, epoch={},", metrics.epoch);
                output::line(format!("{at} {ACCURACY}={}", metrics.accuracy))?;
                output::line(format!("{at} {CROSS_ENTROPY}={}", metrics.loss))?;
                if let Some(auc) = metrics.discriminator_auc {
                    output::line(format!("{at} validation discriminator_auc <score>={auc}"))?;
                }
                let completed = 100.0 * (metrics.epoch + 1) as f64 / self.num_epochs as f64;
                output::line(format!("#progress_metric: {host}, completed {completed} %"))?;
                let throughput = metrics.positives_per_second;
                output::line(format!(
                    "#throughput_metric: {host}, train throughput={throughput} records/second"
                ))
            }
            TrainEvent::Started { .. } | TrainEvent::Step { .. } | TrainEvent::Checkpoint { .. } => Ok(()),
        }
    }
}
