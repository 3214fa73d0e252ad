use std::ops::Range;

use super::events::Events;
use super::order::EpochOrder;
use crate::event::{Address, entity_row};

/// Positive pairs for one step, sorted by entity row (the loss does not depend on their order, and sorted
/// rows make the gradients of one entity neighbours and the parts of a sharded table contiguous).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniBatch {
    /// `[B]`, ascending.
    pub entity_rows: Vec<u32>,
    /// `[B]`
    pub addresses: Vec<Address>,
}

impl MiniBatch {
    /// Gathers the events at `positions` of an epoch.
    pub fn gather(
        events: &Events,
        order: &EpochOrder,
        positions: Range<usize>,
        num_entity_vectors: usize,
    ) -> Self {
        Self::sorted(positions.map(|position| {
            let event = events.get(order.event_at(position));
            (entity_row(event.entity, num_entity_vectors), event.address)
        }))
    }

    /// Sorts (entity row, address) by row; those of one row keep their order.
    pub fn sorted(positives: impl Iterator<Item = (u32, Address)>) -> Self {
        let mut positives: Vec<(u32, Address)> = positives.collect();
        positives.sort_by_key(|(row, _)| *row);
        let (entity_rows, addresses) = positives.into_iter().unzip();
        MiniBatch { entity_rows, addresses }
    }

    /// B, the number of positive pairs.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// Runs of equal rows within ascending `rows`: the unique rows `[U]`, and `[U + 1]` positions at which each run
/// starts, closed by the end.
pub fn segments(rows: &[u32]) -> (Vec<u32>, Vec<i32>) {
    let (mut unique, mut offsets) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() + 1));
    for (position, row) in rows.iter().enumerate() {
        if unique.last() != Some(row) {
            unique.push(*row);
            offsets.push(position as i32);
        }
    }
    offsets.push(rows.len() as i32);
    (unique, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_pairs_stay_together() {
        let positives = [(5, 50), (1, 10), (5, 51 << 32), (1, 11), (0, 1)];
        let batch = MiniBatch::sorted(positives.into_iter().map(|(row, ip)| (row, Address::from_bits(ip))));
        assert_eq!(batch.entity_rows, [0, 1, 1, 5, 5]);
        assert_eq!(batch.addresses, [1, 10, 11, 50, 51 << 32].map(Address::from_bits));
    }

    #[test]
    fn segments_are_the_runs_of_equal_rows() {
        let rows = [0, 1, 1, 5, 5, 5, 9];
        assert_eq!(segments(&rows), (vec![0, 1, 5, 9], vec![0, 1, 3, 6, 7]));
        assert_eq!(segments(&[]), (vec![], vec![0]));
    }

    #[test]
    fn an_epoch_in_mini_batches_is_every_event_once() {
        let entities: Vec<u64> = (0..1003).map(|i| i * 7).collect();
        let events = Events::from_columns(entities, (0..1003).map(Address::from_ipv4).collect());
        let order = EpochOrder::new(events.len(), 3, 1);
        let mut addresses: Vec<Address> = (0..1003)
            .step_by(100)
            .flat_map(|start| {
                MiniBatch::gather(&events, &order, start..(start + 100).min(1003), 50).addresses
            })
            .collect();
        addresses.sort_unstable();
        assert!(addresses.into_iter().eq((0..1003).map(Address::from_ipv4)));
    }
}
