//! What a first row of CSV shows that is not laid out as the options say.

use super::bad_rows::BadRow;
use super::columns::Columns;
use super::csv_records::CsvRecord;
use super::names::shown;
use super::row::Place;
use crate::Error;
use crate::event::{AddressFamilies, parse_address};

/// What stands where an address is unknown, so that a first row with it is not taken for a header.
const UNKNOWN: [&str; 7] = ["null", "none", "nan", "na", "n/a", "nil", "unknown"];

/// A record that is kept.
pub(super) struct OwnedRecord {
    line: u64,
    raw: Vec<u8>,
    fields: Vec<Vec<u8>>,
}

impl OwnedRecord {
    pub(super) fn of(record: &CsvRecord<'_>) -> Self {
        let fields = record.fields().map(<[u8]>::to_vec).collect();
        OwnedRecord { line: record.line, raw: record.raw.to_vec(), fields }
    }

    fn field(&self, index: usize) -> &[u8] {
        self.fields.get(index).map_or(b"", Vec::as_slice)
    }

    /// The position of the first field, other than `but`, that is an address.
    fn address_column(&self, but: usize) -> Option<usize> {
        let is_address = |(index, field): &(usize, &Vec<u8>)| *index != but && parse_address(field).is_some();
        self.fields.iter().enumerate().find(is_address).map(|(index, _)| index)
    }
}

/// How a file was expected to be laid out.
pub(super) struct Layout<'a> {
    /// The input's name.
    pub(super) name: &'a str,
    pub(super) columns: &'a Columns<usize>,
    /// The columns as they were asked for.
    pub(super) names: &'a Columns<String>,
    pub(super) families: AddressFamilies,
    pub(super) has_header: bool,
}

/// The error for a first row whose address is none; `None` where the row itself is bad and not the layout.
pub(super) fn layout_error(
    first: &OwnedRecord,
    second: Option<&OwnedRecord>,
    layout: &Layout<'_>,
) -> Option<Error> {
    let &Layout { name, columns, names, families, has_header } = layout;
    let place = Place::Line(name, first.line).to_string();
    let last = columns.all().into_iter().map(|(_, column)| *column).max().unwrap_or(0);
    if first.fields.len() <= last {
        return Some(too_few_columns(first, last, place));
    }
    if families.parse(first.field(columns.entity)).is_some() {
        let what = format!("the columns are swapped: {}", shown(&first.raw));
        let help = format!("name them the other way: entity_column {} ip_column {}", names.ip, names.entity);
        return Some(Error::data(place, what, help));
    }
    if !has_header && looks_like_name(first.field(columns.ip)) && first.address_column(usize::MAX).is_none() {
        return Some(header_error(first, second, columns, place));
    }
    // Beside columns that were named, another address is something else.
    let address = first.address_column(columns.ip).filter(|_| !has_header)?;
    let entity = entity_beside(first, address, None);
    let what =
        format!("column {} has no address, column {}: {}", columns.ip + 1, address + 1, shown(&first.raw));
    let help = format!("say which they are: entity_column {} ip_column {}", entity + 1, address + 1);
    Some(Error::data(place, what, help))
}

/// The position of what is likely the entity beside the address: the first column that is no address and, as pandas'
/// index is, neither without a name nor a number that counts the rows.
fn entity_beside(row: &OwnedRecord, address: usize, header: Option<&OwnedRecord>) -> usize {
    let is_index = |index: usize| {
        let has_no_name = header.is_some_and(|header| header.field(index).is_empty());
        has_no_name || (header.is_none() && index == 0 && matches!(row.field(0), b"0" | b"1"))
    };
    let is_entity =
        |index: &usize| *index != address && !is_index(*index) && parse_address(row.field(*index)).is_none();
    (0..row.fields.len()).find(is_entity).unwrap_or(0)
}

fn header_error(
    header: &OwnedRecord,
    second: Option<&OwnedRecord>,
    columns: &Columns<usize>,
    place: String,
) -> Error {
    // The names are those of the columns in which the next row has an address and something else.
    let address =
        second.and_then(|second| second.address_column(usize::MAX).map(|address| (second, address)));
    let (entity, ip) = match address {
        Some((second, address)) => (entity_beside(second, address, Some(header)), address),
        None => (columns.entity, columns.ip),
    };
    let name = |index| shell_word(&String::from_utf8_lossy(header.field(index)));
    let index = match header.field(0) {
        b"" => "; the first column is an index, as pandas writes it",
        _ => "",
    };
    let help = format!(
        "remove the first line, or name its columns: entity_column {} ip_column {}{index}",
        name(entity),
        name(ip)
    );
    Error::data(place, format!("looks like a header: {}", shown(&header.raw)), help)
}

/// What separates the columns of a line without a comma, and its name.
pub(super) fn separator_in(raw: &[u8]) -> Option<(u8, &'static str)> {
    [(b'\t', "tab"), (b';', "semicolon"), (b'|', "bar")].into_iter().find(|(byte, _)| raw.contains(byte))
}

pub(super) fn too_few_columns(record: &OwnedRecord, last: usize, place: String) -> Error {
    let what = match record.fields.len() {
        1 => format!("has one column: {}", shown(&record.raw)),
        num => format!("has {num} columns, column {} is wanted: {}", last + 1, shown(&record.raw)),
    };
    let separator = separator_in(&record.raw).filter(|_| record.fields.len() == 1);
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
