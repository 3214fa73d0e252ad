//! What a prepared file is, and how it is read: the columns of events as an Arrow IPC file, mapped without copying.
//!
//! The schema is `entity: uint64, address: uint64` and, where times were read, `time: uint32`, all without nulls. An address
//! is its [`crate::event::Address::bits`]. The metadata name the entity hash, the version of this format and, in
//! [`TIME_BASE_KEY`], the second since 1970-01-01T00:00:00Z from which times are counted. Any Arrow library can read such
//! a file, and one that another library wrote reads here.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, Footer, root_as_footer, root_as_message};
use arrow_schema::{DataType, Schema};
use bytes::Bytes;

use super::chunk::Chunk;
use super::input::HASH_KEY;
use crate::event::ENTITY_HASH;
use crate::{Error, Result};

pub(super) const FORMAT_KEY: &str = "ipsight.format";
pub(super) const TIME_BASE_KEY: &str = "ipsight.time_base";

/// The version of the format. 1 had a column `ip: uint32`, for IPv4 only, and no times.
pub(super) const FORMAT: &str = "2";

pub(super) const ENTITY: &str = "entity";
pub(super) const ADDRESS: &str = "address";
pub(super) const TIME: &str = "time";

/// The columns of a prepared file, which borrow from the mapped file.
pub(super) fn read_chunks(name: &str, bytes: Bytes, is_mapped: bool) -> Result<Vec<Chunk>> {
    let file = PreparedFile { name, buffer: Buffer::from(bytes), is_mapped };
    file.chunks()
}

struct PreparedFile<'a> {
    name: &'a str,
    buffer: Buffer,
    is_mapped: bool,
}

impl PreparedFile<'_> {
    fn chunks(&self) -> Result<Vec<Chunk>> {
        let footer = self.footer()?;
        let schema = self.schema(&footer)?;
        let column = |name, data_type| column(&schema, name, data_type).map_err(|what| self.error(what));
        let mut columns = vec![column(ENTITY, &DataType::UInt64)?, column(ADDRESS, &DataType::UInt64)?];
        let has_times = schema.metadata().contains_key(TIME_BASE_KEY);
        if has_times {
            columns.push(column(TIME, &DataType::UInt32)?);
        }
        let time_base = has_times.then(|| self.time_base(&schema)).transpose()?;
        // Batches have their columns in the order of the projection.
        let decoder = FileDecoder::new(Arc::new(schema), footer.version()).with_projection(columns);
        let blocks = footer.recordBatches().ok_or_else(|| self.damaged("it has no list of batches"))?;
        blocks.iter().map(|block| self.chunk(block, &decoder, time_base)).collect()
    }

    /// What the times are counted from, in seconds since 1970-01-01T00:00:00Z.
    fn time_base(&self, schema: &Schema) -> Result<i64> {
        let text = schema.metadata().get(TIME_BASE_KEY).map_or("", String::as_str);
        let is_wrong =
            || format!("`{TIME_BASE_KEY}` is `{}` and not a whole number of seconds", shown_key(text));
        text.parse().map_err(|_| self.error(is_wrong()))
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
            Some(FORMAT) | None => {}
            Some(format) => {
                let what =
                    format!("format {} of prepared files; this program reads {FORMAT}", shown_key(format));
                return Err(self.error(what));
            }
        }
        Ok(schema)
    }

    fn chunk(&self, block: &Block, decoder: &FileDecoder, time_base: Option<i64>) -> Result<Chunk> {
        let buffer = self.block_bytes(block).ok_or_else(|| self.damaged("a batch is outside the file"))?;
        check_batch(&buffer, block.metaDataLength() as usize).map_err(|what| self.error(what))?;
        let batch = decoder
            .read_record_batch(block, &buffer)
            .map_err(|error| self.damaged(error))?
            .ok_or_else(|| self.damaged("a batch is missing"))?;
        if batch.columns().iter().any(|column| column.null_count() > 0) {
            return Err(self.error("the columns have nulls"));
        }
        let entity = batch.column(0).as_primitive::<UInt64Type>().values().clone();
        let address = batch.column(1).as_primitive::<UInt64Type>().values().clone();
        let time = match time_base {
            None => None,
            Some(base) => {
                let times = batch.column(2).as_primitive::<UInt32Type>().values();
                Some(
                    since_1970(times, base)
                        .ok_or_else(|| self.error("a time is before 1970 or after 2106"))?,
                )
            }
        };
        Ok(Chunk { entity, address, time, is_mapped: self.is_mapped })
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
        let help = format!(
            "prepare it again from the text (ipsight prepare); a foreign file needs uncompressed columns \
             {ENTITY}: uint64 and {ADDRESS}: uint64 and the metadata {HASH_KEY} = {ENTITY_HASH}, and for times \
             {TIME}: uint32 and {TIME_BASE_KEY}"
        );
        Error::data(self.name, what, help)
    }
}

/// Text of a file's metadata for a message.
fn shown_key(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(40).collect()
}

/// Times counted from `base` as times counted from 1970, without copying where that is the base.
fn since_1970(times: &ScalarBuffer<u32>, base: i64) -> Option<ScalarBuffer<u32>> {
    if base == 0 {
        return Some(times.clone());
    }
    let since_1970 = |time: &u32| base.checked_add(i64::from(*time))?.try_into().ok();
    times.iter().map(since_1970).collect::<Option<Vec<u32>>>().map(ScalarBuffer::from)
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
