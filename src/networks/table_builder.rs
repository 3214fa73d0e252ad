//! Makes a table of networks in any order.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use super::owner::NUM_OWNER_LEVELS;
use super::sections::Numbers;
use super::table::{INDEX_LEN, NO_GROUP, NOBODY, Networks, NetworksSource};

/// What a source says of the owner of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct OwnerData {
    /// 0 where it is not known.
    pub(super) asn: u32,
    /// Two letters, or zeros where it is not known.
    pub(super) country: [u8; 2],
    pub(super) name: String,
}

impl OwnerData {
    /// Two letters in either case, or none.
    pub(super) fn country(text: &str) -> [u8; 2] {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                [a.to_ascii_uppercase(), b.to_ascii_uppercase()]
            }
            _ => [0; 2],
        }
    }
}

/// A range of addresses in the bits of [`crate::event::Address`], both ends inclusive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: u64,
    last: u64,
    owner: u32,
}

/// Networks and owners that were read so far.
#[derive(Default)]
pub(super) struct TableBuilder {
    owners: HashMap<OwnerData, u32>,
    ipv4: Vec<Range>,
    ipv6: Vec<Range>,
}

impl TableBuilder {
    /// Adds a network, from its first address to its last; one whose owner has neither AS number nor country counts as
    /// nobody's.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence about it.
    pub(super) fn add(&mut self, first: IpAddr, last: IpAddr, owner: OwnerData) -> Result<(), String> {
        if owner.asn == 0 && owner.country == [0; 2] {
            return Ok(());
        }
        let next = self.owners.len() as u32;
        let owner = *self.owners.entry(owner).or_insert(next);
        if owner >= NOBODY {
            return Err(format!("is of one owner more than the {NOBODY} that a table can have"));
        }
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                let [first, last] = [first, last].map(|ip| u64::from(ip.to_bits()));
                self.ipv4.push(Range { first, last, owner });
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => self.add_ipv6(first, last, owner),
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                return Err(format!("ends at {last}, before its start {first}"));
            }
            _ => return Err(format!("has {first} and {last}, which are of different families")),
        }
        Ok(())
    }

    /// Each /64 whose first address is in the range. No event has an address of ::/32.
    fn add_ipv6(&mut self, first: Ipv6Addr, last: Ipv6Addr, owner: u32) {
        let first = (first.to_bits() >> 64) as u64 + u64::from(first.to_bits() as u64 != 0);
        let last = (last.to_bits() >> 64) as u64;
        let first = first.max(1 << 32);
        if first <= last {
            self.ipv6.push(Range { first, last, owner });
        }
    }

    /// The table.
    ///
    /// # Errors
    ///
    /// What is wrong with the networks, as the end of a sentence about the file.
    pub(super) fn finish(mut self, source: NetworksSource) -> Result<Networks, String> {
        if self.owners.is_empty() {
            return Err("holds no network with an AS number or a country".into());
        }
        for ranges in [&mut self.ipv4, &mut self.ipv6] {
            *ranges = without_overlaps(std::mem::take(ranges));
        }
        let mut data: Vec<(OwnerData, u32)> = self.owners.into_iter().collect();
        data.sort_unstable();
        // Owners in the order of their numbers, so that the same networks give the same bytes in any order.
        let mut places = vec![0; data.len()];
        for (place, (_, before)) in data.iter().enumerate() {
            places[*before as usize] = place as u32;
        }
        for range in self.ipv4.iter_mut().chain(&mut self.ipv6) {
            range.owner = places[range.owner as usize];
        }
        let data: Vec<OwnerData> = data.into_iter().map(|(owner, _)| owner).collect();
        let source =
            NetworksSource { num_ipv4: self.ipv4.len() as u64, num_ipv6: self.ipv6.len() as u64, ..source };
        Ok(assemble(source, &self.ipv4, &self.ipv6, &data))
    }
}

/// The same networks in ascending order without overlaps, which published tables have in places: the network that starts
/// later has the addresses that two have, and of those that start together the smaller.
fn without_overlaps(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable_by_key(|range| (range.first, std::cmp::Reverse(range.last), range.owner));
    let mut found = Vec::with_capacity(ranges.len());
    // Networks around the place where the next range begins, the innermost last.
    let mut around: Vec<Range> = Vec::new();
    let mut next = 0u128;
    let mut end_before = |bound: u128, around: &mut Vec<Range>, next: &mut u128| {
        while let Some(range) = around.last() {
            let last = u128::from(range.last).min(bound.wrapping_sub(1));
            if bound > 0 && *next <= last {
                found.push(Range { first: *next as u64, last: last as u64, ..*range });
                *next = last + 1;
            }
            if u128::from(range.last) >= bound {
                break;
            }
            around.pop();
        }
    };
    for range in ranges {
        end_before(range.first.into(), &mut around, &mut next);
        next = range.first.into();
        around.push(range);
    }
    end_before(1 << 64, &mut around, &mut next);
    found
}

