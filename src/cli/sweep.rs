use std::path::{Path, PathBuf};

use clap::Args;
use ipsight::config::DeviceChoice;
use ipsight::data::{Events, OnBadRow, ReadOptions, read_rows, write_events, write_prepared};
use ipsight::device::{self, ComputeDevice};
use ipsight::sweep::{
    self, BEST, BEST_CONFIG, DATA, JOURNAL, Launch, Metric, PreparedData, REPORT, SweepEnd, SweepInputs,
    SweepPlan,
};
use ipsight::train::FolderLock;
use ipsight::{Error, Result};
use serde_json::json;

use super::common_args::DeviceArg;
use super::output;
use super::read_args::{inputs_of, talk_about};
use super::shell;
use super::sweep_preview;
use super::sweep_text::{self, Screen};
use super::training::{Formats, InputPaths, Stop, generate_events, load, nothing_to_train_on, read_options};

#[derive(Args)]
pub struct SweepArgs {
    /// The sweep's TOML file: what varies, what is looked for, and when it ends
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The sweep's folder: journal.log, trials.csv, report.html, best/ and best.toml
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Trials at a time, each a process; the cores are shared out among them, and memory may allow fewer
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: u16,
    /// Go on with the sweep that the folder holds
    #[arg(long)]
    resume: bool,
    /// Say what would be tried, its cost and memory, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Events to train on, in place of those of the base configuration
    #[arg(long, value_name = "PATH", num_args = 1..)]
    train: Vec<PathBuf>,
    /// Events to validate on, likewise
    #[arg(long, value_name = "PATH", num_args = 1..)]
    validation: Vec<PathBuf>,
    /// Set a key of the base configuration; may be given several times
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    device: DeviceArg,
    /// Memory of the GPU that the trials may take together, in GiB; without it one trial runs at a time there, because
    /// wgpu does not tell how much there is
    #[arg(long, value_name = "GIB", value_parser = parse_gib)]
    device_memory: Option<u64>,
    /// A command before that of each training, as in "srun -n1"; split at spaces
    #[arg(long, value_name = "COMMAND")]
    launcher: Option<String>,
    /// One JSON object a line on stdout
    #[arg(long)]
    json: bool,
}

fn parse_gib(text: &str) -> std::result::Result<u64, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib <= 1e6 => Ok((gib * f64::from(1u32 << 30)) as u64),
        _ => Err("a number above 0".into()),
    }
}

pub fn run(args: SweepArgs) -> Result<()> {
    let stop = Stop::on_signals()?;
    let (plan, paths) = plan(&args)?;
    let device = device::choose(plan.base.training.device)?;
    talk!("device: {}", device.description);
    let Some(folder) = args.output.as_deref().filter(|_| !args.dry_run) else {
        let (train, _) = load(&plan.base, &paths, Formats::default())?;
        return sweep_preview::show(&plan, &device, train.len(), args.json);
    };
    check_folder(folder, args.resume)?;
    let lock = FolderLock::take(folder)?;
    let (journal, study, data) = match sweep::go_on(folder, &plan)? {
        Some(begun) => begun,
        None => {
            let data = prepare(&plan, &paths, folder)?;
            // One that was cut off before it knew its data holds nothing else.
            let journal = folder.join(JOURNAL);
            if journal.exists() {
                std::fs::remove_file(&journal).map_err(Error::io("remove", &journal))?;
            }
            let (journal, study) = sweep::begin(folder, &plan, &data)?;
            (journal, study, data)
        }
    };
    // A tenth is for checkpoints and whatever else runs.
    let available = device.limits.available_bytes.map(|bytes| bytes / 10 * 9);
    let capacity = if device.is_cpu() { available } else { args.device_memory };
    let wanted = usize::from(args.jobs);
    let num_jobs = if device.is_cpu() || capacity.is_some() { wanted } else { 1 };
    let inputs = SweepInputs {
        plan: &plan,
        folder,
        data: &data,
        num_jobs,
        launch: launch(&args, num_jobs, &plan, &data, &device)?,
        limits: device.limits,
        capacity_bytes: capacity,
        stop: &|| stop.signal(),
    };
    if num_jobs < wanted {
        talk!("one trial at a time: give --device-memory for more on a GPU");
    }
    stop.gently();
    let mut screen = Screen::new(&plan, args.json, &study);
    let end = sweep::run(&inputs, journal, study, &mut |event, study| screen.on_event(event, study));
    screen.clear();
    let end = end?;
    sweep::write_files(folder, &plan, &end.study)?;
    drop(lock);
    finish(&args, folder, &plan, &end)
}

