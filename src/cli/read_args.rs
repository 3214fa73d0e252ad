use clap::Args;
use ipsight::Result;
use ipsight::data::{Format, Input, LeftOut, OnBadRow, ReadOptions, ReadReport, csv_escape_of, find_inputs};

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
    /// Take names that stand for nobody (-, "", \N, NULL, nan, None) as entities; else they are bad rows
    #[arg(long)]
    pub keep_nobody: bool,
    /// Character that escapes a quote in a quoted field of CSV, as Spark and MySQL write it: '\'
    #[arg(long, value_name = "CHAR", value_parser = parse_escape)]
    pub csv_escape: Option<u8>,
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
            keep_nobody: self.keep_nobody,
            csv_escape: self.csv_escape,
            on_bad_row: self.on_bad_row.as_deref().map_or(Ok(OnBadRow::Fail), str::parse)?,
            max_bad_fraction: self.max_bad_fraction.unwrap_or(defaults.max_bad_fraction),
            ..defaults
        })
    }
}

/// The inputs of paths; says what lies beside them and is not read.
pub fn inputs_of(paths: &[impl AsRef<std::ffi::OsStr>]) -> Result<Vec<Input>> {
    let found = find_inputs(paths)?;
    match found.num_passed_over {
        0 => {}
        1 => talk!("note: 1 hidden file or folder is passed over"),
        num => talk!("note: {num} hidden files and folders are passed over"),
    }
    for table in &found.delta_tables {
        let table = table.display();
        talk!("note: {table} is a table of Delta Lake: files that its log has removed are read, too");
    }
    Ok(found.inputs)
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
    report.notes.iter().for_each(|note| talk!("note: {note}"));
    if report.num_bad > 0 {
        talk!("{report}");
    }
}

fn parse_escape(text: &str) -> std::result::Result<u8, String> {
    csv_escape_of(text)
        .ok_or_else(|| "one ASCII character that is no quote, comma or line end, such as '\\'".into())
}

pub fn parse_fraction(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err("a number from 0 to 1".into()),
    }
}
