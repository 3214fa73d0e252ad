use std::path::PathBuf;

use clap::Args;
use ipsight::data::{ReadOptions, read_rows, resolve_inputs};
use ipsight::evaluate::{Evaluation, Evaluator};
use ipsight::event::hash_entity;
use ipsight::{Error, Event, Result, artifact};

use super::read_args::{ReadArgs, parse_fraction, talk_about};
use super::{DeviceArg, output};

#[derive(Args)]
pub struct EvaluateArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Events: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    data: Vec<String>,
    /// The events carry labels, 1 for an attack: in column 3 of CSV, under `label` elsewhere. Without labels
    /// each event is scored against one random IPv4 address
    #[arg(long)]
    labels: bool,
    /// The column of the labels, if it is another one
    #[arg(long, value_name = "COLUMN", requires = "labels")]
    label_column: Option<String>,
    /// Exit with 1 where the AUC is below this
    #[arg(long, value_name = "AUC", value_parser = parse_fraction)]
    min_auc: Option<f64>,
    /// Seed of the random addresses
    #[arg(long, default_value_t = 0, conflicts_with = "labels")]
    seed: u64,
    #[command(flatten)]
    device: DeviceArg,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: EvaluateArgs) -> Result<()> {
    let device = args.device.choose()?;
    let scorer = artifact::load(&args.model, &device)?.scorer;
    let mut evaluator = if args.labels {
        Evaluator::labelled(&scorer)
    } else {
        Evaluator::against_random_ipv4(&scorer, args.seed)
    };
    let options =
        ReadOptions { labels: args.labels, label_column: args.label_column.clone(), ..args.read.options()? };
    let report = read_rows(&resolve_inputs(&args.data)?, &options, &mut |row| {
        evaluator.push(Event { entity: hash_entity(row.entity), ip: row.ip }, row.label.unwrap_or(false))
    })?;
    talk_about(&report);
    let evaluation = evaluator.finish()?;
    print(&evaluation, args.json)?;
    match args.min_auc {
        Some(min_auc) if evaluation.auc < min_auc => {
            Err(Error::Gate(format!("auc {} is below --min-auc {min_auc}", evaluation.auc)))
        }
        _ => Ok(()),
    }
}

fn print(evaluation: &Evaluation, json: bool) -> Result<()> {
    if json {
        return output::json(evaluation);
    }
    let attacks = match evaluation.attacks {
        "labelled" => "labelled attacks",
        _ => "random IPv4 addresses",
    };
    output::line(format!(
        "{} events, {} of them {attacks}",
        output::count(evaluation.num_events),
        output::count(evaluation.num_attacks)
    ))?;
    output::line(format!("AUC {:.6}", evaluation.auc))?;
    output::line(format!("at anomaly score > 0: TPR {:.6}, FPR {:.6}", evaluation.tpr, evaluation.fpr))
}