/// The file with the flags laid over it.
fn plan(args: &SweepArgs) -> Result<(SweepPlan, InputPaths)> {
    let mut plan = SweepPlan::load(&args.config, &args.set)?;
    let paths = InputPaths::lay_over(&mut plan.base, &args.train, &args.validation);
    if let Some(device) = args.device.device {
        plan.base.training.device = device;
    }
    let data = &plan.base.data;
    if data.max_events_per_entity.or(data.max_events_per_ip).is_some() {
        return Err(Error::config(
            args.config.display().to_string(),
            "data.max_events_per_entity and data.max_events_per_ip are not for a sweep, whose trials map one file",
            "apply them once: ipsight prepare --max-events-per-entity N --max-events-per-ip N, and sweep on its output",
        ));
    }
    if data.train.is_empty() && data.generated.is_none() {
        return Err(nothing_to_train_on());
    }
    let names = data.train.iter().chain(&data.validation);
    if names.chain(plan.file.evaluation.iter().flat_map(|it| &it.data)).any(|path| path == "-") {
        return Err(Error::config("-", "a sweep cannot go on with what it read from stdin", "name files"));
    }
    let has_validation = !data.validation.is_empty() || data.generated.is_some();
    if let Some(metric) = plan.needs_validation().filter(|_| !has_validation) {
        return Err(no_validation(metric));
    }
    Ok((plan, paths))
}

fn no_validation(metric: &Metric) -> Error {
    let what = format!("{metric} needs validation events");
    Error::config("data.validation", what, "give --validation PATH, or take another metric")
}

/// Reads labelled events once before any trial would fail of them.
fn check_labelled(plan: &SweepPlan, options: &ReadOptions) -> Result<()> {
    let Some(evaluation) = plan.file.evaluation.as_ref().filter(|evaluation| evaluation.labels) else {
        return Ok(());
    };
    let options = ReadOptions {
        labels: true,
        label_column: evaluation.label_column.clone(),
        kind_column: evaluation.kind_column.clone(),
        on_bad_row: OnBadRow::Fail,
        ..options.clone()
    };
    read_rows(&inputs_of(&evaluation.data)?, &options, &mut |_, _| Ok(())).map(drop)
}

/// Refuses a folder that holds a sweep, unless that is to go on, and one that holds something else.
fn check_folder(folder: &Path, resume: bool) -> Result<()> {
    let at = format!("--output {}", folder.display());
    let is_sweep = folder.join(JOURNAL).exists();
    if is_sweep && !resume {
        let help = "give another folder, or add --resume to go on with it";
        return Err(Error::config(at, "the folder holds a sweep", help));
    }
    if resume && !is_sweep {
        let help = "give the folder of a sweep that was begun, or leave out --resume";
        return Err(Error::config(at, "there is no sweep to go on with", help));
    }
    let mut entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten(),
        Err(_) => return Ok(()),
    };
    // What a sweep that was cut off while it prepared its data leaves.
    let is_ours = |name: &str| name == DATA || name == ".lock" || name.starts_with(".ipsight-");
    if !is_sweep && entries.any(|entry| !is_ours(&entry.file_name().to_string_lossy())) {
        return Err(Error::config(at, "the folder holds something else", "give a new folder"));
    }
    Ok(())
}

