use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use ipsight::artifact::{self, TrainingSummary};
use ipsight::config::{Config, GeneratedConfig};
use ipsight::data::{Events, ReadOptions, load_events, resolve_inputs};
use ipsight::device::MemoryPlan;
use ipsight::synth::{AddressRanges, GenerateOptions, GeneratedLogins, generate};
use ipsight::train::{EpochMetrics, RunFolder, TrainEvent, TrainInputs, Trained};
use ipsight::{Error, Result, device};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::read_args::{ReadArgs, talk_about};
use super::{DeviceArg, output};

#[derive(Args)]
pub struct TrainArgs {
    /// TOML file; `ipsight config show` prints one with every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Events to train on: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1..)]
    train: Vec<String>,
    /// Events to validate on after each epoch
    #[arg(long, value_name = "PATH", num_args = 1..)]
    validation: Vec<String>,
    /// Run folder: config.toml, metrics.jsonl, tensorboard/ and model/ [default: runs/NAME-1, -2, …]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace the run that the output folder holds
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Set a configuration key; may be given several times
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object a line on stdout
    #[arg(long)]
    json: bool,
    /// How to log: for people, or the metric lines of Amazon SageMaker on stdout
    #[arg(long, value_name = "FORMAT", default_value = "people", conflicts_with = "json")]
    log_format: LogFormat,
    #[command(flatten)]
    read: ReadArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    People,
    Sagemaker,
}

pub fn run(args: TrainArgs) -> Result<()> {
    let config = resolve_config(&args)?;
    let device = device::choose(config.training.device)?;
    talk!("device: {}", device.description);
    // What cannot work is refused before anything is read or written.
    talk!("memory: {}", MemoryPlan::for_training(&config, &device.limits)?);
    let output = args.output.clone().unwrap_or_else(|| next_run_folder(args.config.as_deref()));
    RunFolder::check(&output, args.overwrite)?;
    let (events, validation) = load(&config, &args.read)?;
    let folder = RunFolder::create(&output, &config, args.overwrite)?;
    let stop = Stop::on_signals()?;
    let inputs = TrainInputs {
        config: &config,
        events: &events,
        validation: validation.as_ref(),
        device: &device,
        stop: &|| stop.signal(),
    };
    let mut reporter = Reporter::new(&args, folder, &config, events.len());
    let trained = ipsight::train(&inputs, &mut |event| reporter.on_event(event))?;
    reporter.finish(&trained, &config, events.len())
}

/// The configuration file with the flags laid over it.
fn resolve_config(args: &TrainArgs) -> Result<Config> {
    let mut config = Config::load(args.config.as_deref(), &args.set)?;
    if !args.train.is_empty() {
        config.data.train = args.train.clone();
        config.data.generated = None;
    }
    if !args.validation.is_empty() {
        config.data.validation = args.validation.clone();
    }
    if let Some(device) = args.device.device {
        config.training.device = device;
    }
    let data = &mut config.data;
    let flags = &args.read;
    data.entity_column = flags.entity_column.clone().or(data.entity_column.take());
    data.ip_column = flags.ip_column.clone().or(data.ip_column.take());
    if let Some(policy) = &flags.on_bad_row {
        data.on_bad_row = policy.clone();
    }
    if let Some(fraction) = flags.max_bad_fraction {
        data.max_bad_fraction = fraction;
    }
    config.validate("command line")?;
    if config.data.train.is_empty() && config.data.generated.is_none() {
        return Err(Error::config(
            "data.train",
            "there is nothing to train on",
            "give --train PATH, data.train in the configuration, or a [data.generated] table",
        ));
    }
    Ok(config)
}

