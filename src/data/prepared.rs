//! Prepared files: the two columns of events as an Arrow IPC file, which is mapped back without copying.
//!
//! The schema is `entity: uint64, ip: uint32`, both without nulls, and its metadata name the entity hash. Any
//! Arrow library can read such a file, and one that another library wrote reads here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch, UInt32Array, UInt64Array};
use arrow_buffer::Buffer;
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_ipc::{Block, Footer, MetadataVersion, root_as_footer, root_as_message};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::chunk::{Chunk, ColumnBuffer};
use super::events::Events;
use super::input::Input;
use super::intake::{EventSink, Sink};
use super::options::ReadOptions;
use super::read::read_into;
use super::report::ReadReport;
use super::stream::Stream;
use crate::durable::OutputFile;
use crate::event::ENTITY_HASH;
use crate::{Error, Result};

const HASH_KEY: &str = "ipsight.entity_hash";
const FORMAT_KEY: &str = "ipsight.format";
const FORMAT: &str = "1";

/// Writes the events of `inputs`, in order, to the prepared file `output`, which appears whole or not at
/// all. Takes some 30 MB of memory and 1 MB for each thread, whatever the inputs' size.
///
/// # Errors
///
/// As [`super::load_events`]; [`Error::Io`] when writing fails, [`Error::Config`] when `output` is a
/// folder.
pub fn write_prepared(inputs: &[Input], options: &ReadOptions, output: &Path) -> Result<ReadReport> {
    let mut preparer = Preparer::new(output)?;
    let report = read_into(inputs, options, Sink::Events(&mut preparer))?;
    preparer.finish()?;
    Ok(report)
}

/// Writes events that are in memory to the prepared file `output`, which appears whole or not at all.
///
/// # Errors
///
/// [`Error::Io`] when writing fails, [`Error::Config`] when `output` is a folder.
pub fn write_events(events: &Events, output: &Path) -> Result<()> {
    let mut preparer = Preparer::new(output)?;
    for chunk in events.chunks() {
        preparer.events(&chunk.entity, &chunk.ip)?;
    }
    preparer.finish()
}

struct Preparer<'a> {
    path: &'a Path,
    schema: SchemaRef,
    writer: FileWriter<OutputFile>,
    filling: ColumnBuffer,
}

impl<'a> Preparer<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        let schema = Arc::new(schema());
        let file = OutputFile::create(path)?;
        let writer = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)
            .and_then(|options| FileWriter::try_new_with_options(file, &schema, options))
            .map_err(|error| write_error(path, error))?;
        Ok(Preparer { path, schema, writer, filling: ColumnBuffer::default() })
    }

    fn write_batch(&mut self) -> Result<()> {
        let (entity, ip) = self.filling.take();
        let (entity, ip) = (Arc::new(UInt64Array::from(entity)), Arc::new(UInt32Array::from(ip)));
        RecordBatch::try_new(self.schema.clone(), vec![entity, ip])
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|error| write_error(self.path, error))
    }

    fn finish(mut self) -> Result<()> {
        if !self.filling.is_empty() {
            self.write_batch()?;
        }
        // Ends the file with its footer.
        let file = self.writer.into_inner().map_err(|error| write_error(self.path, error))?;
        file.commit()
    }
}

impl EventSink for Preparer<'_> {
    fn events(&mut self, mut entity: &[u64], mut ip: &[u32]) -> Result<()> {
        while self.filling.fill(&mut entity, &mut ip) {
            self.write_batch()?;
        }
        Ok(())
    }

    fn prepared(&mut self, stream: Stream) -> Result<u64> {
        let mut num_rows = 0;
        for chunk in read_chunks(stream)? {
            self.events(&chunk.entity, &chunk.ip)?;
            num_rows += chunk.ip.len() as u64;
        }
        Ok(num_rows)
    }
}

fn schema() -> Schema {
    let fields =
        vec![Field::new("entity", DataType::UInt64, false), Field::new("ip", DataType::UInt32, false)];
    let metadata = [(HASH_KEY, ENTITY_HASH), (FORMAT_KEY, FORMAT)];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
    Schema::new(fields).with_metadata(HashMap::from(metadata))
}

fn write_error(path: &Path, error: ArrowError) -> Error {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        error => std::io::Error::other(error),
    };
    Error::io("write", path)(source)
}

/// The columns of a prepared file, which borrow from the mapped file.
pub(super) fn read_chunks(stream: Stream) -> Result<Vec<Chunk>> {
    let name = stream.name().to_string();
    let buffer = Buffer::from(stream.into_bytes()?);
    let file = PreparedFile { name: &name, buffer };
    file.chunks()
}

struct PreparedFile<'a> {
    name: &'a str,
    buffer: Buffer,
}

