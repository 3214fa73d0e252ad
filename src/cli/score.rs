use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipsight::data::{Input, Row, read_rows, resolve_inputs};
use ipsight::event::hash_entity;
use ipsight::score::PAIRS_PER_BATCH;
use ipsight::{Event, Result, Scorer, artifact};

use super::DeviceArg;
use super::read_args::{ReadArgs, talk_about};
use super::scored_rows::{self, ScoredRow, ScoredRows};

#[derive(Args)]
pub struct ScoreArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Events: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., default_value = "-")]
    input: Vec<String>,
    /// Where to write, in the order of the input; - for stdout
    #[arg(long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// Format of the output
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: OutputFormat,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    read: ReadArgs,
}

/// What `score` can write.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Csv,
    Jsonl,
    Parquet,
}

pub fn run(args: ScoreArgs) -> Result<()> {
    let device = args.device.choose()?;
    let options = args.read.options()?;
    let inputs: Vec<Input> = resolve_inputs(&args.input)?;
    let scorer = artifact::load(&args.model, &device)?.scorer;
    let mut batch =
        Batch { scorer: &scorer, out: scored_rows::create(&args.output, args.format)?, rows: Vec::new() };
    let report = read_rows(&inputs, &options, &mut |row| batch.push(row))?;
    batch.flush()?;
    batch.out.finish()?;
    talk_about(&report);
    Ok(())
}

/// Rows that wait to be scored together.
struct Batch<'a> {
    scorer: &'a Scorer,
    out: Box<dyn ScoredRows>,
    rows: Vec<(Vec<u8>, Event)>,
}

impl Batch<'_> {
    fn push(&mut self, row: Row<'_>) -> Result<()> {
        let event = Event { entity: hash_entity(row.entity), ip: row.ip };
        self.rows.push((row.entity.to_vec(), event));
        if self.rows.len() == PAIRS_PER_BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let events: Vec<Event> = self.rows.iter().map(|(_, event)| *event).collect();
        let dot_products = self.scorer.dot_products(&events)?;
        for ((entity, event), dot_product) in self.rows.drain(..).zip(dot_products) {
            let entity_seen = self.scorer.entity_seen(event.entity);
            self.out.write(&ScoredRow { entity: &entity, ip: event.ip.into(), dot_product, entity_seen })?;
        }
        Ok(())
    }
}
