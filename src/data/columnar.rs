//! Rows from record batches: columns by name, by dotted path where they are nested, or from the names of the folders
//! that a table is partitioned by.

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::net::Ipv4Addr;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt32Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray, downcast_integer_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, FieldRef, Fields as SchemaFields, TimeUnit};

use super::bad_rows::BadRow;
use super::columns::{Columns, Role, index_of, no_such_column};
use super::intake::Intake;
use super::options::ReadOptions;
use super::row::{Fields, Place};
use super::time::rfc3339_utc;
use crate::{Error, Result};

/// Where the values of a role are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Column(Column),
    /// The same for every row: it stands in the name of a folder.
    Constant(String),
}

/// A column of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// The names of the structs around it and its own.
    pub(super) path: Vec<String>,
    pub(super) data_type: DataType,
    /// Whether its 16 bytes are a UUID.
    pub(super) is_uuid: bool,
}

/// The name of the type of UUIDs among Arrow's extension types.
const UUID_EXTENSION: &str = "arrow.uuid";

/// Finds the columns of `options` among `fields`, and what is not there in the path `name` of a partitioned table.
pub(super) fn columns_in(
    fields: &SchemaFields,
    options: &ReadOptions,
    name: &str,
    intake: &mut Intake<'_>,
) -> Result<Columns<Source>> {
    let names = Columns::of(options, [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))?;
    names.try_map(|role, wanted| {
        if let Some(path) = path_in(fields, wanted) {
            return Ok(Source::Column(column_at(&path)));
        }
        if let Some(value) = partition_value(name, wanted) {
            return Ok(Source::Constant(value));
        }
        let roots = || fields.iter().map(|field| field.name().as_str());
        match index_of(wanted, roots(), &mut |note| intake.note(note)) {
            Some(index) => Ok(Source::Column(column_at(&[fields[index].clone()]))),
            None => {
                let valid = leaf_names(fields);
                let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
                Err(no_such_column(role, wanted, name, &valid))
            }
        }
    })
}

/// The fields from the root to the one at a dotted path. A name may have dots itself: the longest counts first.
fn path_in(fields: &SchemaFields, path: &str) -> Option<Vec<FieldRef>> {
    let named = |name: &str| fields.iter().find(|field| field.name() == name);
    if let Some(field) = named(path) {
        return Some(vec![field.clone()]);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let field = named(&path[..dot])?;
        let DataType::Struct(inner) = field.data_type() else { return None };
        let mut rest = path_in(inner, &path[dot + 1..])?;
        rest.insert(0, field.clone());
        Some(rest)
    })
}

fn column_at(path: &[FieldRef]) -> Column {
    let last = path.last();
    Column {
        path: path.iter().map(|field| field.name().clone()).collect(),
        data_type: last.map_or(DataType::Null, |field| field.data_type().clone()),
        is_uuid: last.is_some_and(|field| field.extension_type_name() == Some(UUID_EXTENSION)),
    }
}

/// The dotted paths of all columns that are not structs themselves.
fn leaf_names(fields: &SchemaFields) -> Vec<String> {
    let of_field = |field: &FieldRef| match field.data_type() {
        DataType::Struct(inner) => {
            leaf_names(inner).into_iter().map(|leaf| format!("{}.{leaf}", field.name())).collect()
        }
        _ => vec![field.name().clone()],
    };
    fields.iter().flat_map(of_field).collect()
}

/// The value of `key` in the names of folders such as `day=2026-01-01/`, with `%2F` and such decoded.
pub(super) fn partition_value(path: &str, key: &str) -> Option<String> {
    let folders = path.rsplit('/').skip(1);
    let value = folders.filter_map(|folder| folder.split_once('=')).find(|(name, _)| *name == key)?.1;
    let bytes = value.as_bytes();
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code = value.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    // What stands for a null in such a name.
    String::from_utf8(decoded).ok().filter(|value| value != "__HIVE_DEFAULT_PARTITION__")
}

/// Reads batches one after the other.
pub(super) struct Batches<'a> {
    columns: &'a Columns<Source>,
    name: &'a str,
    num_before: u64,
}

impl<'a> Batches<'a> {
    pub(super) fn new(columns: &'a Columns<Source>, name: &'a str) -> Self {
        Batches { columns, name, num_before: 0 }
    }

