//! Rows from CSV: `entity,address` without a header, or columns by position or by name.

use super::bad_rows::BadRow;
use super::blocks::{BLOCK, Blocks};
use super::columns::{Columns, Role, no_such_column};
use super::csv_blocks;
use super::csv_records::{CsvRecord, CsvRecords, RecordScanner, fields_of};
use super::intake::Intake;
use super::names::shown;
use super::options::ReadOptions;
use super::row::Place;
use super::stream::Stream;
use super::text::Text;
use crate::event::AddressFamilies;
use crate::{At, Error, Result};

/// What stands where an address is unknown, so that a first row with it is not taken for a header.
const UNKNOWN: [&str; 7] = ["null", "none", "nan", "na", "n/a", "nil", "unknown"];

/// Reads all rows of `stream` into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    read_in_blocks(stream, options, intake, BLOCK)
}

/// As [`read`], in blocks of `block_size` bytes where blocks are of use.
pub(super) fn read_in_blocks(
    stream: Stream,
    options: &ReadOptions,
    intake: &mut Intake<'_>,
    block_size: usize,
) -> Result<()> {
    let names = Columns::of(options, ["1", "2", "3"])?;
    let chosen = names.try_map(|role, text| ColumnRef::parse(text, role))?;
    let name = stream.name().to_string();
    let mut records = CsvRecords::new(Text::new(stream)?);
    let has_header = chosen.has_names();
    let columns = if has_header {
        match records.next()? {
            Some(header) => chosen.find_in(&header, &name)?,
            None => return Ok(()),
        }
    } else {
        chosen.positions()
    };
    let rows = CsvRows { name: &name, columns, families: options.addresses };
    loop {
        let Some(first) = records.next()? else { return Ok(()) };
        if !is_blank(&first) {
            let place = Place::Line(&name, first.line).to_string();
            check_first(&first, &rows, &names, has_header, place)?;
            rows.take(&first, intake)?;
            break;
        }
    }
    if Blocks::are_of_use(records.text(), intake) {
        return rows.take_blocks(records.into_text(), block_size, intake);
    }
    while let Some(record) = records.next()? {
        rows.take(&record, intake)?;
    }
    Ok(())
}

/// The rows of one input.
struct CsvRows<'a> {
    name: &'a str,
    columns: Columns<usize>,
    families: AddressFamilies,
}

impl CsvRows<'_> {
    /// Hands on all rows of `text`, which are parsed in blocks.
    fn take_blocks(&self, text: Text, block_size: usize, intake: &mut Intake<'_>) -> Result<()> {
        let mut line = text.line();
        let (columns, families) = (self.columns.clone(), self.families);
        let mut blocks = Blocks::read(text.into_stream(), block_size, move |text, at_end, parsed| {
            csv_blocks::parse(text, at_end, &columns, families, parsed);
        })?;
        let mut scanner = RecordScanner::default();
        let mut take_odd = |raw: &[u8], line, intake: &mut Intake<'_>| match scanner.find(raw, true) {
            Some(extent) => self.take(&scanner.split(raw, &extent, line), intake),
            None => Ok(()),
        };
        while let Some(num_lines) = blocks.next(line, intake, &mut take_odd)? {
            line += num_lines;
            if blocks.is_between_blocks() {
                continue;
            }
            // A record that reaches into the next block is read as text, and so is that block, until the end of
            // a record is that of a block.
            let mut records = CsvRecords::new(Text::from_line(&mut blocks, line));
            while !records.text().is_between_blocks() {
                match records.next()? {
                    Some(record) => self.take(&record, intake)?,
                    None => return Ok(()),
                }
            }
            line = records.text().line();
        }
        Ok(())
    }

    fn take(&self, record: &CsvRecord<'_>, intake: &mut Intake<'_>) -> Result<()> {
        if is_blank(record) {
            return Ok(());
        }
        read_record(record, &self.columns, Place::Line(self.name, record.line), intake)
    }
}

fn is_blank(record: &CsvRecord<'_>) -> bool {
    record.raw.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

fn read_record(
    record: &CsvRecord<'_>,
    columns: &Columns<usize>,
    place: Place<'_>,
    intake: &mut Intake<'_>,
) -> Result<()> {
    // A quote that is never closed has swallowed the rows behind it.
    if record.is_unclosed {
        return intake.bad(place, BadRow::UnclosedQuote, record.raw);
    }
    match fields_of(record, columns) {
        Some(fields) => intake.row(place, fields, record.raw),
        None => intake.bad(place, BadRow::TooFewColumns, record.raw),
    }
}

/// A column as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ColumnRef {
    /// A position from 0.
    Position(usize),
    Name(String),
}

