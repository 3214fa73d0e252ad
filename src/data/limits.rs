//! At most so many events of an entity, and of an address: a client that can cause events must not be able to cause
//! any number of them.
//!
//! Of an entity that has more, those with the smallest keyed hashes of their positions are kept, which is a uniform
//! sample without replacement (bottom-k sampling, Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC
//! 2007), and a function of the events, the seed and nothing else. The kept ones stay in their order.

use std::fmt;

use rayon::slice::ParallelSliceMut;

use super::events::Events;
use crate::event::Event;
use crate::event::mix;

/// How many events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventLimits {
    /// Of an entity, from 1.
    pub per_entity: Option<usize>,
    /// Of an address, from 1, after those of entities.
    pub per_ip: Option<usize>,
}

/// What a limit has left out. `Display` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Of what: `entities` or `addresses`.
    pub of: &'static str,
    /// Events that each of them may keep.
    pub limit: usize,
    /// Events that were left out.
    pub num_events: u64,
    /// Entities or addresses that had more events.
    pub num_over_limit: u64,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, limit, num_events, num_over_limit } = self;
        write!(f, "{num_events} events of {num_over_limit} {of} left out, which had more than {limit}")
    }
}

impl EventLimits {
    /// Whether there is none.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The events within the limits, in their order, in memory: 16 bytes an event, and 4 more with its time.
    pub fn apply(&self, events: Events, seed: u64) -> (Events, Vec<LeftOut>) {
        if self.are_none() {
            return (events, Vec::new());
        }
        let (kept, left_out) = self.keep(&events, seed);
        let num_kept = kept.len();
        let (mut entities, mut addresses) = (Vec::with_capacity(num_kept), Vec::with_capacity(num_kept));
        let mut times = Vec::with_capacity(if events.have_times() { num_kept } else { 0 });
        let have_times = events.have_times();
        for (_, (event, time)) in events.into_timed().enumerate().filter(|(position, _)| kept.has(*position))
        {
            entities.push(event.entity);
            addresses.push(event.address);
            times.extend(time);
        }
        let events = match have_times {
            true => Events::with_times(entities, addresses, times),
            false => Events::from_columns(entities, addresses),
        };
        (events, left_out)
    }

    /// Which events are within the limits. Takes a bit an event and at most some 256 MiB, and as much again as groups with
    /// their limit of events need.
    pub fn keep(&self, events: &Events, seed: u64) -> (Kept, Vec<LeftOut>) {
        self.keep_in_passes(events, seed, AT_ONCE)
    }

    fn keep_in_passes(&self, events: &Events, seed: u64, at_once: usize) -> (Kept, Vec<LeftOut>) {
        let mut keeper = Keeper { events, kept: Kept::all(events.len()), at_once };
        let mut left_out = Vec::new();
        // Each limit draws by a key of its own: where they have one, the second would not draw among the first's.
        if let Some(limit) = self.per_entity {
            left_out.push(keeper.limit("entities", limit, mix(seed), |event| event.entity));
        }
        if let Some(limit) = self.per_ip {
            left_out.push(keeper.limit("addresses", limit, mix(!seed), |event| event.address.bits()));
        }
        (keeper.kept, left_out)
    }
}

/// Which of some events are kept, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    words: Vec<u64>,
    num_kept: usize,
}

impl Kept {
    fn all(num_events: usize) -> Self {
        Self { words: vec![u64::MAX; num_events.div_ceil(64)], num_kept: num_events }
    }

    /// Whether the event at a position is kept.
    pub fn has(&self, position: usize) -> bool {
        self.words[position / 64] >> (position % 64) & 1 == 1
    }

    /// The number of events that are kept.
    pub fn len(&self) -> usize {
        self.num_kept
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.num_kept == 0
    }

    /// Leaves out an event that is kept.
    fn leave_out(&mut self, position: usize) {
        self.words[position / 64] &= !(1 << (position % 64));
        self.num_kept -= 1;
    }
}

/// Events whose groups are looked at together: each takes 16 bytes.
const AT_ONCE: usize = 1 << 24;

struct Keeper<'a> {
    events: &'a Events,
    kept: Kept,
    at_once: usize,
}

/// An event of a group that may still be kept.
#[derive(Clone, Copy)]
struct Candidate {
    group: u64,
    /// Its position; the highest bit says whether others of its group were left out.
    position: u64,
}

/// The highest bit of a position.
const IS_OVER_LIMIT: u64 = 1 << 63;

impl Candidate {
    /// Two positions never have one rank: all of this is a bijection.
    fn rank(self, key: u64) -> u64 {
        mix((self.position & !IS_OVER_LIMIT) ^ key)
    }
}