    pub(super) fn read(&mut self, batch: &RecordBatch, intake: &mut Intake<'_>) -> Result<()> {
        let columns = self.columns.try_map(|role, source| TextColumn::of(source, batch, role, self.name))?;
        let (mut entity, mut ip, mut label, mut raw) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut kind, mut time) = (Vec::new(), Vec::new());
        for row in 0..batch.num_rows() {
            let has_entity = columns.entity.read(row, &mut entity);
            let has_ip = columns.ip.read(row, &mut ip);
            let has_label = columns.label.as_ref().is_none_or(|column| column.read(row, &mut label));
            // A null is no kind.
            columns.kind.as_ref().inspect(|column| _ = column.read(row, &mut kind));
            let has_time = columns.time.as_ref().is_none_or(|column| column.read(row, &mut time));
            raw.clear();
            raw.extend_from_slice(&entity);
            raw.push(b',');
            raw.extend_from_slice(&ip);
            let place = Place::Row(self.name, self.num_before + row as u64 + 1);
            if has_entity && has_ip && has_label && has_time {
                let fields = Fields {
                    entity: &entity,
                    ip: &ip,
                    label: columns.label.is_some().then_some(&label),
                    kind: columns.kind.is_some().then_some(&kind),
                    time: columns.time.is_some().then_some(&time),
                };
                intake.row(place, fields, &raw)?;
            } else {
                intake.bad(place, BadRow::MissingValue, &raw)?;
            }
        }
        self.num_before += batch.num_rows() as u64;
        Ok(())
    }
}

pub(super) fn expected_type(role: Role) -> &'static str {
    match role {
        Role::Entity => {
            "an entity is a string, binary, a UUID, an integer or a decimal without a fraction; a missing identifier \
             makes a column floating-point: cast it to Int64 or text"
        }
        Role::Ip => "an address is a string, or uint32 for IPv4 (first octet in the highest byte)",
        Role::Label => "a label is a boolean, an integer or a string: 0, 1, true or false",
        Role::Kind => "a kind is a string, binary or an integer",
        Role::Time => {
            "a time is a timestamp, a number (seconds to nanoseconds since 1970) or a string of such or a date"
        }
    }
}

type WriteText<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// A column whose values are read as text.
struct TextColumn<'a> {
    nulls: Option<NullBuffer>,
    /// For a dictionary: the index of each row's value.
    keys: Option<Vec<usize>>,
    /// Appends the value at an index.
    write: WriteText<'a>,
}

impl<'a> TextColumn<'a> {
    fn of(source: &'a Source, batch: &'a RecordBatch, role: Role, name: &str) -> Result<Self> {
        let column = match source {
            Source::Constant(value) => {
                let write: WriteText<'a> = Box::new(|_, text| text.extend_from_slice(value.as_bytes()));
                return Ok(TextColumn { nulls: None, keys: None, write });
            }
            Source::Column(column) => column,
        };
        let array = array_at(batch, &column.path);
        let found = array.and_then(|(array, nulls)| TextColumn::new(array, nulls, role, column.is_uuid));
        found.ok_or_else(|| {
            let what = match &column.data_type {
                DataType::FixedSizeBinary(len) => {
                    format!("column `{}` is {len} bytes without a type", column.path.join("."))
                }
                data_type => format!("column `{}` is {data_type}", column.path.join(".")),
            };
            Error::data(name, what, expected_type(role))
        })
    }

    /// `None` for a type that the role cannot have. `outer` are the nulls of the structs around the column.
    fn new(array: &'a ArrayRef, outer: Option<NullBuffer>, role: Role, is_uuid: bool) -> Option<Self> {
        let nulls = NullBuffer::union(array.logical_nulls().as_ref(), outer.as_ref());
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return Some(TextColumn { nulls, keys: None, write: write_text(array, role, is_uuid)? });
        };
        let values = dictionary.values();
        // An empty dictionary belongs to a column of nulls, and has no keys to normalise.
        let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        Some(TextColumn { nulls, keys: Some(keys), write: write_text(values, role, is_uuid)? })
    }

    /// Replaces `text` by the value at `row`; false, and no text, for a null.
    fn read(&self, row: usize, text: &mut Vec<u8>) -> bool {
        text.clear();
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return false;
        }
        let index = self.keys.as_ref().map_or(row, |keys| keys[row]);
        (self.write)(index, text);
        true
    }
}

