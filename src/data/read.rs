//! Inputs in any format, one after the other, to wherever rows go.

use super::input::Input;
use super::intake::{Intake, Sink};
use super::options::{Format, ReadOptions};
use super::report::ReadReport;
use super::row::{Place, Row};
use super::stream::Stream;
use super::{arrow_rows, csv_rows, json_lines, parquet_rows};
use crate::{Error, Result};

/// Reads every row of `inputs` in order and hands the good ones to `on_row`, with their places.
///
/// # Errors
///
/// [`Error::Data`] with file and line for a bad row (`OnBadRow::Fail`), too many bad rows, an input whose
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
pub(super) fn read_into(inputs: &[Input], options: &ReadOptions, sink: Sink<'_>) -> Result<ReadReport> {
    let mut intake = Intake::new(inputs, options, sink)?;
    let result = inputs.iter().try_for_each(|input| read_input(input, options, &mut intake));
    let report = intake.finish(result)?;
    if report.num_rows == 0 {
        let names: Vec<String> = inputs.iter().take(5).map(|input| format!("`{input}`")).collect();
        let more = if inputs.len() > 5 { format!(" and {} more", inputs.len() - 5) } else { String::new() };
        return Err(Error::data(
            names.join(", ") + &more,
            "no rows",
            "give at least one row of `entity,address`",
        ));
    }
    Ok(report)
}

fn read_input(input: &Input, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    read_stream(Stream::open(input)?, options, intake)
}

pub(super) fn read_stream(mut stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    intake.begin_input();
    let format = match options.format {
        Some(format) => format,
        None => stream.sniff_format()?,
    };
    match format {
        Format::Csv => csv_rows::read(stream, options, intake),
        Format::JsonLines => json_lines::read(stream, options, intake),
        Format::Parquet => parquet_rows::read(stream, options, intake),
        Format::Arrow => arrow_rows::read(stream, options, intake),
    }
}
