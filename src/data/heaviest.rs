//! Which entities, addresses and networks have the most events.

use rayon::slice::ParallelSliceMut;

use super::events::Events;
use crate::event::{Address, mix};

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
    /// Finds the `num` heaviest of each kind. Takes at most some 384 MiB, and more only where a single one has as much.
    pub fn of(events: &Events, num: usize) -> Self {
        Self::in_passes(events, num, AT_ONCE)
    }

    /// Entities, and addresses by their widest networks, are shared out among passes over the events.
    fn in_passes(events: &Events, num: usize, at_once: usize) -> Self {
        let num_passes = (events.len().div_ceil(at_once) as u64).max(1);
        let mut entities = Top::new(num);
        let [mut ips, mut networks_24, mut networks_16, mut networks_48, mut networks_32] =
            std::array::from_fn(|_| Top::new(num));
        for pass in 0..num_passes {
            let is_next = |key: u64| mix(key) % num_passes == pass;
            let found = events.iter().map(|event| event.entity).filter(|entity| is_next(*entity));
            entities.add(&sorted(found), |entity| entity);
            let found = events.iter().map(|event| event.address).filter(|ip| is_next(widest_network(*ip)));
            let found = sorted(found);
            ips.add(&found, |ip| ip);
            let (ipv4, ipv6) = found.split_at(found.partition_point(|ip| ip.is_ipv4()));
            networks_24.add(ipv4, |ip| network(ip, 8));
            networks_16.add(ipv4, |ip| network(ip, 16));
            networks_48.add(ipv6, |ip| network(ip, 16));
            networks_32.add(ipv6, |ip| network(ip, 32));
        }
        Heaviest {
            num_events: events.len() as u64,
            num_entities: entities.num_groups,
            num_ips: ips.num_groups,
            entities: entities.heaviest,
            ips: ips.heaviest,
            networks_24: networks_24.heaviest,
            networks_16: networks_16.heaviest,
            networks_48: networks_48.heaviest,
            networks_32: networks_32.heaviest,
        }
    }
}

/// Events that are counted together: 8 bytes each, and 16 for what differs.
const AT_ONCE: usize = 1 << 24;

fn network(ip: Address, num_host_bits: u32) -> Address {
    Address::from_bits(ip.bits() & u64::MAX << num_host_bits)
}

/// The widest network that is counted: /16 of IPv4, /32 of IPv6.
fn widest_network(ip: Address) -> u64 {
    network(ip, if ip.is_ipv4() { 16 } else { 32 }).bits()
}

fn sorted<T: Ord + Send>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.par_sort_unstable();
    values
}

/// The largest groups so far, and how many groups there are.
struct Top<T> {
    num: usize,
    num_groups: u64,
    heaviest: Vec<Heavy<T>>,
}

impl<T: Copy + Ord> Top<T> {
    fn new(num: usize) -> Self {
        Self { num, num_groups: 0, heaviest: Vec::new() }
    }

    /// Adds groups of sorted values that were in no values before.
    fn add(&mut self, sorted: &[T], group: impl Fn(T) -> T) {
        let runs = sorted.chunk_by(|a, b| group(*a) == group(*b));
        let num_before = self.heaviest.len();
        self.heaviest.extend(runs.map(|run| Heavy { key: group(run[0]), num_events: run.len() as u64 }));
        self.num_groups += (self.heaviest.len() - num_before) as u64;
        self.heaviest.sort_unstable_by_key(|heavy| (std::cmp::Reverse(heavy.num_events), heavy.key));
        self.heaviest.truncate(self.num);
        self.heaviest.shrink_to_fit();
    }
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
        for at_once in 1..10 {
            assert_eq!(Heaviest::in_passes(&events, 2, at_once), found, "{at_once} at once");
        }
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