/// The array at a path, and the nulls of the structs around it.
fn array_at<'a>(batch: &'a RecordBatch, path: &[String]) -> Option<(&'a ArrayRef, Option<NullBuffer>)> {
    let (first, rest) = path.split_first()?;
    let mut array = batch.column_by_name(first)?;
    let mut nulls = None;
    for name in rest {
        let outer: &StructArray = array.as_struct_opt()?;
        nulls = NullBuffer::union(nulls.as_ref(), outer.nulls());
        array = outer.column_by_name(name)?;
    }
    Some((array, nulls))
}

fn write_text<'a>(array: &'a ArrayRef, role: Role, is_uuid: bool) -> Option<WriteText<'a>> {
    /// Appends what `value` gives for an index.
    fn bytes_of<'a>(value: impl Fn(usize) -> &'a [u8] + 'a) -> WriteText<'a> {
        Box::new(move |index, text| text.extend_from_slice(value(index)))
    }
    Some(match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            bytes_of(|index| array.value(index).as_bytes())
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            bytes_of(|index| array.value(index).as_bytes())
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            bytes_of(|index| array.value(index).as_bytes())
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            bytes_of(|index| array.value(index))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            bytes_of(|index| array.value(index))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            bytes_of(|index| array.value(index))
        }
        DataType::FixedSizeBinary(16) if is_uuid => {
            let array = array.as_fixed_size_binary();
            Box::new(|index, text| append_uuid(text, array.value(index)))
        }
        DataType::UInt32 if role == Role::Ip => {
            let array = array.as_primitive::<UInt32Type>();
            Box::new(|index, text| append(text, Ipv4Addr::from(array.value(index))))
        }
        DataType::Boolean if role == Role::Label => {
            let array = array.as_boolean();
            Box::new(|index, text| append(text, array.value(index)))
        }
        DataType::Timestamp(unit, _) if role == Role::Time => write_timestamp(array, *unit),
        DataType::Float64 if matches!(role, Role::Time | Role::Label) => {
            let array = array.as_primitive::<Float64Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        DataType::Float32 if role == Role::Label => {
            let array = array.as_primitive::<Float32Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        _ if role == Role::Ip => return None,
        DataType::Decimal32(_, 0) => {
            let array = array.as_primitive::<Decimal32Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        DataType::Decimal64(_, 0) => {
            let array = array.as_primitive::<Decimal64Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        DataType::Decimal128(_, 0) => {
            let array = array.as_primitive::<Decimal128Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        DataType::Decimal256(_, 0) => {
            let array = array.as_primitive::<Decimal256Type>();
            Box::new(|index, text| append(text, array.value(index)))
        }
        _ => downcast_integer_array!(
            array => Box::new(move |index, text| append(text, array.value(index))),
            _ => return None,
        ),
    })
}

/// Whole seconds since 1970 of a timestamp in any unit; its zone is for showing it.
fn write_timestamp(array: &ArrayRef, unit: TimeUnit) -> WriteText<'_> {
    /// Appends the seconds of what `value` gives for an index.
    fn seconds_of<'a>(in_second: i64, value: impl Fn(usize) -> i64 + 'a) -> WriteText<'a> {
        Box::new(move |index, text| {
            // The date says that it is no number in another unit.
            let seconds = value(index).div_euclid(in_second);
            match (0..=i64::from(u32::MAX)).contains(&seconds) {
                true => text.extend_from_slice(rfc3339_utc(seconds).as_bytes()),
                false => text.extend_from_slice(b"-1"),
            }
        })
    }
    match unit {
        TimeUnit::Second => {
            let array = array.as_primitive::<TimestampSecondType>();
            seconds_of(1, |index| array.value(index))
        }
        TimeUnit::Millisecond => {
            let array = array.as_primitive::<TimestampMillisecondType>();
            seconds_of(1_000, |index| array.value(index))
        }
        TimeUnit::Microsecond => {
            let array = array.as_primitive::<TimestampMicrosecondType>();
            seconds_of(1_000_000, |index| array.value(index))
        }
        TimeUnit::Nanosecond => {
            let array = array.as_primitive::<TimestampNanosecondType>();
            seconds_of(1_000_000_000, |index| array.value(index))
        }
    }
}

/// Appends the text of a UUID: groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn append_uuid(text: &mut Vec<u8>, bytes: &[u8]) {
    let mut hex = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            hex.push('-');
        }
        // Writing to memory does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    text.extend_from_slice(hex.as_bytes());
}

fn append(text: &mut Vec<u8>, value: impl Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}
