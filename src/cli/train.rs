use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use ipsight::config::{Config, DetectorKind};
use ipsight::model_folder;
use ipsight::networks::Networks;
use ipsight::train::{
    FolderLock, InitialModel, Resume, RunDetector, RunFolder, Trained, check_history, fit_detector,
};
use ipsight::{Error, Result, device};

use super::common_args::{DeviceArg, parse_choice};
use super::networks::networks_text;
use super::output;
use super::read_args::{LimitArgs, ReadArgs};
use super::shell;
use super::training::{
    Formats, InputPaths, Log, Stop, Training, check_memory, check_stdin, end, end_with_stdin, fit_sizes,
    load, nothing_to_train_on, summary, trained_model,
};

#[derive(Args)]
pub struct TrainArgs {
    /// TOML file; `ipsight config show` prints one with every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Events to train on: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1..)]
    train: Vec<PathBuf>,
    /// Events to validate on after each epoch
    #[arg(long, value_name = "PATH", num_args = 1..)]
    validation: Vec<PathBuf>,
    /// Begin from the weights of a model instead of random ones: a model folder, a run folder (its model), or the
    /// folder of a checkpoint, from which the moments of the optimiser come along. The shape must be the same. The events
    /// are added to a model's history; a checkpoint has none
    #[arg(long, value_name = "DIR")]
    init_from: Option<PathBuf>,
    /// Whose network an address is in: a MaxMind DB with AS numbers or countries (.mmdb), or a TSV as iptoasn.com has it, of
    /// both families. The model keeps what it needs of it. With --init-from the model's table stays where none is given
    #[arg(long, value_name = "FILE")]
    networks: Option<PathBuf>,
    /// Run folder: config.toml, metrics.jsonl, tensorboard/, checkpoints/ and model/ [default: runs/NAME-1, -2, …]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace the run that the output folder holds, and its checkpoints
    #[arg(long)]
    overwrite: bool,
    /// Whether to go on from the last good checkpoint of a run in the output folder that was cut off: auto does if
    /// there is one, must fails if there is none, and goes on with a run that came to its end, too [auto, never, must]
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    #[arg(value_parser = parse_choice::<Resume>)]
    resume: Resume,
    /// Pause after this many epochs of the run, those of earlier commands included: a checkpoint is written and no
    /// model, and the same command with a later epoch, or none, goes on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    until_epoch: Option<u32>,
    /// End at once when stdin is closed: for programs that run trainings and may die
    #[arg(long)]
    tied_to_stdin: bool,
    #[command(flatten)]
    device: DeviceArg,
    /// Set a configuration key; may be given several times
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// One JSON object a line on stdout
    #[arg(long)]
    json: bool,
    /// Column of the time of an event, Unix seconds or RFC 3339, likewise
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub fn run(args: TrainArgs) -> Result<()> {
    if args.overwrite && args.resume == Resume::Must {
        return Err(Error::config("--overwrite", "it excludes --resume must", "leave out one of them"));
    }
    let stop = Stop::on_signals()?;
    if args.tied_to_stdin {
        end_with_stdin()?;
    }
    let (mut config, inputs) = resolve_config(&args)?;
    let device = device::choose(config.training.device)?;
    talk!("device: {}", device.description);
    // What cannot work is refused before anything is read or written.
    check_memory(&config, &device)?;
    let init_from = open_initial(&args, &config)?;
    let networks = read_networks(&args, &config)?;
    let early_lock = match &args.output {
        Some(output) => {
            RunFolder::check(output, args.overwrite, args.resume)?;
            output.exists().then(|| FolderLock::take(output)).transpose()?
        }
        None => None,
    };
    let format = args.read.input_format;
    let (events, validation) = load(&config, &inputs, Formats { train: format, validation: format })?;
    check_history(&events, &config, init_from.as_ref())?;
    fit_sizes(&mut config, (&events, validation.as_ref()), init_from.as_ref(), &device)?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => create_next_run_folder(args.config.as_deref())?,
    };
    let lock = match early_lock {
        Some(lock) => lock,
        None => FolderLock::take(&output)?,
    };
    // Reading may have taken long.
    RunFolder::check(&output, args.overwrite, args.resume)?;
    let training = Training {
        config: &config,
        events: &events,
        validation: validation.as_ref(),
        device: &device,
        folder: &output,
        lock,
        checkpoints: &RunFolder::checkpoints_path(&output),
        init_from: init_from.as_ref(),
        resume: if args.overwrite { Resume::Never } else { args.resume },
        until_epoch: args.until_epoch,
        stop,
        log: if args.json { Log::Json } else { Log::People },
    };
    let trained = training.run()?;
    if trained.is_paused {
        // Without the checkpoint there is nothing to resume from, and a model of half the run is not wanted.
        return match trained.checkpoint_error {
            Some(error) => Err(error),
            None => pause(&args, trained.epochs.len(), config.hyperparameters.epochs),
        };
    }
    let num_events = events.len();
    drop(validation);
    let detector = fit_detector(events, &config, init_from.as_ref(), networks.as_ref(), &output)?;
    if let Some(RunDetector { num_overlapping: num @ 1.., .. }) = &detector {
        talk!(
            "warning: {} entities have events before the last ones of the history that the run began from; are some \
             events in both?",
            output::count(*num)
        );
    }
    finish(&args, &output, (trained, detector), &config, num_events)
}

