//! Groups events by account, and an account's events by address.

use rayon::prelude::*;

use super::account::{Account, Pair};
use super::clock::Clock;
use super::part::{NUM_PARTITIONS, PartSource, PartWriter, partition, set_distinct};
use super::usage::NUM_LEVELS;
use crate::Result;
use crate::event::Address;

/// Events that are cut by the range of their account's hash together.
const CHUNK_EVENTS: usize = 1 << 16;

/// An event, where its order is that of a list.
#[derive(Clone, Copy, Debug)]
struct Event {
    account: u64,
    address: u64,
    time: u32,
}

/// Columns of events in order. Without times `times` is empty.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) accounts: Vec<u64>,
    pub(super) addresses: Vec<Address>,
    pub(super) times: Vec<u32>,
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    pub(super) fn clear(&mut self) {
        self.accounts.clear();
        self.addresses.clear();
        self.times.clear();
    }
}

/// Some events, cut by the range of their account's hash and in order within each.
struct Chunk {
    events: Vec<Event>,
    /// Where each range ends.
    ends: Vec<u32>,
}

impl Chunk {
    fn new(accounts: &[u64], addresses: &[Address], times: &[u32]) -> Self {
        let mut ends = vec![0; NUM_PARTITIONS];
        for account in accounts {
            ends[partition(*account)] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            // Where the range starts, until its events are put there.
            let num = std::mem::replace(end, start);
            start += num;
        }
        let mut events = vec![Event { account: 0, address: 0, time: 0 }; accounts.len()];
        let times = times.iter().copied().chain(std::iter::repeat(0));
        for ((account, address), time) in accounts.iter().zip(addresses).zip(times) {
            let place = &mut ends[partition(*account)];
            events[*place as usize] = Event { account: *account, address: address.bits(), time };
            *place += 1;
        }
        Self { events, ends }
    }

    fn events(&self, partition: usize) -> &[Event] {
        let start = partition.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.events[start as usize..self.ends[partition] as usize]
    }
}

/// Events in memory, in order.
pub(super) struct Run {
    clock: Clock,
    chunks: Vec<Chunk>,
}

impl Run {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, chunks: Vec::new() }
    }

    pub(super) fn push(&mut self, columns: &Columns) {
        let chunk = |start: usize| {
            let end = columns.len().min(start + CHUNK_EVENTS);
            let times = if self.clock.is_timed { &columns.times[start..end] } else { &[] };
            Chunk::new(&columns.accounts[start..end], &columns.addresses[start..end], times)
        };
        let starts: Vec<_> = (0..columns.len()).step_by(CHUNK_EVENTS).collect();
        self.chunks.extend(starts.into_par_iter().map(chunk).collect::<Vec<_>>());
    }
}

impl PartSource for Run {
    fn write_part(&self, partition: usize, writer: &mut PartWriter) -> Result<()> {
        let events: Vec<_> = self.chunks.iter().flat_map(|chunk| chunk.events(partition)).copied().collect();
        let groups = Groups::new(&events);
        let mut grouper = PairGrouper { clock: self.clock, ..PairGrouper::default() };
        let mut start = 0;
        let mut account = Account {
            account: 0,
            events: 0,
            first: 0,
            last: 0,
            distinct: [0; NUM_LEVELS],
            pairs: Vec::new(),
        };
        for (hash, end) in groups.accounts.iter().copied().zip(groups.ends.iter().copied()) {
            let events = &groups.events[start..end as usize];
            grouper.group(events, &mut account.pairs);
            account.account = hash;
            account.events = events.len() as u32;
            (account.first, account.last) = (events[0].1, events[events.len() - 1].1);
            set_distinct(&mut account);
            writer.push(&mut account);
            start = end as usize;
        }
        Ok(())
    }
}

/// Events by account.
struct Groups {
    /// In ascending order.
    accounts: Vec<u64>,
    /// Where the events of each account end.
    ends: Vec<u32>,
    /// Address and time; those of an account in their order.
    events: Vec<(u64, u32)>,
}

