//! At most so many events of an entity, and of an address: a client that can cause events must not be able to cause
//! any number of them.
//!
//! Of an entity that has more, those with the smallest keyed hashes of their positions are kept, which is a uniform
//! sample without replacement (bottom-k sampling, Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC
//! 2007), and a function of the events, the seed and nothing else. The kept ones stay in their order.

use std::collections::HashMap;
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

    /// The events within the limits, in their order, in memory: 16 bytes an event, and 4 more with its time. While it works it takes 9 bytes for
    /// each event that there was, and 8 more for each event of a group that has too many.
    pub fn apply(&self, events: Events, seed: u64) -> (Events, Vec<LeftOut>) {
        if self.are_none() {
            return (events, Vec::new());
        }
        let mut keeps = Keeps { events: &events, is_kept: vec![true; events.len()] };
        let mut left_out = Vec::new();
        // Each limit draws by a key of its own: where they have one, the second would not draw among the first's.
        if let Some(limit) = self.per_entity {
            left_out.push(keeps.limit("entities", limit, mix(seed), |event| event.entity));
        }
        if let Some(limit) = self.per_ip {
            left_out.push(keeps.limit("addresses", limit, mix(!seed), |event| event.address.bits()));
        }
        (keeps.kept(), left_out)
    }
}

struct Keeps<'a> {
    events: &'a Events,
    /// By position.
    is_kept: Vec<bool>,
}

impl Keeps<'_> {
    /// The events that are kept so far, and their positions.
    fn events(&self) -> impl Iterator<Item = (usize, Event)> {
        self.events.iter().enumerate().filter(|(position, _)| self.is_kept[*position])
    }

    /// The events that are kept, with their times.
    fn kept(&self) -> Events {
        let num_kept = self.is_kept.iter().filter(|is_kept| **is_kept).count();
        let (mut entities, mut addresses) = (Vec::with_capacity(num_kept), Vec::with_capacity(num_kept));
        self.events().for_each(|(_, event)| {
            entities.push(event.entity);
            addresses.push(event.address);
        });
        if !self.events.have_times() {
            return Events::from_columns(entities, addresses);
        }
        let times = self.events().filter_map(|(position, _)| self.events.time(position));
        let mut kept = Vec::with_capacity(num_kept);
        kept.extend(times);
        Events::with_times(entities, addresses, kept)
    }

    /// Keeps at most `limit` events of one `group`.
    fn limit(&mut self, of: &'static str, limit: usize, key: u64, group: impl Fn(&Event) -> u64) -> LeftOut {
        // Two positions never have one rank: all of this is a bijection.
        let rank = |position: usize| mix(position as u64 ^ key);
        let mut ranks: HashMap<u64, Vec<u64>> = self.groups_above(limit, &group);
        for (position, event) in self.events() {
            if let Some(ranks) = ranks.get_mut(&group(&event)) {
                ranks.push(rank(position));
            }
        }
        let mut num_events = 0;
        let last_kept: HashMap<u64, u64> = ranks
            .into_iter()
            .map(|(group, mut ranks)| {
                num_events += (ranks.len() - limit) as u64;
                (group, *ranks.select_nth_unstable(limit - 1).1)
            })
            .collect();
        if !last_kept.is_empty() {
            for (position, event) in self.events.iter().enumerate() {
                if self.is_kept[position]
                    && last_kept.get(&group(&event)).is_some_and(|last| rank(position) > *last)
                {
                    self.is_kept[position] = false;
                }
            }
        }
        LeftOut { of, limit, num_events, num_over_limit: last_kept.len() as u64 }
    }

    /// Groups of more events, with room for the ranks of these.
    fn groups_above(&self, limit: usize, group: &impl Fn(&Event) -> u64) -> HashMap<u64, Vec<u64>> {
        let mut groups: Vec<u64> = self.events().map(|(_, event)| group(&event)).collect();
        groups.par_sort_unstable();
        let above = groups.chunk_by(|a, b| a == b).filter(|run| run.len() > limit);
        above.map(|run| (run[0], Vec::with_capacity(run.len()))).collect()
    }
}

#[cfg(test)]
mod tests {
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
