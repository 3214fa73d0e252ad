//! Events of inputs in memory.

use super::chunk::{Chunk, ColumnBuffer};
use super::events::Events;
use super::input::Input;
use super::intake::{EventSink, Sink};
use super::options::ReadOptions;
use super::prepared;
use super::read::read_into;
use super::report::ReadReport;
use super::stream::Stream;
use crate::Result;

/// Loads the events of `inputs` in order. Prepared files are mapped without copying and must not be changed
/// while the events live; everything else is parsed into memory, 12 bytes an event.
///
/// # Errors
///
/// As [`super::read_rows`], but for prepared files: [`crate::Error::Data`] when one is damaged or was made with
/// another hash.
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
        let (mut entity, mut ip) = self.filling.take();
        entity.shrink_to_fit();
        ip.shrink_to_fit();
        self.chunks.push(Chunk { entity: entity.into(), ip: ip.into() });
    }
}

impl EventSink for Loader {
    fn events(&mut self, mut entity: &[u64], mut ip: &[u32]) -> Result<()> {
        while self.filling.fill(&mut entity, &mut ip) {
            self.end_chunk();
        }
        Ok(())
    }

    fn prepared(&mut self, stream: Stream) -> Result<u64> {
        let chunks = prepared::read_chunks(stream)?;
        self.end_chunk();
        let num_rows = chunks.iter().map(|chunk| chunk.ip.len() as u64).sum();
        self.chunks.extend(chunks);
        Ok(num_rows)
    }
}
