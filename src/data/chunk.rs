//! Pieces of the columns of events.

use arrow_buffer::ScalarBuffer;

use crate::event::Event;

/// Rows of one chunk of columns that this program fills, and of one record batch that it writes.
pub(super) const CHUNK_ROWS: usize = 1 << 20;

/// Some rows of the two columns; both have the same length.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) entity: ScalarBuffer<u64>,
    pub(super) ip: ScalarBuffer<u32>,
}

impl Chunk {
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        self.entity.iter().zip(self.ip.iter()).map(|(&entity, &ip)| Event { entity, ip })
    }
}

/// Two columns that fill up to [`CHUNK_ROWS`].
#[derive(Default)]
pub(super) struct ColumnBuffer {
    entity: Vec<u64>,
    ip: Vec<u32>,
}

impl ColumnBuffer {
    /// Takes what there is room for off the front of both columns; whether the buffer is full now.
    pub(super) fn fill(&mut self, entity: &mut &[u64], ip: &mut &[u32]) -> bool {
        if self.ip.is_empty() {
            // At once, since a vector that doubles ends with too much; untouched pages cost nothing.
            self.entity.reserve_exact(CHUNK_ROWS);
            self.ip.reserve_exact(CHUNK_ROWS);
        }
        let num_rows = ip.len().min(CHUNK_ROWS - self.ip.len());
        let (new_entity, new_ip);
        (new_entity, *entity) = entity.split_at(num_rows);
        (new_ip, *ip) = ip.split_at(num_rows);
        self.entity.extend_from_slice(new_entity);
        self.ip.extend_from_slice(new_ip);
        self.ip.len() == CHUNK_ROWS
    }

    /// The columns so far; the buffer is empty then.
    pub(super) fn take(&mut self) -> (Vec<u64>, Vec<u32>) {
        (std::mem::take(&mut self.entity), std::mem::take(&mut self.ip))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ip.is_empty()
    }
}
