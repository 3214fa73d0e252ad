//! Events in columns, in memory or mapped.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::chunk::Chunk;
use super::mapped_files::check_unchanged;
use crate::event::{Address, Event};

/// Events as columns in chunks, owned or borrowed from a mapped file. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Events {
    columns: Arc<Columns>,
}

#[derive(Debug)]
struct Columns {
    /// None of them is empty; all of them have times, or none.
    chunks: Vec<Chunk>,
    /// The index of each chunk's first event.
    starts: Vec<usize>,
    len: usize,
    /// Set when every chunk but the last has `1 << shift` rows and the last has no more.
    shift: Option<u32>,
}

/// How events are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldEvents {
    /// Their number.
    pub num_events: u64,
    /// Bytes of those that are in memory.
    pub own_bytes: u64,
    /// Bytes of those that lie in mapped files.
    pub mapped_bytes: u64,
    /// Bytes that their order by time takes while they are sorted; 0 where they lie in it.
    pub order_bytes: u64,
}

/// What tells events, in their order, from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDigest {
    /// Their number.
    pub num_events: u64,
    /// BLAKE3, in hexadecimal, of the BLAKE3 of the entity hashes (8 bytes each, little-endian), of that of the
    /// addresses' bits (8 bytes each) and, where there are times, of that of the times (4 bytes each).
    pub blake3: String,
}

impl Events {
    /// Takes two columns.
    ///
    /// # Panics
    ///
    /// When the columns differ in length.
    pub fn from_columns(entity: Vec<u64>, address: Vec<Address>) -> Self {
        assert_eq!(entity.len(), address.len(), "the columns differ in length");
        let address: Vec<u64> = address.into_iter().map(Address::bits).collect();
        let (entity, address) = (entity.into(), address.into());
        Self::from_chunks(vec![Chunk { entity, address, time: None, is_mapped: false }])
    }

    /// Takes two columns, and the second in which each event happened, counted from 1970-01-01T00:00:00Z.
    ///
    /// # Panics
    ///
    /// When the columns differ in length.
    pub fn with_times(entity: Vec<u64>, address: Vec<Address>, time: Vec<u32>) -> Self {
        assert!(entity.len() == address.len() && address.len() == time.len(), "the columns differ in length");
        let address: Vec<u64> = address.into_iter().map(Address::bits).collect();
        Self::from_chunks(vec![Chunk {
            entity: entity.into(),
            address: address.into(),
            time: Some(time.into()),
            is_mapped: false,
        }])
    }

    /// The chunks have times, or none of them has.
    pub(super) fn from_chunks(mut chunks: Vec<Chunk>) -> Self {
        chunks.retain(|chunk| chunk.len() > 0);
        let mut len = 0;
        let starts = chunks
            .iter()
            .map(|chunk| {
                let start = len;
                len += chunk.len();
                start
            })
            .collect();
        let shift = shift_of(&chunks);
        Events { columns: Arc::new(Columns { chunks, starts, len, shift }) }
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.columns.len
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.columns.len == 0
    }

    /// Whether it is known when they happened.
    pub fn have_times(&self) -> bool {
        self.columns.chunks.first().is_some_and(|chunk| chunk.time.is_some())
    }

