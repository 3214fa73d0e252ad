use ipsight_kernels::permutation::Permutation;
use ipsight_kernels::philox::{Stream, stream_key};

/// The order in which one epoch visits the events: a keyed permutation of `0..num_events`, a function of
/// (seed, epoch), known at any position without memory.
#[derive(Clone, Copy, Debug)]
pub struct EpochOrder {
    permutation: Permutation,
}

impl EpochOrder {
    /// The order of `epoch` (from 0).
    pub fn new(num_events: usize, seed: u64, epoch: u32) -> Self {
        let key = stream_key(seed, Stream::EpochOrder);
        Self { permutation: Permutation::new(num_events as u64, [0, 0, 0, epoch], key) }
    }

    /// The number of the event at `position`, which must be below the number of events.
    pub fn event_at(&self, position: usize) -> usize {
        self.permutation.apply(position as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_event_comes_once(num_events in 1usize..3000, seed: u64, epoch: u32) {
            let order = EpochOrder::new(num_events, seed, epoch);
            let mut events: Vec<_> = (0..num_events).map(|p| order.event_at(p)).collect();
            events.sort_unstable();
            prop_assert!(events.into_iter().eq(0..num_events));
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed, epoch| {
            let order = EpochOrder::new(1000, seed, epoch);
            (0..1000).map(|p| order.event_at(p)).collect::<Vec<_>>()
        };
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
    }
}
