use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;
use ipsight::data::{Input, ReadOptions, Row, load_events, read_rows};
use ipsight::evaluate::report::{Subject, write_html, write_plots};
use ipsight::evaluate::{
    Attacks, EvaluateOptions, EvaluatedEvent, Evaluation, Evaluator, Figures, PastEvents, TimeSplit,
    keep_thresholds,
};
use ipsight::event::hash_entity;
use ipsight::inference::LoadedModel;
use ipsight::networks::Networks;
use ipsight::thresholds::{Criterion, WantedThreshold};
use ipsight::{At, Error, Event, Result, Scorer};

use super::attack_args::AttackArgs;
use super::common_args::{DeviceArg, UnseenArg, check_seen};
use super::held_rows::HeldRows;
use super::output;
use super::read_args::{ReadArgs, inputs_of, parse_fraction, talk_about};
use super::training::{check_stdin, end_with_stdin};
use super::truth::Truth;
use super::{evaluate_folds, evaluation_text};

#[derive(Args)]
pub struct EvaluateArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Events: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    attacks: AttackArgs,
    /// The column of the attacks' kinds, by which the figures are broken down
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    kind_column: Option<String>,
    /// The column of the times (Unix seconds or RFC 3339), for alerts per day, --split, --folds and --online
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// The training events, for the baselines: tables of addresses and subnets, a ratio of likelihoods, and the closed form
    /// of a usage history
    #[arg(long, value_name = "PATH", num_args = 1..)]
    history: Vec<PathBuf>,
    /// Whose network an address is in, as `train` takes it, for a table of an entity's past ASes among the baselines
    /// [default: that of the model, if it has one]
    #[arg(long, value_name = "FILE", conflicts_with = "folds")]
    networks: Option<PathBuf>,
    /// Evaluate only what is behind this share of the events, in the order of their times; the events before are the past
    /// that --history names otherwise, and what the model should have been trained on
    #[arg(long, value_name = "SHARE", value_parser = parse_share, conflicts_with_all = ["history", "truth"])]
    split: Option<f64>,
    /// Evaluate N folds that follow each other in time: the events are cut into N + 1 parts, and each part but the first is
    /// evaluated by a usage history and a head that are made of the parts before it, with the model's configuration. Gates
    /// are for the means over the folds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    #[arg(conflicts_with_all = [
        "history", "truth", "split", "target_fpr", "target_tpr", "alerts_per_day", "report", "plots",
    ])]
    folds: Option<u32>,
    /// Count each ordinary event after it was scored, in the order of their times, so that what the model's usage history
    /// and the baselines know moves with the events, as in a service that counts the logins it accepts
    #[arg(long)]
    online: bool,
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
    let truth = args.truth.as_deref().map(Truth::open).transpose()?;
    let device = args.device.choose()?;
    let wanted = wanted_thresholds(&args)?;
    // Thresholds of other weights, or damaged ones, are refused before the events are read.
    let load = match wanted.is_empty() {
        true => LoadedModel::load_without_thresholds,
        false => LoadedModel::load,
    };
    let LoadedModel { manifest, config, mut scorer, .. } = load(&args.model, &device)?;
    args.unseen.apply(&mut scorer)?;
    let read = ReadOptions { addresses: config.model.addresses, ..read };
    if let Some(num_folds) = args.folds {
        let (rows, options) = (hold(&args, &read)?, options(&args, attacks, wanted, None, &[]));
        let evaluation = evaluate_folds::evaluate(&rows, num_folds as usize, &config, scorer, &options)?;
        evaluate_folds::write(&evaluation, args.json)?;
        let means = &evaluation.model().all;
        return check_gates(&args, means.auc.unwrap_or_default(), &means.fpr_at_tpr);
    }
    let held = args.split.map(|share| cut(&args, &read, share)).transpose()?;
    let past = match &held {
        Some((rows, split)) => Some(PastEvents::new(&rows.past(split))?),
        None => read_history(&args.history, &read)?,
    };
    let networks = match (&past, &args.networks) {
        (None, Some(_)) => {
            let help = "name them by --history or --split, or leave --networks out";
            return Err(Error::config("--networks", "there are no past events that it could count", help));
        }
        (_, Some(path)) => Some(Networks::read(path)?),
        (_, None) => scorer.detector().and_then(|model| Some(model.owners.as_ref()?.networks.clone())),
    };
    let past = past.map(|past| past.with_networks(networks));
    if args.online && past.is_none() && scorer.detector().is_none() {
        let help = "name the training events, for the baselines, by the option history";
        return Err(Error::config(At::option("online"), "this model counts no events", help));
    }
    let truth_kinds = truth.as_ref().map_or(&[][..], Truth::kinds);
    let options = options(&args, attacks, wanted, past.as_ref(), truth_kinds);
    let evaluator = Evaluator::new(&scorer, options);
    let evaluation = match held {
        Some((rows, split)) => evaluate_held(&rows, split, &scorer, evaluator)?,
        None => evaluate(&args, &read, &scorer, evaluator, truth)?,
    };
    // Thresholds, report and gates do not depend on whether somebody reads on.
    output::even_unread(match args.json {
        true => output::json(&evaluation),
        false => output::line(evaluation_text::text(&evaluation)),
    })?;
    if let Some(path) = keep_thresholds(&args.model, &manifest, &evaluation)? {
        talk!("thresholds: {}", path.display());
    }
    // Before the gates: whoever misses one wants to see why.
    let (data, history) = (args.data.as_slice(), args.history.as_slice());
    write_reports(&args, &evaluation, &Subject { manifest: &manifest, config: &config, data, history })?;
    let figures: &Figures = &evaluation.model().all;
    let fpr_at_tpr: Vec<_> = figures.fpr_at_tpr.iter().map(|(tpr, point)| (*tpr, point.fpr)).collect();
    check_gates(&args, evaluation.auc, &fpr_at_tpr)
}