impl PreparedFile<'_> {
    fn chunks(&self) -> Result<Vec<Chunk>> {
        let footer = self.footer()?;
        let schema = self.schema(&footer)?;
        let columns =
            [column(&schema, "entity", &DataType::UInt64), column(&schema, "ip", &DataType::UInt32)];
        let [entity, ip] = columns.map(|column| column.map_err(|what| self.error(what)));
        let (entity, ip) = (entity?, ip?);
        // Batches have their columns in the order of the projection.
        let decoder = FileDecoder::new(Arc::new(schema), footer.version()).with_projection(vec![entity, ip]);
        let blocks = footer.recordBatches().ok_or_else(|| self.damaged("it has no list of batches"))?;
        blocks.iter().map(|block| self.chunk(block, &decoder)).collect()
    }

    fn footer(&self) -> Result<Footer<'_>> {
        let bytes = self.buffer.as_slice();
        let (rest, tail) = bytes.split_last_chunk::<10>().ok_or_else(|| self.damaged("it is too short"))?;
        let len = read_footer_length(*tail).map_err(|error| self.damaged(error))?;
        let start = rest.len().checked_sub(len).ok_or_else(|| self.damaged("its footer is cut off"))?;
        root_as_footer(&rest[start..]).map_err(|error| self.damaged(error))
    }

    fn schema(&self, footer: &Footer<'_>) -> Result<Schema> {
        let schema = footer.schema().ok_or_else(|| self.damaged("it has no schema"))?;
        if !schema.endianness().equals_to_target_endianness() {
            return Err(self.error("the byte order is not this machine's"));
        }
        let schema = try_fb_to_schema(schema).map_err(|error| self.damaged(error))?;
        let metadata = |key| schema.metadata().get(key).map(String::as_str);
        match metadata(HASH_KEY) {
            Some(ENTITY_HASH) => {}
            Some(hash) => {
                return Err(self.error(format!("made with the entity hash `{hash}`, not `{ENTITY_HASH}`")));
            }
            None => return Err(self.error(format!("the schema's metadata have no `{HASH_KEY}`"))),
        }
        match metadata(FORMAT_KEY) {
            Some(FORMAT) | None => Ok(schema),
            Some(format) => Err(self.error(format!("format {format} of prepared files is not known here"))),
        }
    }

    fn chunk(&self, block: &Block, decoder: &FileDecoder) -> Result<Chunk> {
        let buffer = self.block_bytes(block).ok_or_else(|| self.damaged("a batch is outside the file"))?;
        check_batch(&buffer, block.metaDataLength() as usize).map_err(|what| self.error(what))?;
        let batch = decoder
            .read_record_batch(block, &buffer)
            .map_err(|error| self.damaged(error))?
            .ok_or_else(|| self.damaged("a batch is missing"))?;
        let [entity, ip] = [batch.column(0), batch.column(1)];
        if entity.null_count() + ip.null_count() > 0 {
            return Err(self.error("the columns have nulls"));
        }
        let entity = entity.as_primitive::<UInt64Type>().values().clone();
        let ip = ip.as_primitive::<UInt32Type>().values().clone();
        Ok(Chunk { entity, ip })
    }

    fn block_bytes(&self, block: &Block) -> Option<Buffer> {
        let offset = usize::try_from(block.offset()).ok()?;
        let header = usize::try_from(block.metaDataLength()).ok()?;
        let len = header.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
        let is_inside = offset.checked_add(len)? <= self.buffer.len();
        is_inside.then(|| self.buffer.slice_with_length(offset, len))
    }

    fn damaged(&self, why: impl std::fmt::Display) -> Error {
        self.error(format!("not a whole Arrow file ({why})"))
    }

    fn error(&self, what: impl Into<String>) -> Error {
        let help = "prepare it again from the text (ipsight prepare); a foreign file needs uncompressed \
                    columns entity: uint64 and ip: uint32 and the metadata "
            .to_string();
        Error::data(self.name, what, format!("{help}{HASH_KEY} = {ENTITY_HASH}"))
    }
}

fn column(schema: &Schema, name: &str, data_type: &DataType) -> std::result::Result<usize, String> {
    let index = schema.index_of(name).map_err(|_| format!("there is no column `{name}`"))?;
    let found = schema.field(index).data_type();
    if found != data_type {
        return Err(format!("column `{name}` is {found}, not {data_type}"));
    }
    Ok(index)
}

/// Checks what the decoder takes on trust and would panic at: the lengths in a batch's header.
fn check_batch(block: &[u8], header_len: usize) -> std::result::Result<(), String> {
    let damaged = |what: &str| format!("not a whole Arrow file ({what})");
    let (header, body) = block.split_at(header_len);
    let message = match header {
        [0xFF, 0xFF, 0xFF, 0xFF, _, _, _, _, message @ ..] => message,
        [_, _, _, _, message @ ..] => message,
        _ => return Err(damaged("a header is too short")),
    };
    let message = root_as_message(message).map_err(|error| damaged(&error.to_string()))?;
    let batch = message.header_as_record_batch().ok_or_else(|| damaged("a batch is something else"))?;
    if batch.compression().is_some() {
        return Err("the columns are compressed".into());
    }
    // So large that no file reaches it, so small that bits and bytes of it can be counted.
    let is_length = |length: i64| (0..1 << 48).contains(&length);
    let nodes_are_right = batch
        .nodes()
        .into_iter()
        .flatten()
        .all(|node| is_length(node.length()) && (0..=node.length()).contains(&node.null_count()));
    let is_inside = |buffer: &arrow_ipc::Buffer| {
        is_length(buffer.offset())
            && is_length(buffer.length())
            && buffer.offset() + buffer.length() <= body.len() as i64
    };
    if !is_length(batch.length()) || !nodes_are_right || !batch.buffers().into_iter().flatten().all(is_inside)
    {
        return Err(damaged("a batch's lengths are wrong"));
    }
    Ok(())
}
