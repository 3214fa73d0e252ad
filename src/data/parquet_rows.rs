//! Rows from Parquet.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::LogicalType;

use super::columnar::{Batches, Source, columns_in, expected_type};
use super::intake::Intake;
use super::options::ReadOptions;
use super::stream::Stream;
use crate::{Error, Result};

/// Rows that are decoded at a time.
const BATCH_SIZE: usize = 8192;

/// Reads all rows of `stream` into `intake`.
pub(super) fn read(stream: Stream, options: &ReadOptions, intake: &mut Intake<'_>) -> Result<()> {
    let name = stream.name().to_string();
    let bytes = stream.into_bytes()?;
    let Opened { builder, is_without_arrow_schema } = open(bytes).map_err(|why| unreadable(&name, &why))?;
    let mut columns = columns_in(builder.schema().fields(), options, &name, intake)?;
    let schema = builder.parquet_schema();
    let leaf_of = |path: &[String]| schema.columns().iter().position(|leaf| leaf.path().parts() == path);
    let mut leaves = Vec::new();
    for (role, source) in columns.all_mut() {
        let Source::Column(column) = source else { continue };
        let Some(leaf) = leaf_of(&column.path) else { continue };
        leaves.push(leaf);
        column.is_uuid = matches!(schema.column(leaf).logical_type_ref(), Some(LogicalType::Uuid));
        if is_without_arrow_schema
            && matches!(column.data_type, DataType::FixedSizeBinary(_))
            && !column.is_uuid
        {
            let what = format!("column `{}` has a type that only its writer knows", column.path.join("."));
            return Err(Error::data(&name, what, expected_type(role)));
        }
    }
    let mask = ProjectionMask::leaves(schema, leaves);
    let builder = builder.with_projection(mask).with_batch_size(BATCH_SIZE);
    let mut reader = guarded(|| builder.build()).map_err(|why| unreadable(&name, &why))?;
    let mut batches = Batches::new(&columns, &name);
    while let Some(batch) = guarded(|| reader.next().transpose()).map_err(|why| unreadable(&name, &why))? {
        batches.read(&batch, intake)?;
    }
    Ok(())
}

/// The error for a file that cannot be decoded, for a reason of the decoder.
fn unreadable(name: &str, why: &str) -> Error {
    if let Some((_, codec)) = why.split_once("Disabled feature at compile time: ") {
        let codec = codec.trim_end_matches(|char: char| !char.is_alphanumeric());
        let what = format!("the columns are compressed with {codec}, which is not read");
        return Error::data(name, what, "write the file with zstd, snappy, gzip, lz4 or without compression");
    }
    if why.contains("encrypt") {
        return Error::data(name, "the file is encrypted", "decrypt it first: keys are not read");
    }
    Error::data(name, format!("not a whole Parquet file ({why})"), "fetch or write the file again")
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

/// Runs a step of the `parquet` or `arrow-ipc` crate: the first panics at some damaged files (it divides by a length of zero,
/// for one) instead of returning an error. Nothing that it touched is used after such a panic.
pub(super) fn guarded<T, E: Display>(
    step: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("its decoder gave up".into()),
    }
}
