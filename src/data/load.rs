//! Events of inputs in memory.

use super::chunk::{Chunk, ColumnBuffer, EventColumns};
use super::events::Events;
use super::input::Input;
use super::intake::{EventSink, Sink};
use super::options::ReadOptions;
use super::read::read_into;
use super::report::ReadReport;
use crate::Result;

/// Loads the events of `inputs` in order. Prepared files are mapped without copying and must not be changed
/// while the events live; everything else is parsed into memory, 16 bytes an event, and 4 more with its time.
///
/// Events have times where [`ReadOptions::time_column`] names their column, and where they were prepared with times.
///
/// # Errors
///
/// As [`super::read_rows`], but for prepared files: [`crate::Error::Data`] when one is damaged, of another version or was
/// made with another hash. [`crate::Error::Data`] when some inputs have times and some have none.
pub fn load_events(inputs: &[Input], options: &ReadOptions) -> Result<(Events, ReadReport)> {
    let mut loader = Loader::default();
    let report = read_into(inputs, options, Sink::Events(&mut loader))?;
    loader.end_chunk();
    Ok((Events::from_chunks(loader.chunks), report))
}

#[derive(Default)]
struct Loader {
    chunks: Vec<Chunk>,
    filling: ColumnBuffer,
}

impl Loader {
    fn end_chunk(&mut self) {
        self.chunks.push(self.filling.take());
    }
}

impl EventSink for Loader {
    fn events(&mut self, mut events: EventColumns<'_>) -> Result<()> {
        while self.filling.fill(&mut events) {
            self.end_chunk();
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<()> {
        self.end_chunk();
        self.chunks.push(chunk);
        Ok(())
    }
}
