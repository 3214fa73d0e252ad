//! Readers: from files, folders, globs and stdin to events.
//!
//! Rows are read one at a time from reused buffers where somebody wants to see them ([`read_rows`]). Where events
//! suffice, text is read, hashed and parsed in blocks side by side: [`load_events`] holds events as two columns
//! in memory and maps prepared Arrow files ([`write_prepared`]) without copying them.
//!
//! What a file is, is decided by its bytes and never by its name: `.gz` and `.zst` by their magic, Parquet
//! and Arrow by theirs, JSON Lines by a leading `{`; anything else is CSV.

mod bad_rows;
mod blocks;
mod columns;
mod csv_blocks;
mod csv_records;
mod csv_rows;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod heaviest;
mod input;
mod intake;
mod json_lines;
mod limits;
mod mapped;
mod mini_batch;
mod order;
mod parquet_rows;
mod prepared;
mod stream;
mod text;
mod time;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::event::IpSyntax;
use crate::{Error, Result, nearest};

pub(crate) use bad_rows::{BadRow, shown};
pub(crate) use csv_blocks::events_of_csv;
pub use events::{DataDigest, Events, load_events};
pub use heaviest::{Heaviest, Heavy};
pub use input::{Input, resolve_inputs};
pub use intake::Place;
pub use limits::{EventLimits, LeftOut};
pub(crate) use mapped::map_file;
pub use mini_batch::{MiniBatch, segments};
pub use order::EpochOrder;
pub use prepared::{write_events, write_prepared};
pub(crate) use stream::{Stream, compression_of};
pub(crate) use text::{MAX_LINE, Source};
pub(crate) use time::{civil_seconds, date_of, rfc3339_utc, unix_seconds};

use intake::{Intake, Sink};

/// The format of an input, after decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values, without a header unless a column is named.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet.
    Parquet,
    /// A prepared file: Arrow IPC with hashed entities.
    Arrow,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const NAMES: [&str; 4] = ["csv", "jsonl", "parquet", "arrow"];
        match text {
            "csv" => Ok(Format::Csv),
            "jsonl" => Ok(Format::JsonLines),
            "parquet" => Ok(Format::Parquet),
            "arrow" => Ok(Format::Arrow),
            _ => {
                Err(Error::config("--input-format", format!("no such format `{text}`"), one_of(text, &NAMES)))
            }
        }
    }
}

/// What happens with a row that is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnBadRow {
    /// The first bad row is an error.
    Fail,
    /// Bad rows are counted by reason and left out.
    Skip,
    /// As [`OnBadRow::Skip`], and each bad row is written to this file as it stood, one a line. The file is
    /// replaced at the end of the reading, whether that succeeds or fails.
    Quarantine(PathBuf),
}

impl OnBadRow {
    /// The same choice for another reading of one run, `part`: a reading replaces its quarantine file, so each has
    /// its own, `FILE.part`.
    pub fn of_part(&self, part: &str) -> Self {
        let mut on_bad_row = self.clone();
        if let OnBadRow::Quarantine(file) = &mut on_bad_row {
            file.as_mut_os_string().push(format!(".{part}"));
        }
        on_bad_row
    }
}

impl FromStr for OnBadRow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            None if text == "fail" => Ok(OnBadRow::Fail),
            None if text == "skip" => Ok(OnBadRow::Skip),
            Some(("quarantine", file)) if !file.is_empty() => Ok(OnBadRow::Quarantine(file.into())),
            _ => {
                let help = one_of(text, &["fail", "skip", "quarantine=FILE"]);
                Err(Error::config("--on-bad-row", format!("no such choice `{text}`"), help))
            }
        }
    }
}

/// How inputs are read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The format of every input; `None` decides by content, input by input.
    pub format: Option<Format>,
    /// The entity's column, by default 1 in CSV and `entity` elsewhere. In CSV a number is a position from 1,
    /// and a name says that the first line is a header.
    pub entity_column: Option<String>,
    /// The IPv4 address's column, by default 2 in CSV and `ip` elsewhere.
    pub ip_column: Option<String>,
    /// Whether the rows carry labels, by default in column 3 of CSV and under `label` elsewhere.
    pub labels: bool,
    /// The column of labels (0, 1, true or false), if it is another one; there are labels, then.
    pub label_column: Option<String>,
    /// The column of an attack's kind, any text, where there is one.
    pub kind_column: Option<String>,
    /// The column of an event's time, where there is one: Unix seconds or RFC 3339.
    pub time_column: Option<String>,
    /// What is an address: IPv4, and IPv4-mapped IPv6 addresses if that is wanted.
    pub ip_syntax: IpSyntax,
    /// What happens with a row that is not an event.
    pub on_bad_row: OnBadRow,
    /// The largest share of bad rows that is put up with, in `0.0..=1.0`. Reading also stops early, once the
    /// bad rows are more than 100 and more than this share of the rows so far.
    pub max_bad_fraction: f64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            entity_column: None,
            ip_column: None,
            labels: false,
            label_column: None,
            kind_column: None,
            time_column: None,
            ip_syntax: IpSyntax::Ipv4,
            on_bad_row: OnBadRow::Fail,
            max_bad_fraction: 0.001,
        }
    }
}

