use std::path::PathBuf;

use clap::Args;
use ipsight::compare::{CompareOptions, Comparer, Comparison, NetworkMix};
use ipsight::data::{ReadOptions, load_events, read_rows};
use ipsight::evaluate::EvaluatedEvent;
use ipsight::event::{AddressFamilies, hash_entity};
use ipsight::{Error, Event, LoadedModel, Result};

use super::attack_args::AttackArgs;
use super::common_args::DeviceArg;
use super::comparison_text;
use super::output;
use super::read_args::{ReadArgs, inputs_of, parse_fraction, talk_about};

#[derive(Args)]
pub struct CompareArgs {
    /// Model folder of the model that is in use
    old: PathBuf,
    /// Model folder of the model that is to take its place
    new: PathBuf,
    /// Recent events that neither was trained on: files, folders, globs, or - for stdin; not prepared ones, which do
    /// not know what entities are called
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    attacks: AttackArgs,
    /// The events that the old model was trained on, prepared or not, for the drift of the /16 networks
    #[arg(long, value_name = "PATH", num_args = 1..)]
    reference: Vec<PathBuf>,
    /// How many of the entities to list whose mean score moved most
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Exit with 1 where the new model's AUC is below this
    #[arg(long, value_name = "AUC", value_parser = parse_fraction)]
    min_auc: Option<f64>,
    /// Exit with 1 where the new model's AUC is below the old one's by more than this
    #[arg(long, value_name = "DROP", value_parser = parse_fraction)]
    max_auc_drop: Option<f64>,
    /// Exit with 1 where the rank correlation of the scores is below this
    #[arg(long, value_name = "RHO", value_parser = parse_fraction)]
    min_rank_correlation: Option<f64>,
    /// Exit with 1 where the population stability index of the scores is above this; 0.1 is little, 0.25 much
    #[arg(long, value_name = "PSI", value_parser = parse_not_negative)]
    max_psi: Option<f64>,
    #[command(flatten)]
    device: DeviceArg,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: CompareArgs) -> Result<()> {
    let options = CompareOptions {
        attacks: args.attacks.attacks()?,
        seed: args.attacks.seed,
        num_moved_entities: args.top,
    };
    let read = args.read.options()?;
    let device = args.device.choose()?;
    let old = LoadedModel::load(&args.old, &device)?;
    let new = LoadedModel::load_without_thresholds(&args.new, &device)?;
    let read = ReadOptions { addresses: families(&old, &new), ..read };
    let reference = read_reference(&args.reference, &read)?;
    let mut comparer = Comparer::new([&old, &new], old.thresholds.as_ref(), reference.as_ref(), &options);
    let report = read_rows(&inputs_of(&args.data)?, &args.attacks.read_options(read), &mut |row, _| {
        let event = EvaluatedEvent {
            event: Event { entity: hash_entity(row.entity), address: row.address },
            is_attack: row.label.unwrap_or(false),
            kind: None,
            seconds: None,
            log_likelihood_ratios: &[],
        };
        comparer.push(row.entity, event)
    })?;
    talk_about(&report);
    let comparison = comparer.finish()?;
    // Gates do not depend on whether somebody reads on.
    output::even_unread(match args.json {
        true => output::json(&comparison),
        false => output::line(comparison_text::text(&comparison)),
    })?;
    check_gates(&args, &comparison)
}

/// The families that both models know.
fn families(old: &LoadedModel, new: &LoadedModel) -> AddressFamilies {
    match [old, new].iter().all(|model| model.config.model.addresses == AddressFamilies::Both) {
        true => AddressFamilies::Both,
        false => AddressFamilies::Ipv4,
    }
}

fn read_reference(paths: &[PathBuf], read: &ReadOptions) -> Result<Option<NetworkMix>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let on_bad_row = read.on_bad_row.of_part("reference");
    let (events, report) = load_events(&inputs_of(paths)?, &ReadOptions { on_bad_row, ..read.clone() })?;
    talk_about(&report);
    Ok(Some(NetworkMix::of(&events)))
}

/// All gates are checked before any is told, so that one run says everything.
fn check_gates(args: &CompareArgs, comparison: &Comparison) -> Result<()> {
    let Comparison { new, auc_drop, rank_correlation, score_psi, .. } = comparison;
    let mut missed = Vec::new();
    if let Some(min_auc) = args.min_auc.filter(|min_auc| new.auc < *min_auc) {
        missed.push(format!("auc {} is below --min-auc {min_auc}", new.auc));
    }
    if let Some(max_drop) = args.max_auc_drop.filter(|max_drop| auc_drop > max_drop) {
        missed.push(format!("auc_drop {auc_drop} is above --max-auc-drop {max_drop}"));
    }
    if let Some(min) = args.min_rank_correlation {
        match rank_correlation {
            Some(rho) if *rho >= min => {}
            Some(rho) => missed.push(format!("rank_correlation {rho} is below --min-rank-correlation {min}")),
            None => missed.push("there is no rank_correlation: a model gives all events one score".into()),
        }
    }
    if let Some(max_psi) = args.max_psi.filter(|max_psi| score_psi > max_psi) {
        missed.push(format!("score_psi {score_psi} is above --max-psi {max_psi}"));
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::Gate(missed.join("; "))) }
}

fn parse_not_negative(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("a number from 0 on".into()),
    }
}