fn options<'a>(
    args: &EvaluateArgs,
    attacks: Attacks,
    thresholds: Vec<WantedThreshold>,
    past: Option<&'a PastEvents>,
    truth_kinds: &[String],
) -> EvaluateOptions<'a> {
    EvaluateOptions {
        attacks,
        seed: args.attacks.seed,
        past,
        is_online: args.online,
        tpr_targets: args.max_fpr_at_tpr.iter().map(|(tpr, _)| *tpr).collect(),
        truth_kinds: truth_kinds.to_vec(),
        calibrates: args.folds.is_none(),
        thresholds,
    }
}

/// Holds all rows of the data.
fn hold(args: &EvaluateArgs, read: &ReadOptions) -> Result<HeldRows> {
    let mut rows = HeldRows::default();
    read_events(args, read, None, &mut |event, place| rows.push(&event, place))?;
    Ok(rows)
}

/// Holds all rows of the data, and finds where they are cut.
fn cut(args: &EvaluateArgs, read: &ReadOptions, share: f64) -> Result<(HeldRows, TimeSplit)> {
    let rows = hold(args, read)?;
    let split = rows.split(share)?;
    talk!("split: {split}");
    Ok((rows, split))
}

/// Evaluates the model on what is behind a cut.
fn evaluate_held(
    rows: &HeldRows,
    split: TimeSplit,
    scorer: &Scorer,
    mut evaluator: Evaluator<'_>,
) -> Result<Evaluation> {
    if let Some(leak) = split.leak(scorer) {
        talk!("these figures are too good, because {leak}");
    }
    for (number, event) in rows.evaluated(split) {
        check_seen(scorer, event.event, format_args!("event {number}"))?;
        evaluator.push(event)?;
    }
    evaluator.finish()
}

/// Reads the events and evaluates the model on them.
fn evaluate(
    args: &EvaluateArgs,
    read: &ReadOptions,
    scorer: &Scorer,
    mut evaluator: Evaluator<'_>,
    truth: Option<Truth>,
) -> Result<Evaluation> {
    read_events(args, read, truth, &mut |event, place| {
        check_seen(scorer, event.event, place)?;
        evaluator.push(event)
    })?;
    evaluator.finish()
}

/// Calls `on_event` for each event of the data, with its place.
fn read_events(
    args: &EvaluateArgs,
    read: &ReadOptions,
    mut truth: Option<Truth>,
    on_event: &mut dyn FnMut(EvaluatedEvent<'_>, &dyn Display) -> Result<()>,
) -> Result<()> {
    let options = ReadOptions {
        kind_column: args.kind_column.clone(),
        time_column: args.time_column.clone(),
        ..args.attacks.read_options(read.clone())
    };
    let inputs = inputs_of(&args.data)?;
    let report = if !args.attacks.labels && args.time_column.is_none() && are_prepared(&inputs)? {
        // They have all that such events need.
        let (events, report) = load_events(&inputs, &options)?;
        events.iter().enumerate().try_for_each(|(index, event)| {
            let seconds = events.time(index).map(i64::from);
            let (is_attack, kind, log_likelihood_ratios) = (false, None, &[][..]);
            let event = EvaluatedEvent { event, is_attack, kind, seconds, log_likelihood_ratios };
            on_event(event, &format_args!("event {index} (from 0)"))
        })?;
        report
    } else {
        read_rows(&inputs, &options, &mut |row, place| {
            let log_likelihood_ratios = match &mut truth {
                Some(truth) => truth.next_of(&row, options.addresses)?,
                None => &[],
            };
            on_event(evaluated(&row, log_likelihood_ratios), &place)
        })?
    };
    if let Some(truth) = truth {
        truth.finish()?;
    }
    talk_about(&report);
    Ok(())
}

fn write_reports(args: &EvaluateArgs, evaluation: &Evaluation, subject: &Subject<'_>) -> Result<()> {
    if let Some(path) = &args.report {
        write_html(path, evaluation, subject)?;
        talk!("report: {}", path.display());
    }
    if let Some(folder) = &args.plots {
        for path in write_plots(folder, evaluation)? {
            talk!("plot: {}", path.display());
        }
    }
    Ok(())
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
        event: Event { entity: hash_entity(row.entity), address: row.address },
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

fn read_history(paths: &[PathBuf], read: &ReadOptions) -> Result<Option<PastEvents>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let on_bad_row = read.on_bad_row.of_part("history");
    let (events, report) = load_events(&inputs_of(paths)?, &ReadOptions { on_bad_row, ..read.clone() })?;
    talk_about(&report);
    PastEvents::new(&events).map(Some)
}

/// All gates are checked before any is told, so that one run says everything.
fn check_gates(args: &EvaluateArgs, auc: f64, fpr_at_tpr: &[(f64, f64)]) -> Result<()> {
    let mut missed = Vec::new();
    if let Some(min_auc) = args.min_auc.filter(|min_auc| auc < *min_auc) {
        missed.push(format!("auc {auc} is below --min-auc {min_auc}"));
    }
    for (tpr, max_fpr) in &args.max_fpr_at_tpr {
        let point = fpr_at_tpr.iter().find(|(target, _)| target == tpr);
        if let Some((_, fpr)) = point.filter(|(_, fpr)| fpr > max_fpr) {
            missed.push(format!("fpr {fpr} is above --max-fpr-at-tpr {tpr}={max_fpr}"));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Gate(missed.join("; "))) }
}

fn parse_share(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if 0.0 < share && share < 1.0 => Ok(share),
        _ => Err("a number above 0 and below 1".into()),
    }
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
