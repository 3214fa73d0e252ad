use clap::Args;
use ipsight::Result;
use ipsight::data::{Format, LeftOut, OnBadRow, ReadOptions, ReadReport};

use super::common_args::parse_choice;

/// Flags of every verb that reads events.
#[derive(Args, Default)]
pub struct ReadArgs {
    /// Column of the entity: a position from 1, or a name (in CSV a name says that the first line is a header)
    #[arg(long, value_name = "COLUMN")]
    pub entity_column: Option<String>,
    /// Column of the address, likewise
    #[arg(long, value_name = "COLUMN")]
    pub ip_column: Option<String>,
    /// Format of the input; by default told from its content [csv, jsonl, parquet, arrow]
    #[arg(long, value_name = "FORMAT", value_parser = parse_choice::<Format>)]
    pub input_format: Option<Format>,
    /// What to do with a bad row [fail, skip, quarantine=FILE; default: fail]
    #[arg(long, value_name = "POLICY")]
    pub on_bad_row: Option<String>,
    /// Share of bad rows that skip and quarantine accept [default: 0.001]
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    pub max_bad_fraction: Option<f64>,
}

impl ReadArgs {
    /// The options that these flags ask for.
    pub fn options(&self) -> Result<ReadOptions> {
        let defaults = ReadOptions::default();
        Ok(ReadOptions {
            format: self.input_format,
            entity_column: self.entity_column.clone(),
            ip_column: self.ip_column.clone(),
            on_bad_row: self.on_bad_row.as_deref().map_or(Ok(OnBadRow::Fail), str::parse)?,
            max_bad_fraction: self.max_bad_fraction.unwrap_or(defaults.max_bad_fraction),
            ..defaults
        })
    }
}

/// Flags of verbs that limit how many events anybody has.
#[derive(Args, Default)]
pub struct LimitArgs {
    /// Keep at most N events of an entity, drawn at random by the seed
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_events_per_entity: Option<usize>,
    /// Keep at most N events of an address, likewise, of those that are kept of entities
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_events_per_ip: Option<usize>,
}

/// Tells people about events that limits left out.
pub fn talk_about_limits(left_out: &[LeftOut]) {
    for left_out in left_out {
        talk!("{left_out}");
    }
}

fn parse_limit(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..) => Ok(limit),
        _ => Err("a whole number, 1 or more".into()),
    }
}

/// Tells people about rows that were left out.
pub fn talk_about(report: &ReadReport) {
    if report.num_bad > 0 {
        talk!("{report}");
    }
}

pub fn parse_fraction(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err("a number from 0 to 1".into()),
    }
}
