use std::path::PathBuf;

use clap::Args;
use ipsight::data::{Input, ReadOptions, Row, load_events, read_rows, resolve_inputs};
use ipsight::evaluate::report::{Subject, write_html, write_plots};
use ipsight::evaluate::{EvaluateOptions, EvaluatedEvent, Evaluation, Evaluator, Figures, History};
use ipsight::event::hash_entity;
use ipsight::inference::LoadedModel;
use ipsight::thresholds::{Criterion, THRESHOLDS, Thresholds, WantedThreshold};
use ipsight::{Error, Event, Result};

use super::attack_args::AttackArgs;
use super::common_args::{DeviceArg, UnseenArg, check_seen};
use super::evaluation_text;
use super::output;
use super::read_args::{ReadArgs, parse_fraction, talk_about};
use super::training::{check_stdin, end_with_stdin};
use super::truth::Truth;

#[derive(Args)]
pub struct EvaluateArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Events: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<String>,
    #[command(flatten)]
    attacks: AttackArgs,
    /// The column of the attacks' kinds, by which the figures are broken down
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    kind_column: Option<String>,
    /// The column of the times (Unix seconds or RFC 3339), for alerts per day
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// The training events, for the baselines: tables of addresses and subnets, and a ratio of likelihoods
    #[arg(long, value_name = "PATH", num_args = 1..)]
    history: Vec<String>,
    /// The true likelihood ratios of the events, for the best possible detector: CSV with the columns `label` and
    /// `log_likelihood_ratio` (high for attacks), and `log_likelihood_ratio_KIND` for each kind of attack where it
    /// is known, a row for each event in the same order
    #[arg(long, value_name = "FILE", requires = "labels")]
    truth: Option<PathBuf>,
    /// Exit with 1 where the AUC is below this
    #[arg(long, value_name = "AUC", value_parser = parse_fraction)]
    min_auc: Option<f64>,
    /// Exit with 1 where the false positive rate at detection rate T is above F (may be repeated)
    #[arg(long, value_name = "T=F", value_parser = parse_gate)]
    max_fpr_at_tpr: Vec<(f64, f64)>,
    /// Choose the lowest threshold that flags at most this share of the ordinary events, and keep it in the model
    /// folder under this name [default: alert] (may be repeated)
    #[arg(long, value_name = "NAME=F", value_parser = parse_target_fpr)]
    target_fpr: Vec<WantedThreshold>,
    /// The same with the highest threshold that flags at least this share of the attacks
    #[arg(long, value_name = "NAME=T", value_parser = parse_target_tpr)]
    target_tpr: Vec<WantedThreshold>,
    /// The same with the lowest threshold that flags at most so many ordinary events a day
    #[arg(long, value_name = "NAME=N", value_parser = parse_alerts_per_day, requires = "time_column")]
    alerts_per_day: Vec<WantedThreshold>,
    /// Write a report: one HTML page with curves, histograms and tables that opens anywhere
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the report's plots as SVG files into this folder
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// End at once when stdin is closed: for programs that run evaluations and may die
    #[arg(long)]
    tied_to_stdin: bool,
    #[command(flatten)]
    unseen: UnseenArg,
    #[command(flatten)]
    device: DeviceArg,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: EvaluateArgs) -> Result<()> {
    let attacks = args.attacks.attacks()?;
    let read = args.read.options()?;
    check_stdin(args.tied_to_stdin, args.data.iter().chain(&args.history))?;
    if args.tied_to_stdin {
        end_with_stdin()?;
    }
    let mut truth = args.truth.as_deref().map(Truth::open).transpose()?;
    let device = args.device.choose()?;
    let wanted = wanted_thresholds(&args)?;
    let load = match wanted.is_empty() {
        true => LoadedModel::load_without_thresholds,
        false => LoadedModel::load,
    };
    let LoadedModel { manifest, config, mut scorer, thresholds, .. } = load(&args.model, &device)?;
    scorer.set_unseen(args.unseen.unseen);
    let history = read_history(&args.history, &read)?;
    let mut evaluator = Evaluator::new(
        &scorer,
        EvaluateOptions {
            attacks,
            seed: args.attacks.seed,
            history: history.as_ref(),
            tpr_targets: args.max_fpr_at_tpr.iter().map(|(tpr, _)| *tpr).collect(),
            truth_kinds: truth.as_ref().map(|truth| truth.kinds().to_vec()).unwrap_or_default(),
            calibrates: true,
            thresholds: wanted,
        },
    );
    let options = ReadOptions {
        kind_column: args.kind_column.clone(),
        time_column: args.time_column.clone(),
        ..args.attacks.read_options(read)
    };
    let inputs = resolve_inputs(&args.data)?;
    let report = if !args.attacks.labels && args.time_column.is_none() && are_prepared(&inputs)? {
        // They have all that such events need.
        let (events, report) = load_events(&inputs, &options)?;
        events.iter().enumerate().try_for_each(|(index, event)| {
            check_seen(&scorer, event, format_args!("event {index} (from 0)"))?;
            evaluator.push_event(event)
        })?;
        report
    } else {
        read_rows(&inputs, &options, &mut |row, place| {
            let log_likelihood_ratios = match &mut truth {
                Some(truth) => truth.next_of(&row, options.ip_syntax)?,
                None => &[],
            };
            let evaluated = evaluated(&row, log_likelihood_ratios);
            check_seen(&scorer, evaluated.event, place)?;
            evaluator.push(evaluated)
        })?
    };
    if let Some(truth) = truth {
        truth.finish()?;
    }
    talk_about(&report);
    let evaluation = evaluator.finish()?;
    // Thresholds, report and gates do not depend on whether somebody reads on.
    output::even_unread(match args.json {
        true => output::json(&evaluation),
        false => output::line(evaluation_text::text(&evaluation)),
    })?;
    if let Some(calibration) = evaluation.calibration.clone().filter(|_| !evaluation.thresholds.is_empty()) {
        Thresholds::updated(thresholds, manifest.weights_digest()?, &evaluation.thresholds, calibration)?
            .save(&args.model)?;
        talk!("thresholds: {}", args.model.join(THRESHOLDS).display());
    }
    // Before the gates: whoever misses one wants to see why.
    if let Some(path) = &args.report {
        let (data, history) = (args.data.as_slice(), args.history.as_slice());
        write_html(path, &evaluation, &Subject { manifest: &manifest, config: &config, data, history })?;
        talk!("report: {}", path.display());
    }
    if let Some(folder) = &args.plots {
        for path in write_plots(folder, &evaluation)? {
            talk!("plot: {}", path.display());
        }
    }
    check_gates(&args, &evaluation)
}

