//! Rows from Parquet: two named columns.

use std::fmt::Display;
use std::io::Write;
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, RecordBatch, downcast_integer_array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::bad_rows::BadRow;
use super::columns::{Columns, Role, no_such_column};
use super::intake::Intake;
use super::options::ReadOptions;
use super::row::{Fields, Place};
use super::stream::Stream;
use crate::{Error, Result};

/// Rows that are decoded at a time.
const BATCH_SIZE: usize = 8192;

/// Reads all rows of `stream` into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    let names = Columns::of(options, [Role::Entity, Role::Ip, Role::Label].map(Role::default_name))?;
    let name = stream.name().to_string();
    let damaged = |why: &str| {
        Error::data(&name, format!("not a whole Parquet file ({why})"), "fetch or write the file again")
    };
    let bytes = stream.into_bytes()?;
    let Opened { builder, is_without_arrow_schema } = open(bytes).map_err(|why| damaged(&why))?;
    let fields = builder.schema().fields().clone();
    let indices = names.try_map(|role, wanted| {
        fields.iter().position(|field| field.name() == wanted).ok_or_else(|| {
            let valid: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            no_such_column(role, wanted, &name, &valid)
        })
    })?;
    for (role, index) in indices.all() {
        // Bytes of a known length may be an integer of the type that is not known.
        if is_without_arrow_schema && matches!(fields[*index].data_type(), DataType::FixedSizeBinary(_)) {
            let what = format!("column `{}` has a type that only its writer knows", fields[*index].name());
            return Err(Error::data(&name, what, expected_type(role)));
        }
    }
    let wanted: Vec<usize> = indices.all().into_iter().map(|(_, index)| *index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let builder = builder.with_projection(mask).with_batch_size(BATCH_SIZE);
    let mut reader = guarded(|| builder.build()).map_err(|why| damaged(&why))?;
    let mut num_before = 0;
    while let Some(batch) = guarded(|| reader.next().transpose()).map_err(|why| damaged(&why))? {
        read_batch(&batch, &names, &name, num_before, intake)?;
        num_before += batch.num_rows() as u64;
    }
    Ok(())
}

/// A file whose metadata was read.
struct Opened {
    builder: ParquetRecordBatchReaderBuilder<Bytes>,
    /// Whether columns have the types of Parquet alone.
    is_without_arrow_schema: bool,
}

/// Reads the metadata. A file may carry an Arrow schema beside Parquet's own, and in it a type of its writer that nobody
/// else knows, as Int128 of Polars: such a file is read by Parquet's.
fn open(bytes: Bytes) -> std::result::Result<Opened, String> {
    let with = |skips_arrow_schema| {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(skips_arrow_schema);
        let builder =
            guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options))?;
        Ok(Opened { builder, is_without_arrow_schema: skips_arrow_schema })
    };
    // The first error says more where both fail.
    with(false).or_else(|why: String| with(true).map_err(|_| why))
}

/// Runs a step of the `parquet` crate, which panics at some damaged files (it divides by a length of zero,
/// for one) instead of returning an error. Nothing that it touched is used after such a panic.
fn guarded<T, E: Display>(
    step: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its decoder gave up".into()),
    }
}

fn read_batch(
    batch: &RecordBatch,
    names: &Columns<String>,
    name: &str,
    num_before: u64,
    intake: &mut Intake<'_>,
) -> Result<()> {
    let columns = names.try_map(|role, column| {
        batch.column_by_name(column).and_then(|array| TextColumn::new(array, role)).ok_or_else(|| {
            let data_type = batch.column_by_name(column).map(|array| array.data_type().to_string());
            let what = format!("column `{column}` is {}", data_type.unwrap_or_default());
            Error::data(name, what, expected_type(role))
        })
    })?;
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
        let place = Place::Row(name, num_before + row as u64 + 1);
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
    Ok(())
}

fn expected_type(role: Role) -> &'static str {
    match role {
        Role::Entity => "an entity is a string, binary or an integer",
        Role::Ip => "an address is a string, or uint32 for IPv4 (first octet in the highest byte)",
        Role::Label => "a label is a boolean, an integer or a string: 0, 1, true or false",
        Role::Kind => "a kind is a string, binary or an integer",
        Role::Time => "a time is an integer (Unix seconds) or a string (Unix seconds or RFC 3339)",
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
    /// `None` for a type that the role cannot have.
    fn new(array: &'a ArrayRef, role: Role) -> Option<Self> {
        let nulls = array.logical_nulls();
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            return Some(TextColumn { nulls, keys: None, write: write_text(array, role)? });
        };
        let values = dictionary.values();
        // An empty dictionary belongs to a column of nulls, and has no keys to normalise.
        let keys = if values.is_empty() { Vec::new() } else { dictionary.normalized_keys() };
        Some(TextColumn { nulls, keys: Some(keys), write: write_text(values, role)? })
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

fn write_text<'a>(array: &'a ArrayRef, role: Role) -> Option<WriteText<'a>> {
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
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            bytes_of(|index| array.value(index))
        }
        DataType::UInt32 if role == Role::Ip => {
            let array = array.as_primitive::<UInt32Type>();
            Box::new(|index, text| append(text, Ipv4Addr::from(array.value(index))))
        }
        DataType::Boolean if role == Role::Label => {
            let array = array.as_boolean();
            Box::new(|index, text| append(text, array.value(index)))
        }
        _ if role == Role::Ip => return None,
        _ => downcast_integer_array!(
            array => Box::new(move |index, text| append(text, array.value(index))),
            _ => return None,
        ),
    })
}

fn append(text: &mut Vec<u8>, value: impl Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}