/// The training and validation events: read from files, or generated in memory.
fn load(config: &Config, flags: &ReadArgs) -> Result<(Events, Option<Events>)> {
    let options = ReadOptions {
        format: flags.input_format,
        entity_column: config.data.entity_column.clone(),
        ip_column: config.data.ip_column.clone(),
        on_bad_row: config.data.on_bad_row.parse()?,
        max_bad_fraction: config.data.max_bad_fraction,
        ..ReadOptions::default()
    };
    let read = |paths: &[String], what: &str| -> Result<Events> {
        let mut options = options.clone();
        if what == "validation" {
            options.on_bad_row = options.on_bad_row.of_part(what);
        }
        let (events, report) = load_events(&resolve_inputs(paths)?, &options)?;
        talk_about(&report);
        talk!("{what}: {} events", output::count(events.len() as u64));
        Ok(events)
    };
    let (train, generated_validation) = match &config.data.generated {
        None => (read(&config.data.train, "training")?, None),
        Some(generated) => generate_events(generated),
    };
    let validation = match config.data.validation.as_slice() {
        [] => generated_validation.filter(|events| !events.is_empty()),
        paths => Some(read(paths, "validation")?),
    };
    Ok((train, validation))
}

/// Generated logins for training and for validation.
fn generate_events(generated: &GeneratedConfig) -> (Events, Option<Events>) {
    let &GeneratedConfig { users: num_users, days: num_days, seed } = generated;
    let logins = generate(&AddressRanges::built_in(), &GenerateOptions { num_users, num_days, seed });
    let [train, validation] = [&logins.train, &logins.validation].map(|logins| {
        let (entities, ips) = GeneratedLogins::columns(logins);
        Events::from_columns(entities, ips)
    });
    talk!("generated {} logins of {num_users} users", output::count(train.len() as u64));
    (train, Some(validation))
}

/// The first of runs/NAME-1, runs/NAME-2, … that is not there; NAME is the configuration's.
fn next_run_folder(config: Option<&Path>) -> PathBuf {
    let name = config.and_then(Path::file_stem).map_or("run".into(), |stem| stem.to_string_lossy());
    (1..)
        .map(|number| PathBuf::from(format!("runs/{name}-{number}")))
        .find(|path| !path.exists())
        .expect("some number is free")
}

/// Signals that ask a run to stop after its step; a second one ends it at once.
pub(super) struct Stop {
    signal: Arc<AtomicUsize>,
}

impl Stop {
    pub(super) fn on_signals() -> Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(number, 128 + number, asked.clone())
                .and_then(|_| signal_hook::flag::register(number, asked.clone()))
                .and_then(|_| signal_hook::flag::register_usize(number, signal.clone(), number as usize))
                .map_err(Error::io("handle signals of", "this process"))?;
        }
        Ok(Self { signal })
    }

    pub(super) fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as i32),
        }
    }
}

/// Shows training to people or machines and keeps its records.
struct Reporter<'a> {
    args: &'a TrainArgs,
    folder: RunFolder,
    bar: ProgressBar,
    num_events: usize,
    num_epochs: usize,
    sagemaker: SagemakerLog,
}

impl<'a> Reporter<'a> {
    fn new(args: &'a TrainArgs, folder: RunFolder, config: &Config, num_events: usize) -> Self {
        let num_epochs = config.hyperparameters.epochs;
        let sagemaker = SagemakerLog { num_epochs };
        Self { args, folder, bar: ProgressBar::hidden(), num_events, num_epochs, sagemaker }
    }

    fn on_event(&mut self, event: &TrainEvent) -> Result<()> {
        self.folder.record(event)?;
        match event {
            TrainEvent::Started { .. } => self.start_bar(),
            TrainEvent::Step { num_positives } => self.bar.inc(*num_positives as u64),
            TrainEvent::Batch { loss, .. } => self.bar.set_message(format!("loss {loss:.4}")),
            TrainEvent::Epoch(metrics) => self.epoch(metrics),
        }
        if self.args.json && matches!(event, TrainEvent::Epoch(_)) {
            output::even_unread(output::line(event.to_json().expect("an epoch has figures")))?;
        }
        if self.args.log_format == LogFormat::Sagemaker {
            output::even_unread(self.sagemaker.log(event))?;
        }
        Ok(())
    }