fn are_prepared(inputs: &[Input]) -> Result<bool> {
    for input in inputs {
        if input.prepared_file()?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn evaluated<'a>(row: &Row<'a>, log_likelihood_ratios: &'a [f32]) -> EvaluatedEvent<'a> {
    EvaluatedEvent {
        event: Event { entity: hash_entity(row.entity), ip: row.ip },
        is_attack: row.label.unwrap_or(false),
        kind: row.kind,
        seconds: row.seconds,
        log_likelihood_ratios,
    }
}

/// All that are wanted, of which no two may have one name.
fn wanted_thresholds(args: &EvaluateArgs) -> Result<Vec<WantedThreshold>> {
    let wanted = [&args.target_fpr[..], &args.target_tpr, &args.alerts_per_day].concat();
    for (i, threshold) in wanted.iter().enumerate() {
        if let Some(other) = wanted[..i].iter().find(|other| other.name == threshold.name) {
            let what = format!("it has one name with {}", other.at());
            let help =
                "give each threshold a name of its own, for example step_up=0.01 and investigate=0.001";
            return Err(Error::config(threshold.at(), what, help));
        }
    }
    Ok(wanted)
}

fn read_history(paths: &[String], read: &ReadOptions) -> Result<Option<History>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let on_bad_row = read.on_bad_row.of_part("history");
    let (events, report) = load_events(&resolve_inputs(paths)?, &ReadOptions { on_bad_row, ..read.clone() })?;
    talk_about(&report);
    Ok(Some(History::new(&events)))
}

/// All gates are checked before any is told, so that one run says everything.
fn check_gates(args: &EvaluateArgs, evaluation: &Evaluation) -> Result<()> {
    let figures: &Figures = &evaluation.model().all;
    let mut missed = Vec::new();
    if let Some(min_auc) = args.min_auc.filter(|min_auc| evaluation.auc < *min_auc) {
        missed.push(format!("auc {} is below --min-auc {min_auc}", evaluation.auc));
    }
    for (tpr, max_fpr) in &args.max_fpr_at_tpr {
        let point = figures.fpr_at_tpr.iter().find(|(target, _)| target == tpr);
        if let Some((_, point)) = point.filter(|(_, point)| point.fpr > *max_fpr) {
            missed.push(format!("fpr {} is above --max-fpr-at-tpr {tpr}={max_fpr}", point.fpr));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Gate(missed.join("; "))) }
}

fn parse_gate(text: &str) -> std::result::Result<(f64, f64), String> {
    let (tpr, fpr) = text.split_once('=').ok_or("T=F, for example 0.99=0.05")?;
    Ok((parse_fraction(tpr)?, parse_fraction(fpr)?))
}

fn parse_target_fpr(text: &str) -> std::result::Result<WantedThreshold, String> {
    parse_wanted(Criterion::TargetFpr, text)
}

fn parse_target_tpr(text: &str) -> std::result::Result<WantedThreshold, String> {
    parse_wanted(Criterion::TargetTpr, text)
}

fn parse_alerts_per_day(text: &str) -> std::result::Result<WantedThreshold, String> {
    parse_wanted(Criterion::AlertsPerDay, text)
}

/// The flag that clap names says where.
fn parse_wanted(criterion: Criterion, text: &str) -> std::result::Result<WantedThreshold, String> {
    WantedThreshold::parse(criterion, text).map_err(|error| match error {
        Error::Config { what, help, .. } => format!("{what}: {help}"),
        other => other.to_string(),
    })
}
