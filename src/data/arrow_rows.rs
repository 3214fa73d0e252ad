//! Rows from Arrow IPC files, Feather among them, that are not prepared: the entities are still text.

use std::io::Cursor;

use arrow_ipc::reader::FileReader;
use arrow_schema::{DataType, Schema};
use bytes::Bytes;

use super::columnar::{Batches, Source, columns_in};
use super::input::is_prepared;
use super::intake::Intake;
use super::options::ReadOptions;
use super::parquet_rows::guarded;
use super::prepared_file::{ADDRESS, ENTITY};
use super::stream::Stream;
use crate::{Error, Result};

/// Reads a prepared file, or all rows of another, into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    let name = stream.name().to_string();
    let is_mapped = stream.is_plain_file();
    let bytes = stream.into_bytes()?;
    if is_prepared(&bytes) {
        return intake.prepared(&name, bytes, is_mapped);
    }
    let Ok(reader) = guarded(|| FileReader::try_new(Cursor::new(bytes.clone()), None)) else {
        // The reader of prepared files says what is wrong with the file.
        return intake.prepared(&name, bytes, is_mapped);
    };
    if is_meant_as_prepared(&reader.schema()) {
        return intake.prepared(&name, bytes, is_mapped);
    }
    read_rows(bytes, options, &name, intake)
}

/// Whether this is a prepared file whose metadata are missing.
fn is_meant_as_prepared(schema: &Schema) -> bool {
    [ENTITY, ADDRESS].into_iter().all(|column| {
        schema.field_with_name(column).is_ok_and(|field| *field.data_type() == DataType::UInt64)
    })
}

fn read_rows(bytes: Bytes, options: &ReadOptions, name: &str, intake: &mut Intake<'_>) -> Result<()> {
    let damaged = |why: String| {
        Error::data(name, format!("not a whole Arrow file ({why})"), "fetch or write the file again")
    };
    let schema = guarded(|| FileReader::try_new(Cursor::new(bytes.clone()), None)).map_err(damaged)?.schema();
    let columns = columns_in(schema.fields(), options, name, intake)?;
    let mut wanted = Vec::new();
    for (_, source) in columns.all() {
        if let Source::Column(column) = source
            && let Some(root) = column.path.first()
            && let Ok(index) = schema.index_of(root)
        {
            wanted.push(index);
        }
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut reader = guarded(|| FileReader::try_new(Cursor::new(bytes), Some(wanted))).map_err(damaged)?;
    let mut batches = Batches::new(&columns, name);
    while let Some(batch) = guarded(|| reader.next().transpose()).map_err(damaged)? {
        batches.read(&batch, intake)?;
    }
    Ok(())
}