    fn start_bar(&mut self) {
        const TEMPLATE: &str = "{prefix} {wide_bar} {pos}/{len}  {msg}  {speed} positives/s  {eta} left";
        self.bar = output::bar(self.num_events as u64, TEMPLATE);
        self.bar.set_prefix(format!("epoch 1/{}", self.num_epochs));
    }

    fn epoch(&mut self, metrics: &EpochMetrics) {
        let auc =
            metrics.discriminator_auc.map_or(String::new(), |auc| format!("  discriminator_auc {auc:.6}"));
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

    /// Writes the model and says what came out.
    fn finish(self, trained: &Trained, config: &Config, num_events: usize) -> Result<()> {
        self.bar.finish_and_clear();
        if let (Some(signal), 0) = (trained.stopped_by, trained.num_steps) {
            return Err(Error::Stopped { signal, saved: None });
        }
        let last = trained.epochs.last();
        let summary = TrainingSummary {
            num_events: num_events as u64,
            num_entity_rows_seen: trained.row_counts.iter().filter(|count| **count > 0).count() as u64,
            num_epochs: trained.epochs.len(),
            num_steps: trained.num_steps,
            completed: trained.stopped_by.is_none(),
            loss: last.map(|metrics| metrics.loss),
            accuracy: last.map(|metrics| metrics.accuracy),
            discriminator_auc: last.and_then(|metrics| metrics.discriminator_auc),
        };
        let path = self.folder.model_path();
        artifact::save(&path, &trained.model, &trained.row_counts, config, summary.clone())?;
        if let Some(signal) = trained.stopped_by {
            return Err(Error::Stopped { signal, saved: Some(path) });
        }
        if self.args.json {
            return output::line(serde_json::json!({
                "event": "done",
                "model": path.to_string_lossy(),
                "num_events": summary.num_events,
                "num_epochs": summary.num_epochs,
                "loss": summary.loss,
                "accuracy": summary.accuracy,
                "discriminator_auc": summary.discriminator_auc,
            }));
        }
        if self.args.log_format == LogFormat::People {
            if let Some(auc) = summary.discriminator_auc {
                output::line(format!("discriminator_auc: {auc:.6}"))?;
            }
            output::line(format!("model: {}", path.display()))?;
            let program = std::env::args().next().unwrap_or_else(|| "ipsight".into());
            output::line(format!(
                "next: printf 'user_1,203.0.113.7\\n' | {program} score --model {} --input -",
                path.display()
            ))?;
        }
        Ok(())
    }
}

/// The metric lines that Amazon SageMaker reads from a training job's log.
struct SagemakerLog {
    num_epochs: usize,
}

impl SagemakerLog {
    fn log(&self, event: &TrainEvent) -> Result<()> {
        const HOST: &str = "host=algo-1";
        const ACCURACY: &str = "train binary_classification_accuracy <score>";
        const CROSS_ENTROPY: &str = "train binary_classification_cross_entropy <loss>";
        match event {
            TrainEvent::Batch { epoch, step, loss, accuracy } => {
                let at = format!("#quality_metric: {HOST}, epoch={epoch}, batch={step}");
                output::line(format!("{at} {ACCURACY}={accuracy}"))?;
                output::line(format!("{at} {CROSS_ENTROPY}={loss}"))
            }
            TrainEvent::Epoch(metrics) => {
                let at = format!("#quality_metric: {HOST}, epoch={},", metrics.epoch);
                output::line(format!("{at} {ACCURACY}={}", metrics.accuracy))?;
                output::line(format!("{at} {CROSS_ENTROPY}={}", metrics.loss))?;
                if let Some(auc) = metrics.discriminator_auc {
                    output::line(format!("{at} validation discriminator_auc <score>={auc}"))?;
                }
                let completed = 100.0 * (metrics.epoch + 1) as f64 / self.num_epochs as f64;
                output::line(format!("#progress_metric: {HOST}, completed {completed} %"))?;
                let throughput = metrics.positives_per_second;
                output::line(format!(
                    "#throughput_metric: {HOST}, train throughput={throughput} records/second"
                ))
            }
            TrainEvent::Started { .. } | TrainEvent::Step { .. } => Ok(()),
        }
    }
}