/// Reads the events once, and writes them where all trials map them. A prepared file is left where it is.
fn prepare(plan: &SweepPlan, paths: &InputPaths, folder: &Path) -> Result<PreparedData> {
    let config = &plan.base;
    let data = folder.join(DATA);
    std::fs::create_dir_all(&data).map_err(Error::io("create", &data))?;
    let options = read_options(config)?;
    let files = |paths: &[PathBuf], name: &str| -> Result<Option<String>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let inputs = inputs_of(paths)?;
        if let [input] = &inputs[..]
            && let Some(path) = input.prepared_file()?
        {
            let path = std::path::absolute(path).map_err(Error::io("find", path))?;
            if path.to_str().is_some() {
                return Ok(Some(text_of(&path)?));
            }
            // Configurations name it by a link.
            let link = data.join(name).with_extension("arrow");
            match std::fs::remove_file(&link) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &link)(error));
                }
                _ => {}
            }
            std::os::unix::fs::symlink(&path, &link).map_err(Error::io("create", &link))?;
            return Ok(Some(text_of(&link)?));
        }
        let path = data.join(name).with_extension("arrow");
        let options = ReadOptions { on_bad_row: options.on_bad_row.of_part(name), ..options.clone() };
        talk_about(&write_prepared(&inputs, &options, &path)?);
        Ok(Some(text_of(&path)?))
    };
    let (mut train, mut validation) = (files(&paths.train, "train")?, None);
    if let Some(generated) = &config.data.generated {
        let (events, of_validation) = generate_events(generated);
        let write = |events: &Events, name: &str| {
            let path = data.join(name);
            write_events(events, &path).and_then(|()| text_of(&path))
        };
        train = Some(write(&events, "train.arrow")?);
        let of_validation = of_validation.filter(|events| !events.is_empty());
        validation = of_validation.map(|events| write(&events, "validation.arrow")).transpose()?;
    }
    let validation = files(&paths.validation, "validation")?.or(validation);
    let evaluation = match plan.file.evaluation.as_ref().filter(|evaluation| !evaluation.labels) {
        Some(evaluation) => {
            let paths: Vec<PathBuf> = evaluation.data.iter().map(PathBuf::from).collect();
            files(&paths, "evaluation")?
        }
        None => None,
    };
    if let (None, Some(metric)) = (&validation, plan.needs_validation()) {
        return Err(no_validation(metric));
    }
    check_labelled(plan, &options)?;
    let train = train.ok_or_else(nothing_to_train_on)?;
    let digest = sweep::digest(&train, plan)?;
    talk!("training: {} events in {train}", output::count(digest.num_events));
    let blake3_of =
        |file: &Option<String>| file.as_ref().map(|file| Ok(sweep::digest(file, plan)?.blake3)).transpose();
    Ok(PreparedData {
        num_events: digest.num_events,
        blake3: digest.blake3,
        validation_blake3: blake3_of(&validation)?,
        evaluation_blake3: blake3_of(&evaluation)?,
        train,
        validation,
        evaluation,
    })
}

/// Configurations are text.
fn text_of(path: &Path) -> Result<String> {
    path.to_str().map(str::to_string).ok_or_else(|| {
        Error::config(path.display().to_string(), "this path is not UTF-8", "take a folder whose path is")
    })
}

/// How trainings are started.
fn launch(
    args: &SweepArgs,
    num_jobs: usize,
    plan: &SweepPlan,
    data: &PreparedData,
    device: &ComputeDevice,
) -> Result<Launch> {
    let program = std::env::current_exe().map_err(Error::process("find the file of this program"))?;
    let launcher = args.launcher.iter().flat_map(|command| command.split_whitespace());
    let num_cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    Ok(Launch {
        program,
        launcher: launcher.map(str::to_string).collect(),
        num_threads: (num_cores / num_jobs).max(1),
        // What `auto` comes to is not found anew by each.
        device: if device.is_cpu() { DeviceChoice::Ndarray } else { DeviceChoice::Wgpu },
        evaluation: data.evaluation_args(plan),
    })
}

/// The best trial, where its model is, and what to do with it.
fn finish(args: &SweepArgs, folder: &Path, plan: &SweepPlan, end: &SweepEnd) -> Result<()> {
    let best = end.study.best();
    if args.json {
        let best = best.map(|trial| {
            json!({ "trial": trial.number, "value": trial.value, "parameters": sweep_text::parameters(&plan.space, trial) })
        });
        output::line(json!({
            "event": "done",
            "folder": folder.to_string_lossy(),
            "metric": plan.metric.to_string(),
            "num_trials": end.study.trials.len(),
            "elapsed_seconds": end.elapsed,
            "best": best,
        }))?;
    } else if let Some(best) = best {
        let value = best.value.unwrap_or(f64::NAN);
        output::line(format!("best: trial {}  {} {value:.6}", best.number, plan.metric))?;
        for (parameter, value) in plan.space.values(&best.assignment) {
            output::line(format!("  {} = {value}", parameter.key))?;
        }
        output::line(format!("model: {}", folder.join(BEST).display()))?;
        output::line(format!("report: {}", folder.join(REPORT).display()))?;
        let config = shell::quoted(folder.join(BEST_CONFIG));
        output::line(format!("next: {} train --config {config}", shell::program()))?;
    }
    match (end.stopped_by, best) {
        (Some(signal), _) => {
            talk!("the same command with --resume goes on");
            Err(Error::Stopped { signal, saved: Some(folder.to_path_buf()) })
        }
        (None, None) => Err(Error::Gate(format!(
            "no trial came to its end within its constraints: {} says why",
            folder.join(REPORT).display()
        ))),
        (None, Some(_)) => Ok(()),
    }
}