impl ColumnRef {
    fn parse(text: &str, role: Role) -> Result<Self> {
        match text.parse::<usize>() {
            Ok(0) => {
                let at = At::option(role.option());
                Err(Error::config(at, "there is no column 0", "columns are counted from 1"))
            }
            Ok(position) => Ok(ColumnRef::Position(position - 1)),
            Err(_) => Ok(ColumnRef::Name(text.to_string())),
        }
    }
}

impl Columns<ColumnRef> {
    fn has_names(&self) -> bool {
        self.all().iter().any(|(_, column)| matches!(column, ColumnRef::Name(_)))
    }

    /// The positions, when there are no names.
    fn positions(&self) -> Columns<usize> {
        let position = |column: &ColumnRef| match column {
            ColumnRef::Position(position) => *position,
            ColumnRef::Name(_) => usize::MAX,
        };
        Columns {
            entity: position(&self.entity),
            ip: position(&self.ip),
            label: self.label.as_ref().map(position),
            kind: self.kind.as_ref().map(position),
            time: self.time.as_ref().map(position),
        }
    }

    /// The positions, with the names looked up in the header.
    fn find_in(&self, header: &CsvRecord<'_>, name: &str) -> Result<Columns<usize>> {
        let place = Place::Line(name, header.line).to_string();
        let found = self.try_map(|role, column| match column {
            ColumnRef::Position(position) => Ok(*position),
            ColumnRef::Name(wanted) => {
                header.fields().position(|field| field == wanted.as_bytes()).ok_or_else(|| {
                    let valid: Vec<_> = header.fields().map(String::from_utf8_lossy).collect();
                    let valid: Vec<&str> = valid.iter().map(|name| &**name).collect();
                    no_such_column(role, wanted, &place, &valid)
                })
            }
        })?;
        found.check_distinct()?;
        Ok(found)
    }
}

/// Refuses a first row which shows that the whole file is not what the options say; no choice of
/// [`super::options::OnBadRow`] can make sense of the rest.
fn check_first(
    record: &CsvRecord<'_>,
    CsvRows { columns, families, .. }: &CsvRows<'_>,
    names: &Columns<String>,
    has_header: bool,
    place: String,
) -> Result<()> {
    if record.is_unclosed {
        return Ok(());
    }
    let last = columns.all().into_iter().map(|(_, column)| *column).max().unwrap_or(0);
    if record.num_fields() <= last {
        return Err(too_few_columns(record, last, place));
    }
    let (Some(entity), Some(ip)) = (record.field(columns.entity), record.field(columns.ip)) else {
        return Ok(());
    };
    if families.parse(ip).is_some() {
        return Ok(());
    }
    if families.parse(entity).is_some() {
        let what = format!("the columns are swapped: {}", shown(record.raw));
        let help = format!("name them the other way: entity_column {} ip_column {}", names.ip, names.entity);
        return Err(Error::data(place, what, help));
    }
    if !has_header && looks_like_name(ip) {
        let name = |field| shell_word(&String::from_utf8_lossy(field));
        let help = format!(
            "remove the first line, or name its columns: entity_column {} ip_column {}",
            name(entity),
            name(ip)
        );
        return Err(Error::data(place, format!("looks like a header: {}", shown(record.raw)), help));
    }
    Ok(())
}

fn too_few_columns(record: &CsvRecord<'_>, last: usize, place: String) -> Error {
    let what = match record.num_fields() {
        1 => format!("has one column: {}", shown(record.raw)),
        num => format!("has {num} columns, column {} is wanted: {}", last + 1, shown(record.raw)),
    };
    let separator = [(b'\t', "tab"), (b';', "semicolon"), (b'|', "bar")]
        .into_iter()
        .find(|(byte, _)| record.num_fields() == 1 && record.raw.contains(byte));
    let help = match separator {
        Some((byte, name)) => format!(
            "expected entity,address; here is a {name} instead of the comma: convert it with tr '{}' ','",
            (byte as char).escape_default()
        ),
        None if record.raw.starts_with(b"[") => {
            "expected entity,address; a JSON array becomes JSON Lines with jq -c '.[]'".into()
        }
        None => "expected entity,address".into(),
    };
    Error::data(place, what, help)
}

/// Whether the text where an address should be is rather a column's name.
fn looks_like_name(ip: &[u8]) -> bool {
    let text = String::from_utf8_lossy(ip);
    let has_octets =
        ip.windows(3).any(|three| three[0].is_ascii_digit() && three[1] == b'.' && three[2].is_ascii_digit());
    text.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && !has_octets
        && BadRow::of_address(ip, AddressFamilies::Both) == BadRow::NotAddress
        && !UNKNOWN.contains(&text.to_lowercase().as_str())
}

/// The text as it can be pasted into a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "_-.".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_string()
    } else {
        // What steers a terminal is not to be pasted.
        let printable: String = text.chars().filter(|char| !char.is_control()).collect();
        format!("'{}'", printable.replace('\'', "'\\''"))
    }
}