impl Keeper<'_> {
    /// Keeps at most `limit` events of one `group`. The groups are shared out among passes over the events.
    fn limit(&mut self, of: &'static str, limit: usize, key: u64, group: impl Fn(&Event) -> u64) -> LeftOut {
        let num_before = self.kept.num_kept;
        let num_passes = (num_before.div_ceil(self.at_once) as u64).max(1);
        let events = self.events;
        let mut num_over_limit = 0;
        for pass in 0..num_passes {
            let mut candidates = Vec::new();
            let mut max_len = self.at_once;
            for (position, event) in events.iter().enumerate() {
                let group = group(&event);
                if !self.kept.has(position) || mix(group) % num_passes != pass {
                    continue;
                }
                candidates.push(Candidate { group, position: position as u64 });
                // A group with more events than all others is cut down before it is there whole.
                if candidates.len() == max_len {
                    self.cut_down(&mut candidates, limit, key);
                    max_len = self.at_once.max(2 * candidates.len());
                }
            }
            self.cut_down(&mut candidates, limit, key);
            let groups = candidates.chunk_by(|a, b| a.group == b.group);
            num_over_limit += groups.filter(|group| group[0].position & IS_OVER_LIMIT != 0).count() as u64;
        }
        let num_events = (num_before - self.kept.num_kept) as u64;
        LeftOut { of, limit, num_events, num_over_limit }
    }

    /// Leaves out those that are not among the `limit` of their group with the smallest ranks, and sorts the others by group.
    fn cut_down(&mut self, candidates: &mut Vec<Candidate>, limit: usize, key: u64) {
        candidates.par_sort_unstable_by_key(|candidate| (candidate.group, candidate.rank(key)));
        for group in candidates.chunk_by_mut(|a, b| a.group == b.group) {
            let is_over = group.len() > limit || group.iter().any(|one| one.position & IS_OVER_LIMIT != 0);
            if is_over {
                group.iter_mut().for_each(|one| one.position |= IS_OVER_LIMIT);
            }
            for one in group.iter().skip(limit) {
                self.kept.leave_out((one.position & !IS_OVER_LIMIT) as usize);
            }
        }
        let kept = &self.kept;
        candidates.retain(|one| kept.has((one.position & !IS_OVER_LIMIT) as usize));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::event::Address;

    /// Entity i of 1 to 60 has i events, among the others'; addresses repeat every 50 events.
    fn events() -> Events {
        let entities: Vec<u64> = (0..60u64).flat_map(|round| round + 1..=60).collect();
        let addresses = (0..entities.len() as u32).map(|i| Address::from_ipv4(i % 50)).collect();
        let times = (0..entities.len() as u32).collect();
        Events::with_times(entities, addresses, times)
    }

    fn counts(events: &Events, group: impl Fn(&Event) -> u64) -> HashMap<u64, usize> {
        let mut counts = HashMap::new();
        events.iter().for_each(|event| *counts.entry(group(&event)).or_default() += 1);
        counts
    }

    #[test]
    fn limits_keep_the_order_and_no_more_and_no_less() {
        let all = events();
        let limits = EventLimits { per_entity: Some(20), per_ip: None };
        let (kept, left_out) = limits.apply(all.clone(), 3);
        let counts = counts(&kept, |event| event.entity);
        assert!((1..=60).all(|entity| counts[&entity] == entity.min(20) as usize), "{counts:?}");
        // 1 + 2 + … + 40 events of the entities 21 to 60.
        assert_eq!(left_out, [LeftOut { of: "entities", limit: 20, num_events: 820, num_over_limit: 40 }]);
        assert_eq!(kept.len() + 820, all.len());
        // In their order: each is found behind the one before it.
        let mut rest = all.iter();
        assert!(kept.iter().all(|event| rest.any(|other| other == event)));
        // Each with its time, which is its position here.
        let position = |index| kept.time(index).unwrap() as usize;
        assert!((0..kept.len()).all(|index| kept.get(index) == all.get(position(index))));
        assert_eq!(kept.digest(), limits.apply(all.clone(), 3).0.digest());
        assert_ne!(kept.digest(), limits.apply(all.clone(), 4).0.digest(), "another seed, another sample");
    }

    #[test]
    fn both_limits_hold_and_what_is_within_them_stays() {
        let all = events();
        let limits = EventLimits { per_entity: Some(20), per_ip: Some(7) };
        let (kept, left_out) = limits.apply(all.clone(), 0);
        assert!(counts(&kept, |event| event.entity).values().all(|count| *count <= 20));
        assert!(counts(&kept, |event| event.address.bits()).values().all(|count| *count == 7));
        assert_eq!(left_out[0].num_events + left_out[1].num_events + kept.len() as u64, all.len() as u64);
        let wide = EventLimits { per_entity: Some(60), per_ip: Some(1000) };
        let (kept, left_out) = wide.apply(all.clone(), 0);
        assert_eq!(kept.digest(), all.digest());
        assert!(left_out.iter().all(|left_out| left_out.num_events == 0));
    }

    #[test]
    fn passes_and_groups_that_are_cut_down_early_make_no_difference() {
        let all = events();
        for limits in [(Some(20), Some(7)), (Some(1), None), (None, Some(3))] {
            let limits = EventLimits { per_entity: limits.0, per_ip: limits.1 };
            let whole = limits.keep(&all, 3);
            for at_once in [64, 100, 700, 1830] {
                assert_eq!(limits.keep_in_passes(&all, 3, at_once), whole, "{at_once} at once");
            }
        }
        let one = Events::from_columns(vec![7; 5000], (0..5000).map(Address::from_ipv4).collect());
        let limits = EventLimits { per_entity: Some(10), per_ip: None };
        assert_eq!(limits.keep_in_passes(&one, 3, 100), limits.keep(&one, 3));
        assert_eq!(limits.keep(&one, 3).0.len(), 10);
    }

    /// Each of 40 events of an entity should be among 10 kept in a quarter of the seeds.
    #[test]
    fn every_event_is_as_likely_to_be_kept() {
        let all = Events::from_columns(vec![7; 40], (0..40).map(Address::from_ipv4).collect());
        let limits = EventLimits { per_entity: Some(10), per_ip: None };
        let mut num_kept = [0; 40];
        for seed in 0..4000 {
            limits
                .apply(all.clone(), seed)
                .0
                .iter()
                .for_each(|event| num_kept[event.address.bits() as usize] += 1);
        }
        // 1000 expected, standard deviation 27.
        assert!(num_kept.iter().all(|num| (1000i32 - num).abs() < 140), "{num_kept:?}");
    }
}
