//! Which entities, addresses and networks have the most events.

use rayon::slice::ParallelSliceMut;

use super::events::Events;
use crate::event::Address;

/// A count of something's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heavy<T> {
    /// An entity's hash, or an address; of a network its first.
    pub key: T,
    /// Its events.
    pub num_events: u64,
}

/// Those with the most events, the most first; of equal ones the lower key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heaviest {
    /// All events.
    pub num_events: u64,
    /// Distinct entities.
    pub num_entities: u64,
    /// Distinct addresses.
    pub num_ips: u64,
    /// Entities, by their hashes.
    pub entities: Vec<Heavy<u64>>,
    /// Addresses.
    pub ips: Vec<Heavy<Address>>,
    /// IPv4 networks of 24 bits.
    pub networks_24: Vec<Heavy<Address>>,
    /// IPv4 networks of 16 bits.
    pub networks_16: Vec<Heavy<Address>>,
    /// IPv6 networks of 48 bits.
    pub networks_48: Vec<Heavy<Address>>,
    /// IPv6 networks of 32 bits.
    pub networks_32: Vec<Heavy<Address>>,
}

impl Heaviest {
    /// Finds the `num` heaviest of each kind. Takes 8 bytes an event, and 16 for each distinct entity.
    pub fn of(events: &Events, num: usize) -> Self {
        let mut entities: Vec<u64> = events.iter().map(|event| event.entity).collect();
        entities.par_sort_unstable();
        let (num_entities, heaviest_entities) = heaviest(&entities, |entity| entity, num);
        drop(entities);
        let mut ips: Vec<Address> = events.iter().map(|event| event.address).collect();
        ips.par_sort_unstable();
        let (num_ips, heaviest_ips) = heaviest(&ips, |ip| ip, num);
        let (ipv4, ipv6) = ips.split_at(ips.partition_point(|ip| ip.is_ipv4()));
        let networks = |ips: &[Address], num_host_bits: u32| {
            let network = |ip: Address| Address::from_bits(ip.bits() & u64::MAX << num_host_bits);
            heaviest(ips, network, num).1
        };
        Heaviest {
            num_events: events.len() as u64,
            num_entities,
            num_ips,
            entities: heaviest_entities,
            ips: heaviest_ips,
            networks_24: networks(ipv4, 8),
            networks_16: networks(ipv4, 16),
            networks_48: networks(ipv6, 16),
            networks_32: networks(ipv6, 32),
        }
    }
}

/// How many groups there are in sorted values, and the largest of them.
fn heaviest<T: Copy + Ord>(sorted: &[T], group: impl Fn(T) -> T, num: usize) -> (u64, Vec<Heavy<T>>) {
    let runs = sorted.chunk_by(|a, b| group(*a) == group(*b));
    let mut all: Vec<Heavy<T>> =
        runs.map(|run| Heavy { key: group(run[0]), num_events: run.len() as u64 }).collect();
    let num_groups = all.len() as u64;
    all.sort_unstable_by_key(|heavy| (std::cmp::Reverse(heavy.num_events), heavy.key));
    all.truncate(num);
    (num_groups, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_come_first_and_networks_add_up() {
        let ips = [0x0102_0304, 0x0102_0304, 0x0102_0305, 0x0102_FF01, 0x0A00_0001, 0x0A00_0001, 0x0A00_0001];
        let ipv6 = [0x2001_0DB8_0001_0002, 0x2001_0DB8_0001_0003, 0x2001_0DB8_0002_0003];
        let addresses = ips.into_iter().chain(ipv6).map(Address::from_bits).collect();
        let events = Events::from_columns(vec![5, 5, 9, 9, 9, 2, 1, 1, 1, 3], addresses);
        let found = Heaviest::of(&events, 2);
        let pairs =
            |heavy: &[Heavy<Address>]| heavy.iter().map(|h| (h.key.bits(), h.num_events)).collect::<Vec<_>>();
        assert_eq!((found.num_events, found.num_entities, found.num_ips), (10, 5, 7));
        assert_eq!(found.entities, [Heavy { key: 1, num_events: 3 }, Heavy { key: 9, num_events: 3 }]);
        assert_eq!(pairs(&found.ips), [(0x0A00_0001, 3), (0x0102_0304, 2)]);
        assert_eq!(pairs(&found.networks_24), [(0x0102_0300, 3), (0x0A00_0000, 3)]);
        assert_eq!(pairs(&found.networks_16), [(0x0102_0000, 4), (0x0A00_0000, 3)]);
        assert_eq!(pairs(&found.networks_48), [(0x2001_0DB8_0001_0000, 2), (0x2001_0DB8_0002_0000, 1)]);
        assert_eq!(pairs(&found.networks_32), [(0x2001_0DB8_0000_0000, 3)]);
    }
}