impl Groups {
    fn new(events: &[Event]) -> Self {
        let mut index = AccountIndex::new(events.len());
        let mut of_event: Vec<u32> = events.iter().map(|event| index.number(event.account)).collect();
        let mut accounts = index.accounts;
        // The order of the accounts, and the place of each number in it.
        let mut order: Vec<u32> = (0..accounts.len() as u32).collect();
        order.sort_unstable_by_key(|number| accounts[*number as usize].0);
        let mut places = vec![0; accounts.len()];
        let mut ends = vec![0; accounts.len()];
        let mut start = 0;
        for (place, number) in order.iter().enumerate() {
            places[*number as usize] = place as u32;
            ends[place] = start;
            start += accounts[*number as usize].1;
        }
        accounts.sort_unstable();
        let mut grouped = vec![(0, 0); events.len()];
        for (event, number) in events.iter().zip(&mut of_event) {
            let end = &mut ends[places[*number as usize] as usize];
            grouped[*end as usize] = (event.address, event.time);
            *end += 1;
        }
        Self { accounts: accounts.into_iter().map(|(hash, _)| hash).collect(), ends, events: grouped }
    }
}

/// Numbers accounts as they come.
struct AccountIndex {
    /// Hash and number of events.
    accounts: Vec<(u64, u32)>,
    /// Number of an account plus one, or zero, at the first free place behind where its hash belongs.
    places: Vec<u32>,
    shift: u32,
}

impl AccountIndex {
    fn new(num_events: usize) -> Self {
        let num_bits = (2 * num_events).next_power_of_two().ilog2().max(1);
        Self { accounts: Vec::new(), places: vec![0; 1 << num_bits], shift: u64::BITS - num_bits }
    }

    #[inline(always)]
    fn number(&mut self, account: u64) -> u32 {
        // The first bits are those of the range of hashes: spread the others (Knuth's multiplicative
        // hashing).
        let mut place = (account.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        loop {
            match self.places[place].checked_sub(1) {
                Some(number) if self.accounts[number as usize].0 == account => {
                    self.accounts[number as usize].1 += 1;
                    return number;
                }
                Some(_) => place = (place + 1) & (self.places.len() - 1),
                None => {
                    self.accounts.push((account, 1));
                    self.places[place] = self.accounts.len() as u32;
                    return self.accounts.len() as u32 - 1;
                }
            }
        }
    }
}

/// Sums up an account's events by address.
struct PairGrouper {
    clock: Clock,
    /// Address and index of each event.
    ipv4: Vec<u64>,
    ipv6: Vec<u128>,
}

impl Default for PairGrouper {
    fn default() -> Self {
        Self { clock: Clock { is_timed: false, base: 0 }, ipv4: Vec::new(), ipv6: Vec::new() }
    }
}

impl PairGrouper {
    fn group(&mut self, events: &[(u64, u32)], pairs: &mut Vec<Pair>) {
        self.ipv4.clear();
        self.ipv6.clear();
        for (index, (address, _)) in (0_u32..).zip(events) {
            match u32::try_from(*address) {
                Ok(address) => self.ipv4.push(u64::from(address) << 32 | u64::from(index)),
                Err(_) => self.ipv6.push(u128::from(*address) << 32 | u128::from(index)),
            }
        }
        self.ipv4.sort_unstable();
        self.ipv6.sort_unstable();
        pairs.clear();
        let ipv4 = self.ipv4.iter().map(|key| (key >> 32, *key as u32));
        let ipv6 = self.ipv6.iter().map(|key| ((key >> 32) as u64, *key as u32));
        for (address, index) in ipv4.chain(ipv6) {
            let time = events[index as usize].1;
            self.count(Address::from_bits(address), index + 1, time, pairs);
        }
    }

    #[inline(always)]
    fn count(&self, address: Address, ordinal: u32, time: u32, pairs: &mut Vec<Pair>) {
        let is_timed = self.clock.is_timed;
        match pairs.last_mut() {
            Some(pair) if pair.address == address => {
                if is_timed && self.clock.day(time) != self.clock.day(pair.last) {
                    pair.days += 1;
                }
                (pair.events, pair.ordinal, pair.last) = (pair.events + 1, ordinal, time);
            }
            _ => {
                let (first_day, days) = if is_timed { (self.clock.day(time), 1) } else { (0, 0) };
                pairs.push(Pair { address, events: 1, ordinal, last: time, first_day, days });
            }
        }
    }
}
