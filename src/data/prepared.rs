//! Events to prepared files.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_ipc::MetadataVersion;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::chunk::{ColumnBuffer, EventColumns};
use super::events::Events;
use super::input::HASH_KEY;
use super::input::Input;
use super::intake::{EventSink, Sink};
use super::limits::Kept;
use super::options::ReadOptions;
use super::prepared_file::{ADDRESS, ENTITY, FORMAT, FORMAT_KEY, TIME, TIME_BASE_KEY};
use super::read::read_into;
use super::report::ReadReport;
use super::row::TimedEvent;
use crate::durable::OutputFile;
use crate::event::ENTITY_HASH;
use crate::{Error, Result};

/// Writes the events of `inputs`, in order, to the prepared file `output`, which appears whole or not at
/// all. Takes some 50 MB of memory and 1 MB for each thread, whatever the inputs' size. The file has times where
/// [`super::load_events`] would give them.
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
        preparer.events(chunk.columns())?;
    }
    preparer.finish()
}

/// Writes those of some events that are kept to the prepared file `output`, which appears whole or not at all.
///
/// # Errors
///
/// As [`write_events`].
pub fn write_kept(events: &Events, kept: &Kept, output: &Path) -> Result<()> {
    const ROWS_AT_ONCE: usize = 1 << 16;
    let mut preparer = Preparer::new(output)?;
    let mut rows = ColumnBuffer::default();
    for position in (0..events.len()).filter(|position| kept.has(*position)) {
        rows.push(TimedEvent { event: events.get(position), time: events.time(position), unit: None });
        if rows.len() == ROWS_AT_ONCE {
            preparer.events(rows.columns())?;
            rows.clear();
        }
    }
    preparer.events(rows.columns())?;
    preparer.finish()
}

struct Preparer<'a> {
    path: &'a Path,
    file: Writing,
    filling: ColumnBuffer,
}

/// The file, whose schema is known with the first events.
enum Writing {
    Empty(Option<OutputFile>),
    Begun(Box<FileWriter<OutputFile>>),
}

impl<'a> Preparer<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        let file = Writing::Empty(Some(OutputFile::create(path)?));
        Ok(Preparer { path, file, filling: ColumnBuffer::default() })
    }

    /// The writer, which begins the file if nothing has.
    fn writer(&mut self, has_times: bool) -> Result<&mut FileWriter<OutputFile>> {
        if let Writing::Empty(file) = &mut self.file
            && let Some(file) = file.take()
        {
            let writer = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)
                .and_then(|options| FileWriter::try_new_with_options(file, &schema(has_times), options))
                .map_err(|error| write_error(self.path, error))?;
            self.file = Writing::Begun(Box::new(writer));
        }
        match &mut self.file {
            Writing::Begun(writer) => Ok(writer),
            // The first failure to begin has ended the reading.
            Writing::Empty(_) => {
                Err(Error::io("write", self.path)(std::io::Error::other("it was not begun")))
            }
        }
    }

    fn write_batch(&mut self) -> Result<()> {
        let chunk = self.filling.take();
        let path = self.path;
        let writer = self.writer(chunk.time.is_some())?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(3);
        columns.push(Arc::new(PrimitiveArray::<arrow_array::types::UInt64Type>::new(chunk.entity, None)));
        columns.push(Arc::new(PrimitiveArray::<arrow_array::types::UInt64Type>::new(chunk.address, None)));
        if let Some(time) = chunk.time {
            columns.push(Arc::new(PrimitiveArray::<arrow_array::types::UInt32Type>::new(time, None)));
        }
        RecordBatch::try_new(writer.schema().clone(), columns)
            .and_then(|batch| writer.write(&batch))
            .map_err(|error| write_error(path, error))
    }

    fn finish(mut self) -> Result<()> {
        if !self.filling.is_empty() {
            self.write_batch()?;
        }
        // A file without events has a schema, too.
        self.writer(false)?;
        let Writing::Begun(writer) = self.file else { return Ok(()) };
        // Ends the file with its footer.
        let file = writer.into_inner().map_err(|error| write_error(self.path, error))?;
        file.commit()
    }
}

impl EventSink for Preparer<'_> {
    fn events(&mut self, mut events: EventColumns<'_>) -> Result<()> {
        while self.filling.fill(&mut events) {
            self.write_batch()?;
        }
        Ok(())
    }
}

/// Times are counted from 1970 in files of this program.
fn schema(has_times: bool) -> Schema {
    let mut fields =
        vec![Field::new(ENTITY, DataType::UInt64, false), Field::new(ADDRESS, DataType::UInt64, false)];
    let mut metadata = vec![(HASH_KEY, ENTITY_HASH), (FORMAT_KEY, FORMAT)];
    if has_times {
        fields.push(Field::new(TIME, DataType::UInt32, false));
        metadata.push((TIME_BASE_KEY, "0"));
    }
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value.to_string()));
    Schema::new(fields).with_metadata(HashMap::from_iter(metadata))
}

fn write_error(path: &Path, error: ArrowError) -> Error {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        error => std::io::Error::other(error),
    };
    Error::io("write", path)(source)
}
