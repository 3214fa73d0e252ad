//! Pieces of the columns of events.

use arrow_buffer::ScalarBuffer;

use super::row::TimedEvent;
use crate::event::{Address, Event};

/// Rows of one chunk of columns that this program fills, and of one record batch that it writes.
pub(super) const CHUNK_ROWS: usize = 1 << 20;

/// Some rows of the columns of events; all have the same length.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) entity: ScalarBuffer<u64>,
    /// [`Address::bits`].
    pub(super) address: ScalarBuffer<u64>,
    /// Seconds since 1970-01-01T00:00:00Z, where times are read.
    pub(super) time: Option<ScalarBuffer<u32>>,
    /// Whether the columns lie in a mapped file.
    pub(super) is_mapped: bool,
}

impl Chunk {
    pub(super) fn num_bytes(&self) -> u64 {
        let time = self.time.as_ref().map_or(0, |time| time.inner().len());
        (self.entity.inner().len() + self.address.inner().len() + time) as u64
    }

    pub(super) fn len(&self) -> usize {
        self.address.len()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        self.columns().events()
    }

    pub(super) fn columns(&self) -> EventColumns<'_> {
        EventColumns { entity: &self.entity, address: &self.address, time: self.time.as_deref() }
    }
}

/// Borrowed columns of events; all have the same length.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventColumns<'a> {
    pub(super) entity: &'a [u64],
    pub(super) address: &'a [u64],
    pub(super) time: Option<&'a [u32]>,
}

impl<'a> EventColumns<'a> {
    pub(super) fn len(&self) -> usize {
        self.address.len()
    }

    pub(super) fn events(self) -> impl Iterator<Item = Event> {
        let pairs = self.entity.iter().zip(self.address);
        pairs.map(|(&entity, &bits)| Event { entity, address: Address::from_bits(bits) })
    }

    /// The first `num_rows` rows, and the others.
    pub(super) fn split_at(self, num_rows: usize) -> (Self, Self) {
        let (entity, entity_rest) = self.entity.split_at(num_rows);
        let (address, address_rest) = self.address.split_at(num_rows);
        let (time, time_rest) = self.time.map(|time| time.split_at(num_rows)).unzip();
        (
            EventColumns { entity, address, time },
            EventColumns { entity: entity_rest, address: address_rest, time: time_rest },
        )
    }
}

/// Columns of events that grow.
#[derive(Debug, Default)]
pub(super) struct ColumnBuffer {
    entity: Vec<u64>,
    address: Vec<u64>,
    /// As long as the others, or empty where there are no times.
    time: Vec<u32>,
}

impl ColumnBuffer {
    pub(super) fn push(&mut self, TimedEvent { event, time, .. }: TimedEvent) {
        self.entity.push(event.entity);
        self.address.push(event.address.bits());
        self.time.extend(time);
    }

    pub(super) fn clear(&mut self) {
        self.entity.clear();
        self.address.clear();
        self.time.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.address.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.address.is_empty()
    }

    pub(super) fn columns(&self) -> EventColumns<'_> {
        let time = (!self.time.is_empty()).then_some(&self.time[..]);
        EventColumns { entity: &self.entity, address: &self.address, time }
    }

    /// Takes what there is room for, up to [`CHUNK_ROWS`], off the front of `columns`; whether the buffer is full now.
    pub(super) fn fill(&mut self, columns: &mut EventColumns<'_>) -> bool {
        if self.is_empty() {
            // At once, since a vector that doubles ends with too much; untouched pages cost nothing.
            self.entity.reserve_exact(CHUNK_ROWS);
            self.address.reserve_exact(CHUNK_ROWS);
            self.time.reserve_exact(if columns.time.is_some() { CHUNK_ROWS } else { 0 });
        }
        let (taken, rest) = columns.split_at(columns.len().min(CHUNK_ROWS - self.len()));
        *columns = rest;
        self.entity.extend_from_slice(taken.entity);
        self.address.extend_from_slice(taken.address);
        self.time.extend_from_slice(taken.time.unwrap_or_default());
        self.len() == CHUNK_ROWS
    }

    /// The columns so far, without room for more; the buffer is empty then.
    pub(super) fn take(&mut self) -> Chunk {
        let ColumnBuffer { mut entity, mut address, mut time } = std::mem::take(self);
        entity.shrink_to_fit();
        address.shrink_to_fit();
        time.shrink_to_fit();
        let time = (!time.is_empty()).then(|| time.into());
        Chunk { entity: entity.into(), address: address.into(), time, is_mapped: false }
    }
}