/// The table of networks, where one is named.
fn read_networks(args: &TrainArgs, config: &Config) -> Result<Option<Networks>> {
    let Some(path) = &args.networks else { return Ok(None) };
    if config.model.detector != DetectorKind::History {
        return Err(Error::config(
            "--networks",
            "a model of the engine alone has no use for it",
            "leave it out, or set model.detector = \"history\"",
        ));
    }
    let networks = Networks::read(path)?;
    talk!("networks: {}", networks_text(&networks.summary()));
    Ok(Some(networks))
}

/// What the run begins from, which must not be what it replaces: it could not be resumed then.
fn open_initial(args: &TrainArgs, config: &Config) -> Result<Option<InitialModel>> {
    let Some(path) = &args.init_from else { return Ok(None) };
    let initial = InitialModel::open(path, config)?;
    let is_within = |folder: PathBuf| path.canonicalize().is_ok_and(|path| path.starts_with(folder));
    // A folder that is not named is new.
    if args.output.as_ref().is_some_and(|output| output.canonicalize().is_ok_and(is_within)) {
        return Err(Error::config(
            format!("--init-from {}", path.display()),
            "it lies in the folder of the run that would begin from it",
            "give another --output",
        ));
    }
    if config.model.detector == DetectorKind::History && initial.detector().is_none() {
        talk!("{initial} have no history: that of the new model will hold the events of this run alone");
    }
    Ok(Some(initial))
}

/// Says how the run is resumed.
fn pause(args: &TrainArgs, num_epochs: usize, of: usize) -> Result<()> {
    talk!("paused after epoch {num_epochs}/{of}: the same command with a later --until-epoch goes on");
    match args.json {
        true => output::line(serde_json::json!({ "event": "paused", "num_epochs": num_epochs })),
        false => Ok(()),
    }
}

/// The configuration file with the flags laid over it.
fn resolve_config(args: &TrainArgs) -> Result<(Config, InputPaths)> {
    let mut config = Config::load(args.config.as_deref(), &args.set)?;
    let inputs = InputPaths::lay_over(&mut config, &args.train, &args.validation);
    if let Some(device) = args.device.device {
        config.training.device = device;
    }
    let data = &mut config.data;
    let flags = &args.read;
    data.entity_column = flags.entity_column.clone().or(data.entity_column.take());
    data.ip_column = flags.ip_column.clone().or(data.ip_column.take());
    data.time_column = args.time_column.clone().or(data.time_column.take());
    data.keep_nobody |= flags.keep_nobody;
    data.csv_escape =
        flags.csv_escape.map(|escape| char::from(escape).to_string()).or(data.csv_escape.take());
    let limits = &args.limits;
    data.max_events_per_entity = limits.max_events_per_entity.or(data.max_events_per_entity);
    data.max_events_per_ip = limits.max_events_per_ip.or(data.max_events_per_ip);
    if let Some(policy) = &flags.on_bad_row {
        data.on_bad_row = policy.clone();
    }
    if let Some(fraction) = flags.max_bad_fraction {
        data.max_bad_fraction = fraction;
    }
    config.validate("command line")?;
    check_stdin(args.tied_to_stdin, inputs.iter())?;
    if args.until_epoch.is_some() && config.training.checkpoint_interval == "off" {
        let what = "training.checkpoint_interval is \"off\", so there would be nothing to go on from";
        return Err(Error::config("--until-epoch", what, "take \"1 epochs\""));
    }
    if config.data.train.is_empty() && config.data.generated.is_none() {
        return Err(nothing_to_train_on());
    }
    Ok((config, inputs))
}

/// Writes the model and says what came out.
fn finish(
    args: &TrainArgs,
    output: &Path,
    (trained, detector): (Trained, Option<RunDetector>),
    config: &Config,
    num_events: usize,
) -> Result<()> {
    let path = &output.join("model");
    let summary = summary(&trained, config, num_events);
    let last = trained.epochs.last();
    let by_family: Vec<_> = last.into_iter().flat_map(|metrics| metrics.auc_by_family.named()).collect();
    model_folder::save(path, &trained_model(&trained, detector.as_ref()), config, summary.clone())?;
    end(trained, path)?;
    if args.json {
        let mut json = serde_json::json!({
            "event": "done",
            "model": path.to_string_lossy(),
            "num_events": summary.num_events,
            "num_epochs": summary.num_epochs,
            "loss": summary.loss,
            "accuracy": summary.accuracy,
            "discriminator_auc": summary.discriminator_auc,
        });
        for (name, auc) in by_family {
            json[name] = auc.into();
        }
        return output::line(json);
    }
    let of_all = summary.discriminator_auc.map(|auc| ("discriminator_auc", auc));
    for (name, auc) in of_all.into_iter().chain(by_family) {
        output::line(format!("{name}: {auc:.6}"))?;
    }
    output::line(format!("model: {}", path.display()))?;
    output::line(format!(
        "next: printf 'user_1,203.0.113.7\\n' | {} score --model {} --input -",
        shell::program(),
        shell::quoted(path)
    ))
}

/// Makes the first of runs/NAME-1, runs/NAME-2, … that is not there; NAME is the configuration's. Of runs that begin at
/// the same time each makes its own.
fn create_next_run_folder(config: Option<&Path>) -> Result<PathBuf> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).map_err(Error::io("create", runs))?;
    let stem = config.and_then(Path::file_stem).unwrap_or(OsStr::new("run"));
    for number in 1_u64.. {
        let mut name = stem.to_os_string();
        name.push(format!("-{number}"));
        let folder = runs.join(name);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| folder.clone()).map_err(Error::io("create", &folder)),
        }
    }
    unreachable!("some number is free")
}
