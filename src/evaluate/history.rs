//! Detectors that need no training but a memory of events: tables of addresses and subnets, and the ratio of
//! likelihoods of Freeman et al., "Who Are You? A Statistical Approach to Measuring User Authenticity" (NDSS 2016).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use rayon::slice::ParallelSliceMut;

use crate::Event;
use crate::data::Events;

/// Detectors of a [`History`], in the order of [`History::scores`].
pub const BASELINES: [&str; 5] =
    ["ip_table", "subnet_24_table", "subnet_16_table", "subnet_8_table", "likelihood_ratio"];

/// Prefix lengths of the tables.
const TABLES: [u32; 4] = [32, 24, 16, 8];

/// Prefix lengths through which the likelihoods back off; before the first, addresses are uniform.
const LEVELS: [u32; 3] = [16, 24, 32];

/// How many events the estimate of the level above is worth.
const PRIOR_EVENTS: f64 = 1.0;

/// Training events from IPv4 addresses, sorted: 8 bytes an event and 32 an entity.
#[derive(Debug)]
pub struct History {
    /// The addresses of each entity, sorted, one entity after the other.
    ips: Vec<u32>,
    /// Where those of an entity stand.
    entities: HashMap<u64, Range<usize>, BuildHasherDefault<Rehash>>,
    /// All addresses, sorted.
    all: Vec<u32>,
}

impl History {
    /// Takes training events in any order.
    pub fn new(events: &Events) -> Self {
        let mut pairs: Vec<(u64, u32)> =
            events.iter().filter_map(|event| Some((event.entity, event.address.ipv4()?))).collect();
        pairs.par_sort_unstable();
        let ips: Vec<u32> = pairs.iter().map(|(_, ip)| *ip).collect();
        let mut start = 0;
        let entities = pairs
            .chunk_by(|a, b| a.0 == b.0)
            .map(|of_entity| {
                let range = start..start + of_entity.len();
                start = range.end;
                (of_entity[0].0, range)
            })
            .collect();
        drop(pairs);
        let mut all = ips.clone();
        all.par_sort_unstable();
        History { ips, entities, all }
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of the entity's events.
    pub fn num_events(&self, entity: u64) -> u64 {
        self.of_entity(entity).len() as u64
    }

    fn of_entity(&self, entity: u64) -> &[u32] {
        self.entities.get(&entity).map_or(&[], |range| &self.ips[range.clone()])
    }

    /// The anomaly scores of an event by each of [`BASELINES`]; high means anomalous.
    ///
    /// A table's score is the negated number of the entity's events with the address, or in its subnet: all that
    /// was never seen ties at 0. Numbers are exact up to 2^24.
    ///
    /// The likelihood ratio is `ln p(ip) - ln p(ip | entity)`. Both are products over the prefix lengths 16, 24
    /// and 32 of `p(prefix | shorter prefix) = (count of the prefix + prior) / (count of the shorter one + 1)`.
    /// The prior is the probability of the level above: among all events that of uniform addresses, for the
    /// entity that among all events (a hierarchy of Dirichlet priors, MacKay & Peto 1995). An entity without
    /// events has a ratio of 1, and a score of 0.
    pub fn scores(&self, event: Event) -> [f32; BASELINES.len()] {
        let Some(address) = event.address.ipv4() else { return [0.0; BASELINES.len()] };
        let own = self.of_entity(event.entity);
        let [ip, subnet_24, subnet_16, subnet_8] =
            TABLES.map(|length| -(count_of_prefix(own, address, length) as f32));
        [ip, subnet_24, subnet_16, subnet_8, self.likelihood_ratio(own, address) as f32]
    }

    fn likelihood_ratio(&self, own: &[u32], ip: u32) -> f64 {
        let (mut own_above, mut all_above) = (own.len() as f64, self.all.len() as f64);
        let mut length_above = 0;
        let mut log_ratio = 0.0;
        for length in LEVELS {
            let uniform = f64::exp2(-f64::from(length - length_above));
            let own_count = count_of_prefix(own, ip, length) as f64;
            let all_count = count_of_prefix(&self.all, ip, length) as f64;
            let of_all = (all_count + PRIOR_EVENTS * uniform) / (all_above + PRIOR_EVENTS);
            let of_own = (own_count + PRIOR_EVENTS * of_all) / (own_above + PRIOR_EVENTS);
            log_ratio += of_all.ln() - of_own.ln();
            (own_above, all_above, length_above) = (own_count, all_count, length);
        }
        log_ratio
    }
}

/// How many of the sorted `ips` share the first `length` bits (1..=32) with `ip`.
fn count_of_prefix(ips: &[u32], ip: u32, length: u32) -> usize {
    let shift = 32 - length;
    let start = ips.partition_point(|other| other >> shift < ip >> shift);
    ips[start..].partition_point(|other| other >> shift == ip >> shift)
}

/// Entities are hashes already.
#[derive(Default)]
struct Rehash(u64);

impl Hasher for Rehash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Address;

    fn history(events: &[(u64, u32)]) -> History {
        let (entities, addresses) =
            events.iter().map(|(entity, ip)| (*entity, Address::from_ipv4(*ip))).unzip();
        History::new(&Events::from_columns(entities, addresses))
    }

    fn event(entity: u64, ip: u32) -> Event {
        Event { entity, address: Address::from_ipv4(ip) }
    }

    #[test]
    fn tables_count_the_entitys_own_events_in_the_prefix() {
        let (a, b) = (0x0A01_0203, 0x0A01_0204);
        let history = history(&[(1, a), (1, b), (1, a), (2, a), (1, 0x0AFF_0000), (1, 0x0A01_FF00)]);
        let tables = |entity, ip| history.scores(event(entity, ip))[..4].to_vec();
        assert_eq!(tables(1, a), [-2.0, -3.0, -4.0, -5.0]);
        assert_eq!(tables(1, 0x0B01_0203), [0.0; 4]);
        assert_eq!(tables(2, b), [0.0, -1.0, -1.0, -1.0]);
        assert_eq!(tables(3, a), [0.0; 4]);
        assert_eq!((history.num_events(1), history.num_events(3), history.len()), (5, 0, 6));
    }

    #[test]
    fn a_ratio_of_likelihoods_is_that_of_two_distributions() {
        let history = history(&[(1, 0x0A01_0203), (1, 0x0A01_0203), (1, 0x0A02_0000), (2, 0x0A01_0299)]);
        let ratio = |entity, ip| history.scores(event(entity, ip))[4];
        // Unknown entities have no information.
        assert_eq!(ratio(9, 0x0A01_0203), 0.0);
        // Own addresses are normal, the nearer the more; another's is not.
        let scores = [0x0A01_0203, 0x0A01_0207, 0x0A01_FFFF, 0x0B00_0000].map(|ip| ratio(1, ip));
        assert!(scores.is_sorted() && scores[0] < 0.0 && scores[3] > 0.0, "{scores:?}");
    }

    #[test]
    fn prefixes_are_counted_at_both_ends_of_the_addresses() {
        let ips = [0, 0, 1, 0xFFFF_FFFE, u32::MAX];
        let count = |ip, length| count_of_prefix(&ips, ip, length);
        assert_eq!((count(0, 32), count(0, 31), count(u32::MAX, 31), count(u32::MAX, 32)), (2, 3, 2, 1));
        assert_eq!((count(5, 8), count(0x0500_0000, 8), count(0x7000_0000, 1)), (3, 0, 3));
        assert_eq!(count_of_prefix(&[], 5, 16), 0);
    }
}