    /// The event at `index`, in constant time for columns in memory and files that this program prepared,
    /// otherwise by a binary search over the chunks.
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Events::len`].
    pub fn get(&self, index: usize) -> Event {
        let (chunk, row) = self.place(index);
        Event { entity: chunk.entity[row], address: Address::from_bits(chunk.address[row]) }
    }

    /// The second in which the event at `index` happened, counted from 1970-01-01T00:00:00Z; `None` where times were not
    /// read. As fast as [`Events::get`].
    ///
    /// # Panics
    ///
    /// When `index` is not below [`Events::len`].
    pub fn time(&self, index: usize) -> Option<u32> {
        let (chunk, row) = self.place(index);
        chunk.time.as_ref().map(|time| time[row])
    }

    /// The chunk of the event at `index`, and its row there.
    fn place(&self, index: usize) -> (&Chunk, usize) {
        let Columns { chunks, starts, shift, .. } = &*self.columns;
        let (chunk, row) = match shift {
            Some(shift) => (index >> shift, index & ((1 << shift) - 1)),
            None => {
                let chunk = starts.partition_point(|start| *start <= index) - 1;
                (chunk, index - starts[chunk])
            }
        };
        (&chunks[chunk], row)
    }

    /// The digest of all events; how they lie in memory or in files makes no difference.
    pub fn digest(&self) -> DataDigest {
        let hash = |bytes: fn(&Chunk) -> &[u8]| {
            let mut hasher = blake3::Hasher::new();
            for chunk in &self.columns.chunks {
                hasher.update_rayon(bytes(chunk));
            }
            hasher.finalize()
        };
        let (entities, addresses) = rayon::join(
            || hash(|chunk| chunk.entity.inner().as_slice()),
            || hash(|chunk| chunk.address.inner().as_slice()),
        );
        let mut all = blake3::Hasher::new();
        all.update(entities.as_bytes()).update(addresses.as_bytes());
        if self.have_times() {
            let times = hash(|chunk| chunk.time.as_ref().map_or(&[], |time| time.inner().as_slice()));
            all.update(times.as_bytes());
        }
        DataDigest { num_events: self.len() as u64, blake3: all.finalize().to_hex().to_string() }
    }

    /// BLAKE3, in hexadecimal, of some events in the order in which they are named: of each the entity's hash in 8
    /// bytes, the address's bits in 8 and, where there are times, the time in 4, little-endian.
    pub fn digest_of(&self, indices: impl Iterator<Item = usize>) -> String {
        let mut hasher = blake3::Hasher::new();
        for index in indices {
            let Event { entity, address } = self.get(index);
            hasher.update(&entity.to_le_bytes()).update(&address.bits().to_le_bytes());
            if let Some(time) = self.time(index) {
                hasher.update(&time.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Refuses events of a prepared file that was cut or changed since it was mapped. One that was replaced by renaming
    /// is as it was.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Io`] with the file's name.
    pub fn check_unchanged(&self) -> crate::Result<()> {
        self.columns.chunks.iter().try_for_each(|chunk| check_unchanged(chunk.entity.inner().as_slice()))
    }

    /// How they are held.
    pub fn held(&self) -> HeldEvents {
        let bytes = |is_mapped: bool| {
            let chunks = self.columns.chunks.iter().filter(|chunk| chunk.is_mapped == is_mapped);
            chunks.map(Chunk::num_bytes).sum()
        };
        let order_bytes = if self.are_in_order() { 0 } else { (size_of::<u32>() * self.len()) as u64 };
        HeldEvents {
            num_events: self.len() as u64,
            own_bytes: bytes(false),
            mapped_bytes: bytes(true),
            order_bytes,
        }
    }

    /// Whether no event has a time before that of the event before it.
    fn are_in_order(&self) -> bool {
        self.columns.chunks.iter().filter_map(|chunk| chunk.time.as_deref()).flatten().is_sorted()
    }

    /// The columns, in pieces.
    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.columns.chunks
    }

    /// The indices of the events in the order of their times; events of one second stay in the order in which they were
    /// given. `None` where the events lie in that order, or have no times. 4 bytes an event.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Data`] where more than 2^32 - 1 events are not in order.
    pub(crate) fn order_by_time(&self) -> crate::Result<Option<Vec<u32>>> {
        if self.are_in_order() {
            return Ok(None);
        }
        let len = u32::try_from(self.len()).map_err(|_| {
            let what = format!("{} events are not in the order of their times", self.len());
            crate::Error::data(
                "events",
                what,
                format!("sort them by time: at most {} are sorted here", u32::MAX),
            )
        })?;
        let mut order: Vec<u32> = (0..len).collect();
        order.par_sort_unstable_by_key(|index| (self.time(*index as usize), *index));
        Ok(Some(order))
    }

    /// All events in order with their times, each chunk of which is gone once it has been taken, where nobody else has it.
    pub(crate) fn into_timed(self) -> impl Iterator<Item = (Event, Option<u32>)> {
        let chunks =
            Arc::try_unwrap(self.columns).map_or_else(|shared| shared.chunks.clone(), |own| own.chunks);
        chunks.into_iter().flat_map(|chunk| {
            (0..chunk.len()).map(move |row| {
                let event =
                    Event { entity: chunk.entity[row], address: Address::from_bits(chunk.address[row]) };
                (event, chunk.time.as_ref().map(|time| time[row]))
            })
        })
    }

    /// All events in order.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.columns.chunks.iter().flat_map(Chunk::events)
    }
}