fn assemble(source: NetworksSource, ipv4: &[Range], ipv6: &[Range], owners: &[OwnerData]) -> Networks {
    let groups: [BTreeMap<u64, u32>; NUM_OWNER_LEVELS] = std::array::from_fn(|level| {
        let mut keys: Vec<u64> = owners.iter().filter_map(|owner| key(owner, level)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().zip(0..).collect()
    });
    let group =
        |owner: &OwnerData, level: usize| key(owner, level).map_or(NO_GROUP, |key| groups[level][&key]);
    let mut names = Vec::new();
    let mut records = Vec::new();
    for owner in owners {
        records.extend_from_slice(&owner.asn.to_le_bytes());
        (0..NUM_OWNER_LEVELS).for_each(|level| records.extend_from_slice(&group(owner, level).to_le_bytes()));
        records.extend_from_slice(&owner.country);
        records.extend_from_slice(&[0; 2]);
        records.extend_from_slice(&(names.len() as u32).to_le_bytes());
        names.extend_from_slice(owner.name.as_bytes());
    }
    let num_groups = groups.each_ref().map(|groups| groups.len() as u32);
    let shares = (0..NUM_OWNER_LEVELS).flat_map(|level| {
        let group = |range: &Range| group(&owners[range.owner as usize], level);
        shares(ipv4, ipv6, num_groups[level] as usize, group)
    });
    let shares = Numbers::of(shares.map(|share| share.to_bits().into()));
    let (starts, owners4) = segments(ipv4, u64::from(u32::MAX));
    let (starts6, owners6) = segments(ipv6, u64::MAX);
    let place = |upper: usize| starts.partition_point(|start| *start < (upper as u64) << 16) as u64;
    Networks {
        source,
        ipv4_index: Numbers::of((0..INDEX_LEN).map(place)),
        ipv4_starts: Numbers::of(starts.iter().copied()),
        ipv4_owners: Numbers::of(owners4.into_iter().map(u64::from)),
        ipv6_starts: Numbers::of(starts6.into_iter()),
        ipv6_owners: Numbers::of(owners6.into_iter().map(u64::from)),
        owners: records.into(),
        names: names.into(),
        shares,
        num_groups,
    }
}

/// What the owners of a group have in common; none where an owner is in no group of the level.
fn key(owner: &OwnerData, level: usize) -> Option<u64> {
    let key = if level == 0 { owner.asn.into() } else { u16::from_be_bytes(owner.country).into() };
    Some(key).filter(|key| *key != 0)
}

/// The starts of ranges without gaps, and their owners.
fn segments(ranges: &[Range], end: u64) -> (Vec<u64>, Vec<u32>) {
    let (mut starts, mut owners) = (Vec::new(), Vec::new());
    let mut add = |start: u64, owner: u32| {
        if owners.last() != Some(&owner) {
            starts.push(start);
            owners.push(owner);
        }
    };
    for (i, range) in ranges.iter().enumerate() {
        add(range.first, range.owner);
        let next = ranges.get(i + 1).map(|next| next.first);
        if range.last < end && next != Some(range.last + 1) {
            add(range.last + 1, NOBODY);
        }
    }
    (starts, owners)
}

/// The share of each group: of all IPv4 addresses, or, where it has none of these, of the /64s that the table has.
fn shares(ipv4: &[Range], ipv6: &[Range], num: usize, group: impl Fn(&Range) -> u32) -> Vec<f32> {
    let count = |ranges: &[Range]| {
        let mut counts = vec![0.0; num];
        for range in ranges {
            if let Some(count) = counts.get_mut(group(range) as usize) {
                *count += (range.last - range.first) as f64 + 1.0;
            }
        }
        counts
    };
    let (ipv4, ipv6) = (count(ipv4), count(ipv6));
    let num_ipv6 = ipv6.iter().sum::<f64>().max(1.0);
    let share = |(ipv4, ipv6): (&f64, &f64)| match *ipv4 {
        0.0 => (ipv6 / num_ipv6) as f32,
        num => (num / f64::exp2(32.0)) as f32,
    };
    ipv4.iter().zip(&ipv6).map(share).map(|share| share.max(MIN_SHARE)).collect()
}

/// The least share of a group, so that its logarithm is finite.
const MIN_SHARE: f32 = 1e-12;
