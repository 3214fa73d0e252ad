//! How many prefixes of each length are in use.

use super::base::History;
use super::chain::{Chain, NUM_FAMILIES};
use super::trie_read::BucketReader;
use super::usage::NUM_LEVELS;

impl History {
    /// Distinct prefixes of each level in use by any account, of IPv4 and of IPv6. Reads all addresses.
    pub fn num_prefixes(&self) -> [[u64; NUM_LEVELS]; NUM_FAMILIES] {
        std::array::from_fn(|family| {
            let Some(trie) = self.population_trie(family) else { return [0; NUM_LEVELS] };
            let mut counter = Counter { chain: trie.chain(), last: None, counts: [0; NUM_LEVELS] };
            trie.read_all(0, &mut counter);
            counter.counts
        })
    }
}

struct Counter {
    chain: &'static Chain,
    /// The address before.
    last: Option<u64>,
    counts: [u64; NUM_LEVELS],
}

impl BucketReader for Counter {
    fn bucket(&mut self, addresses: &[u64], _: u64, _: usize) {
        for address in addresses {
            let num_shared = self.last.map_or(0, |last| self.chain.shared(address ^ last));
            self.counts[num_shared..].iter_mut().for_each(|count| *count += 1);
            self.last = Some(*address);
        }
    }
}