/// One good row of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The entity's bytes as they stand in the input, never empty.
    pub entity: &'a [u8],
    /// The IPv4 address as an integer, first octet in the highest byte.
    pub ip: u32,
    /// The label, when [`ReadOptions::labels`] asks for it.
    pub label: Option<bool>,
    /// The text of [`ReadOptions::kind_column`]; empty where the row has none.
    pub kind: Option<&'a [u8]>,
    /// The time of [`ReadOptions::time_column`] in whole seconds since 1970-01-01T00:00:00Z.
    pub seconds: Option<i64>,
}

/// What was read. `Display` tells people about the bad rows and is empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Good rows.
    pub num_rows: u64,
    /// Bad rows, which were skipped or quarantined.
    pub num_bad: u64,
    /// Bad rows by reason.
    pub bad_by_reason: BTreeMap<&'static str, u64>,
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.num_bad == 0 {
            return Ok(());
        }
        write!(f, "{} of {} rows are bad", self.num_bad, self.num_rows + self.num_bad)?;
        let mut reasons: Vec<_> = self.bad_by_reason.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (i, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{} {count} {reason}", if i == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// Reads every row of `inputs` in order and hands the good ones to `on_row`, with their places.
///
/// # Errors
///
/// [`Error::Data`] with file and line for a bad row ([`OnBadRow::Fail`]), too many bad rows, an input whose
/// first row shows that it is not what the options say, damaged files, a prepared file (it holds hashes, not
/// entities) and inputs without a single row; [`Error::Config`] for columns that are not there;
/// [`Error::Io`] when reading fails; and any error of `on_row`.
pub fn read_rows(
    inputs: &[Input],
    options: &ReadOptions,
    on_row: &mut dyn FnMut(Row<'_>, Place<'_>) -> Result<()>,
) -> Result<ReadReport> {
    read_into(inputs, options, Sink::Rows(on_row))
}

/// Reads `inputs` in order into `sink`.
fn read_into(inputs: &[Input], options: &ReadOptions, sink: Sink<'_>) -> Result<ReadReport> {
    let mut intake = Intake::new(inputs, options, sink)?;
    let result = inputs.iter().try_for_each(|input| read_input(input, options, &mut intake));
    let report = intake.finish(result)?;
    if report.num_rows == 0 {
        let names: Vec<String> = inputs.iter().take(5).map(|input| format!("`{input}`")).collect();
        let more = if inputs.len() > 5 { format!(" and {} more", inputs.len() - 5) } else { String::new() };
        return Err(Error::data(
            names.join(", ") + &more,
            "no rows",
            "give at least one row of `entity,ipv4`",
        ));
    }
    Ok(report)
}

fn read_input(input: &Input, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    read_stream(Stream::open(input)?, options, intake)
}

fn read_stream(mut stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    let format = match options.format {
        Some(format) => format,
        None => stream.sniff_format()?,
    };
    match format {
        Format::Csv => csv_rows::read(stream, options, intake),
        Format::JsonLines => json_lines::read(stream, options, intake),
        Format::Parquet => parquet_rows::read(stream, options, intake),
        Format::Arrow => intake.prepared(stream),
    }
}

/// A help text that lists the valid names, and first the one that was probably meant.
fn one_of(name: &str, valid: &[&str]) -> String {
    let list = shown_names(valid.iter().copied());
    match nearest(name, valid.iter().copied()) {
        Some(near) => format!("did you mean {}? There are {list}", shown(near.as_bytes())),
        None => format!("take one of {list}"),
    }
}

/// Names of an input for a message, as many as anybody would read: they are whatever somebody has written there.
pub(crate) fn shown_names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MAX_NAMES: usize = 30;
    let mut names = names.map(|name| shown(name.as_bytes()));
    let mut list = names.by_ref().take(MAX_NAMES).collect::<Vec<_>>().join(", ");
    let num_more = names.count();
    if num_more > 0 {
        list += &format!(" and {num_more} more");
    }
    list
}

#[cfg(test)]
mod tests;
