use std::path::{Path, PathBuf};

use clap::Args;
use ipsight::data::{Input, Place, ReadOptions, Row, read_rows};
use ipsight::event::hash_entity;
use ipsight::inference::{LoadedModel, PAIRS_PER_BATCH};
use ipsight::thresholds::{THRESHOLDS, Thresholds};
use ipsight::{Error, Event, Result, Scorer, anomaly_score};

use super::common_args::{DeviceArg, UnseenArg, check_seen, parse_prior};
use super::read_args::{ReadArgs, inputs_of, talk_about};
use super::scored_rows::{self, OutputFormat, ScoredRow, ScoredRows};

#[derive(Args)]
pub struct ScoreArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Events: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., default_value = "-")]
    input: Vec<PathBuf>,
    /// Where to write, in the order of the input; - for stdout
    #[arg(long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// Format of the output
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: OutputFormat,
    /// Score and write each row as soon as it is read, for input that comes slowly
    #[arg(long)]
    line_buffered: bool,
    /// The share of attacks among real events, to which `probability` is moved from that of the events on which the
    /// thresholds were chosen
    #[arg(long, value_name = "P", value_parser = parse_prior)]
    attack_prior: Option<f64>,
    /// The column of the events' times (Unix seconds or RFC 3339). A model that counted times scores each event at its own;
    /// without it all are scored as of the last event of the training
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    #[command(flatten)]
    unseen: UnseenArg,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: ScoreArgs) -> Result<()> {
    if args.line_buffered {
        check_line_buffered(&args)?;
    }
    let device = args.device.choose()?;
    let read = args.read.options()?;
    let inputs: Vec<Input> = inputs_of(&args.input)?;
    let LoadedModel { config, mut scorer, thresholds, .. } = LoadedModel::load(&args.model, &device)?;
    let time_column = args.time_column.clone();
    let options = ReadOptions { addresses: config.model.addresses, time_column, ..read };
    args.unseen.apply(&mut scorer)?;
    let thresholds = with_attack_prior(thresholds, &args)?;
    let out = scored_rows::create(&args.output, args.format, thresholds.is_some())?;
    let max_rows = if args.line_buffered { 1 } else { PAIRS_PER_BATCH };
    let mut batch =
        Batch { scorer: &scorer, thresholds: thresholds.as_ref(), out, rows: Vec::new(), max_rows };
    let report = read_rows(&inputs, &options, &mut |row, place| batch.push(row, place))?;
    batch.score()?;
    batch.out.finish()?;
    talk_about(&report);
    Ok(())
}

/// Refuses what would keep rows back until the end.
fn check_line_buffered(args: &ScoreArgs) -> Result<()> {
    let refused = |what: &str, help: &str| Err(Error::config("--line-buffered", what, help));
    if args.format == OutputFormat::Parquet {
        return refused("a Parquet file is whole only at its end", "take --format csv or jsonl");
    }
    // A named pipe or a device is written to as it goes.
    let is_file = || !args.output.exists() || args.output.is_file() || args.output.is_dir();
    if args.output != Path::new("-") && is_file() {
        return refused("an output file appears when it is whole", "write to stdout: --output - > FILE");
    }
    Ok(())
}

/// Moves the probabilities to the base rate of attacks that the caller gives.
fn with_attack_prior(mut thresholds: Option<Thresholds>, args: &ScoreArgs) -> Result<Option<Thresholds>> {
    match (&mut thresholds, args.attack_prior) {
        (Some(thresholds), Some(prior)) => thresholds.set_attack_prior(prior),
        (None, Some(_)) => {
            let what = format!("there is no {THRESHOLDS} in {}", args.model.display());
            let help = "make it with `ipsight evaluate` and --target-fpr, --target-tpr or --alerts-per-day";
            return Err(Error::config("--attack-prior", what, help));
        }
        (_, None) => {}
    }
    Ok(thresholds)
}

/// Rows that wait to be scored together.
struct Batch<'a> {
    scorer: &'a Scorer,
    thresholds: Option<&'a Thresholds>,
    out: Box<dyn ScoredRows>,
    rows: Vec<(Vec<u8>, Event, Option<u32>)>,
    max_rows: usize,
}

impl Batch<'_> {
    fn push(&mut self, row: Row<'_>, place: Place<'_>) -> Result<()> {
        let event = Event { entity: hash_entity(row.entity), address: row.address };
        check_seen(self.scorer, event, place)?;
        let seconds = row.seconds.and_then(|seconds| u32::try_from(seconds).ok());
        self.rows.push((row.entity.to_vec(), event, seconds));
        if self.rows.len() < self.max_rows {
            return Ok(());
        }
        self.score()?;
        // A batch is large against a flush, or it is a row that somebody waits for.
        self.out.flush()
    }

    fn score(&mut self) -> Result<()> {
        let events: Vec<Event> = self.rows.iter().map(|(_, event, _)| *event).collect();
        let times: Option<Vec<u32>> = self.rows.iter().map(|(.., seconds)| *seconds).collect();
        let dot_products = self.scorer.scores_at(&events, times.as_deref())?;
        for ((entity, event, _), dot_product) in self.rows.drain(..).zip(dot_products) {
            let entity_seen = self.scorer.entity_seen(event.entity);
            let verdict = self
                .thresholds
                .map(|thresholds| thresholds.verdict(anomaly_score(dot_product)))
                .transpose()?;
            let ip = event.address;
            self.out.write(&ScoredRow { entity: &entity, ip, dot_product, entity_seen, verdict })?;
        }
        Ok(())
    }
}
