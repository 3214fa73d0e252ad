//! Rows from CSV: `entity,address` without a header, or columns by position or by name.

use super::blocks::{BLOCK, Blocks};
use super::columns::{Columns, Role, index_of, no_such_column};
use super::csv_blocks;
use super::csv_layout::{Layout, OwnedRecord, layout_error, separator_in, too_few_columns};
use super::csv_records::{CsvRecord, CsvRecords, RecordScanner, fields_of};
use super::intake::Intake;
use super::names::shown;
use super::options::ReadOptions;
use super::row::{Place, RowRules};
use super::source::Source;
use super::stream::Stream;
use super::text::Text;
use crate::{At, Error, Result};

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
    let mut records = CsvRecords::new(Text::new(stream)?, options.csv_escape);
    let has_header = chosen.has_names();
    let mut header = None;
    let columns = if has_header {
        match first_record(&mut records)? {
            Some(found) => {
                let columns = chosen.find_in(&found, &name, intake)?;
                header = Some(found.raw.to_vec());
                columns
            }
            None => return Ok(()),
        }
    } else {
        chosen.positions()
    };
    let rows =
        CsvRows { name: &name, columns, header, rules: RowRules::of(options), escape: options.csv_escape };
    let Some(first) = first_record(&mut records)? else { return Ok(()) };
    if !rows.is_odd(&first) {
        note_float(&first, &rows, intake);
        rows.take(&first, intake)?;
    } else {
        // What it is shows in the row behind it, too, which may be long in coming.
        let kept = OwnedRecord::of(&first);
        let layout = Layout {
            name: &name,
            columns: &rows.columns,
            names: &names,
            families: options.addresses,
            has_header,
        };
        if let Some(error) = layout_error(&kept, None, &layout) {
            let second = first_record(&mut records)?.map(|second| OwnedRecord::of(&second));
            return Err(layout_error(&kept, second.as_ref(), &layout).unwrap_or(error));
        }
        rows.take(&first, intake)?;
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
    /// The line with the columns' names: where files were put together it stands among the rows, too.
    header: Option<Vec<u8>>,
    rules: RowRules,
    escape: Option<u8>,
}

impl CsvRows<'_> {
    /// Hands on all rows of `text`, which are parsed in blocks.
    fn take_blocks(&self, text: Text, block_size: usize, intake: &mut Intake<'_>) -> Result<()> {
        let mut line = text.line();
        let (columns, rules) = (self.columns.clone(), (self.rules, self.escape));
        let mut blocks = Blocks::read(text.into_stream(), block_size, move |text, at_end, parsed| {
            csv_blocks::parse(text, at_end, &columns, rules, parsed);
        })?;
        let mut scanner = RecordScanner::new(self.escape);
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
            let mut records = CsvRecords::new(Text::from_line(&mut blocks, line), self.escape);
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

    /// Whether a first row shows that the whole file is not what the options say; no choice of
    /// [`super::options::OnBadRow`] can make sense of the rest.
    fn is_odd(&self, record: &CsvRecord<'_>) -> bool {
        if record.is_unclosed || record.has_text_behind_quote {
            return false;
        }
        let last = self.columns.all().into_iter().map(|(_, column)| *column).max().unwrap_or(0);
        let Some(ip) = record.field(self.columns.ip).filter(|_| record.num_fields() > last) else {
            return true;
        };
        self.rules.families.parse(ip).is_none()
    }

    fn take(&self, record: &CsvRecord<'_>, intake: &mut Intake<'_>) -> Result<()> {
        if is_blank(record) || self.header.as_deref() == Some(record.raw) {
            return Ok(());
        }
        read_record(record, &self.columns, Place::Line(self.name, record.line), intake)
    }
}

fn is_blank(record: &CsvRecord<'_>) -> bool {
    is_blank_text(record.raw)
}

fn is_blank_text(raw: &[u8]) -> bool {
    raw.iter().all(|byte| matches!(byte, b' ' | b'\t'))
}

fn read_record(
    record: &CsvRecord<'_>,
    columns: &Columns<usize>,
    place: Place<'_>,
    intake: &mut Intake<'_>,
) -> Result<()> {
    match fields_of(record, columns) {
        Ok(fields) => intake.row(place, fields, record.raw),
        Err(reason) => intake.bad(place, reason, record.raw),
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
    fn find_in(&self, header: &CsvRecord<'_>, name: &str, intake: &mut Intake<'_>) -> Result<Columns<usize>> {
        let place = Place::Line(name, header.line).to_string();
        if header.num_fields() == 1 && separator_in(header.raw).is_some() {
            return Err(too_few_columns(&OwnedRecord::of(header), 1, place));
        }
        let valid: Vec<_> = header.fields().map(String::from_utf8_lossy).collect();
        let valid: Vec<&str> = valid.iter().map(|name| &**name).collect();
        let found = self.try_map(|role, column| match column {
            ColumnRef::Position(position) => Ok(*position),
            ColumnRef::Name(wanted) => index_of(wanted, valid.iter().copied(), &mut |note| intake.note(note))
                .ok_or_else(|| no_such_column(role, wanted, &place, &valid)),
        })?;
        found.check_distinct()?;
        Ok(found)
    }
}

/// The next record that is no blank line, and no line in which a program says of what the file is: Windows PowerShell
/// writes `#TYPE …` before the header, Excel `sep=…`.
fn first_record<S: Source>(records: &mut CsvRecords<S>) -> Result<Option<CsvRecord<'_>>> {
    // A record that is returned is borrowed for good, so the others are passed over first.
    loop {
        let is_skipped = match records.peek()? {
            Some(raw) => is_blank_text(raw) || is_preamble(raw),
            None => false,
        };
        if !is_skipped {
            return records.next();
        }
        records.next()?;
    }
}

fn is_preamble(raw: &[u8]) -> bool {
    let raw = raw.strip_prefix(b"\"").unwrap_or(raw);
    raw.starts_with(b"#TYPE ") || (raw.starts_with(b"sep=") && raw.len() <= b"sep=;\"".len())
}

/// Says once where identifiers look like floating-point numbers: what else names the account has no `.0`.
fn note_float(record: &CsvRecord<'_>, rows: &CsvRows<'_>, intake: &mut Intake<'_>) {
    let entity = record.field(rows.columns.entity).unwrap_or_default();
    let Some(whole) = entity.strip_suffix(b".0") else { return };
    if !whole.is_empty() && whole.iter().all(u8::is_ascii_digit) {
        let place = Place::Line(rows.name, record.line);
        let (shown, whole) = (shown(entity), shown(whole));
        intake.note(format!(
            "{place}: the entity {shown} is another than {whole}; a missing identifier makes a column floating-point: \
             write it as Int64 or text"
        ));
    }
}