fn shift_of(chunks: &[Chunk]) -> Option<u32> {
    let Some((last, others)) = chunks.split_last() else { return Some(usize::BITS - 1) };
    let Some(first) = others.first() else { return Some(usize::BITS - 1) };
    let size = first.len();
    let is_even =
        size.is_power_of_two() && others.iter().all(|chunk| chunk.len() == size) && last.len() <= size;
    is_even.then(|| size.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(sizes: &[usize]) -> Vec<Chunk> {
        let mut next = 0;
        sizes
            .iter()
            .map(|&size| {
                let times: Vec<u32> = (next..next + size as u32).collect();
                next += size as u32;
                let entities: Vec<u64> = times.iter().map(|time| u64::from(*time) << 32).collect();
                let addresses: Vec<u64> = times.iter().map(|time| u64::from(*time) << 40).collect();
                let (entity, address) = (entities.into(), addresses.into());
                Chunk { entity, address, time: Some(times.into()), is_mapped: false }
            })
            .collect()
    }

    #[test]
    fn events_are_found_in_even_and_uneven_chunks() {
        let cases: [(&[usize], bool); 8] = [
            (&[], true),
            (&[5], true),
            (&[4, 4, 4], true),
            (&[4, 4, 1], true),
            (&[4, 5], false),
            (&[3, 3], false),
            (&[4, 0, 3, 7], false),
            (&[1, 1, 1, 0], true),
        ];
        for (sizes, is_even) in cases {
            let events = Events::from_chunks(chunks(sizes));
            assert_eq!(events.columns.shift.is_some(), is_even, "{sizes:?}");
            assert_eq!(events.len(), sizes.iter().sum::<usize>());
            assert_eq!(events.is_empty(), sizes.iter().all(|size| *size == 0));
            let all: Vec<Event> = events.iter().collect();
            let by_index: Vec<Event> = (0..events.len()).map(|index| events.get(index)).collect();
            assert_eq!(all, by_index, "{sizes:?}");
            assert!(all.iter().enumerate().all(|(i, event)| event.address.bits() == (i as u64) << 40));
            assert!((0..events.len()).all(|index| events.time(index) == Some(index as u32)));
        }
    }

    #[test]
    fn an_index_past_the_end_panics() {
        for sizes in [&[][..], &[3], &[4, 3], &[3, 4]] {
            let events = Events::from_chunks(chunks(sizes));
            for index in [events.len(), events.len() + 1, usize::MAX] {
                let result = std::panic::catch_unwind(|| events.get(index));
                assert!(result.is_err(), "{sizes:?} {index}");
            }
        }
    }

    #[test]
    fn a_digest_tells_other_events_and_another_order_but_not_other_chunks() {
        let digest = Events::from_chunks(chunks(&[7])).digest();
        assert_eq!(digest.num_events, 7);
        assert_eq!(Events::from_chunks(chunks(&[3, 4])).digest(), digest);
        assert_ne!(Events::from_chunks(chunks(&[6])).digest().blake3, digest.blake3);
        let addresses = |addresses: [u64; 2]| addresses.map(Address::from_bits).to_vec();
        let columns = |bits| Events::from_columns(vec![5, 5], addresses(bits));
        assert_ne!(columns([1, 2]).digest(), columns([2, 1]).digest());
        assert_ne!(columns([1, 2]).digest(), columns([1, 2 | 1 << 32]).digest());
        let timed = |times: [u32; 2]| Events::with_times(vec![5, 5], addresses([1, 2]), times.to_vec());
        assert_ne!(timed([7, 8]).digest(), columns([1, 2]).digest());
        assert_ne!(timed([7, 8]).digest(), timed([8, 7]).digest());
        assert_ne!(timed([7, 8]).digest_of([0].into_iter()), timed([8, 7]).digest_of([0].into_iter()));
        assert!(timed([7, 8]).have_times() && !columns([1, 2]).have_times());
    }

    #[test]
    fn events_can_be_shared_between_threads() {
        fn is_shared<T: Send + Sync + Clone>() {}
        is_shared::<Events>();
    }
}
