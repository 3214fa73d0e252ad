//! How inputs are read.

use std::path::PathBuf;
use std::str::FromStr;

use super::names::one_of;
use crate::event::AddressFamilies;
use crate::{At, Error, Result};

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
            _ => Err(Error::config(
                At::option("input_format"),
                format!("no such format `{text}`"),
                one_of(text, &NAMES),
            )),
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
                Err(Error::config(At::option("on_bad_row"), format!("no such choice `{text}`"), help))
            }
        }
    }
}

/// The escape of quoted fields of CSV that a text names: one ASCII character without a meaning of its own.
pub fn csv_escape_of(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [b'"' | b',' | b'\n' | b'\r' | b' '] => None,
        [escape] => Some(*escape),
        _ => None,
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
    /// The address's column, by default 2 in CSV and `ip` elsewhere.
    pub ip_column: Option<String>,
    /// Whether the rows carry labels, by default in column 3 of CSV and under `label` elsewhere.
    pub labels: bool,
    /// The column of labels (0, 1, true or false), if it is another one; there are labels, then.
    pub label_column: Option<String>,
    /// The column of an attack's kind, any text, where there is one.
    pub kind_column: Option<String>,
    /// The column of an event's time, where there is one: Unix seconds or RFC 3339.
    pub time_column: Option<String>,
    /// The families of addresses that are taken; a row with another is bad.
    pub addresses: AddressFamilies,
    /// Whether names that stand for nobody (`-`, `""`, `\N`, `NULL`, `nan`, `None`) are entities; else they are bad rows.
    pub keep_nobody: bool,
    /// What makes the byte behind it literal in a quoted field of CSV, beside doubled quotes.
    pub csv_escape: Option<u8>,
    /// What happens with a row that is not an event.
    pub on_bad_row: OnBadRow,
    /// The largest share of bad rows that is accepted, in `0.0..=1.0`. Reading also stops early, once the
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
            addresses: AddressFamilies::Ipv4,
            keep_nobody: false,
            csv_escape: None,
            on_bad_row: OnBadRow::Fail,
            max_bad_fraction: 0.001,
        }
    }
}
