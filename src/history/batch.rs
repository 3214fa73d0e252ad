//! Lookups, many at a time: while one waits for memory, others go on.

use super::account::Heading;
use super::base::{History, Pairs};
use super::chain::family;
use super::own::{self, Since};
use super::population_read;
use super::trie_read::{NodeValues, Trie, Walk};
use super::usage::Usage;
use crate::Event;
use crate::event::Address;

/// Lookups that are under way together, where there are many.
const NUM_AT_ONCE: usize = 16;

/// Up to `N` walks that are under way together: each passes one node in turn.
struct Walks<'a, const N: usize> {
    addresses: [u64; N],
    tries: [Trie<'a>; N],
    walks: [Walk; N],
    /// Those that have not passed all nodes.
    active: [usize; N],
    num_active: usize,
}

impl<'a, const N: usize> Walks<'a, N> {
    fn new() -> Self {
        Self {
            addresses: [0; N],
            tries: [Trie::none(); N],
            walks: [Walk::default(); N],
            active: [0; N],
            num_active: 0,
        }
    }

    #[inline(always)]
    fn start(&mut self, index: usize, trie: &Trie<'a>, address: u64, walk: Walk) {
        self.tries[index] = *trie;
        self.addresses[index] = address;
        self.walks[index] = walk;
        trie.prefetch(self.walks[index].at());
        self.active[self.num_active % N] = index;
        self.num_active += 1;
    }

    /// Passes one node of each.
    #[inline(always)]
    fn step(&mut self, mut take: impl FnMut(usize, NodeValues)) {
        let mut num_left = 0;
        for place in 0..self.num_active {
            let index = self.active[place % N] % N;
            let trie = &self.tries[index];
            let next = self.walks[index].step(trie, self.addresses[index], |node| take(index, node));
            // Of one that has passed all nodes it does no harm.
            trie.prefetch(next.unwrap_or(0));
            self.active[num_left % N] = index;
            num_left += usize::from(next.is_some());
        }
        self.num_active = num_left;
    }
}

/// Up to `N` lookups that are under way.
struct Lookups<'a, const N: usize> {
    headings: [Option<Heading<'a>>; N],
    since: [Since; N],
    own: Walks<'a, N>,
    population: Walks<'a, N>,
}

impl<const N: usize> Lookups<'_, N> {
    fn new() -> Self {
        Self {
            headings: [const { None }; N],
            since: [Since { times: None }; N],
            own: Walks::new(),
            population: Walks::new(),
        }
    }
}

/// Looks up pairs, `N` at a time, with the instructions of the CPU: bits are cut out of words all the time.
struct LookUp<'a, const N: usize> {
    history: &'a History,
    pairs: &'a Pairs<'a>,
    usages: &'a mut [Usage],
}

impl<const N: usize> pulp::WithSimd for LookUp<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let mut lookups = Lookups::<N>::new();
        for (start, usages) in (0..).step_by(N).zip(self.usages.chunks_mut(N)) {
            self.history.look_up_together(self.pairs, start, usages, &mut lookups);
        }
    }
}

impl History {
    /// What is known of a pair before an event at `now`, in Unix seconds.
    pub fn usage(&self, account: u64, address: Address, now: Option<i64>) -> Usage {
        let seconds = now.map(|_| &[0][..]);
        let time_base = now.unwrap_or(0);
        let pairs = Pairs { events: &[Event { entity: account, address }], seconds, time_base };
        let mut usage = Usage::default();
        let usages = std::slice::from_mut(&mut usage);
        pulp::Arch::new().dispatch(LookUp::<1> { history: self, pairs: &pairs, usages });
        usage
    }

    /// Does as [`History::usage`] for many pairs, on one core. Give each core some hundred pairs at a time.
    ///
    /// # Panics
    ///
    /// Where the number of pairs, or of their times, is not that of `usages`.
    pub fn usages(&self, pairs: &Pairs<'_>, usages: &mut [Usage]) {
        let num = usages.len();
        assert_eq!(pairs.events.len(), num, "as many pairs");
        assert!(pairs.seconds.is_none_or(|seconds| seconds.len() == num), "a time for each pair");
        pulp::Arch::new().dispatch(LookUp::<NUM_AT_ONCE> { history: self, pairs, usages });
    }

    /// Looks up the pairs from `start` on, up to `N`.
    #[inline(always)]
    fn look_up_together<'a, const N: usize>(
        &'a self,
        pairs: &Pairs<'_>,
        start: usize,
        usages: &mut [Usage],
        lookups: &mut Lookups<'a, N>,
    ) {
        let events = &pairs.events[start..start + usages.len()];
        for event in events {
            self.shortcuts.prefetch(event.address.bits());
        }
        self.read_headings(events, &mut lookups.headings);
        for (i, (Event { address, .. }, usage)) in events.iter().zip(&mut *usages).enumerate() {
            let now = pairs.seconds.map(|seconds| pairs.time_base + i64::from(seconds[start + i]));
            let heading = lookups.headings[i].as_ref();
            lookups.since[i] = self.start(usage, heading, now);
            match heading.and_then(|heading| heading.trie(family(*address))) {
                Some(trie) => lookups.own.start(i, &trie, address.bits(), Walk::new(&trie)),
                None => own::set_unused(&mut usage.levels),
            }
            if let Some(trie) = self.population_trie(family(*address)) {
                let walk = self.shortcuts.start(&trie, address.bits(), usage);
                lookups.population.start(i, &trie, address.bits(), walk);
            }
        }
        while lookups.own.num_active + lookups.population.num_active > 0 {
            lookups.own.step(|i, node| own::take_node(node, lookups.since[i], &mut usages[i]));
            lookups.population.step(|i, node| population_read::take_node(node, &mut usages[i]));
        }
        for (i, (Event { address, .. }, usage)) in events.iter().zip(usages).enumerate() {
            let (family, bits) = (family(*address), address.bits());
            if let Some(heading) = lookups.headings[i].as_ref().filter(|heading| heading.has_family(family)) {
                let (trie, walk) = (&lookups.own.tries[i], &lookups.own.walks[i]);
                own::finish(trie, heading.widths, walk, bits, lookups.since[i], usage);
            }
            let (trie, walk) = (&lookups.population.tries[i], &lookups.population.walks[i]);
            match self.info.roots[family] {
                Some(_) => population_read::finish(trie, walk, bits, usage),
                None => population_read::set_unused(&mut usage.levels),
            }
        }
    }

    /// Reads the headings of accounts, one step of all at a time.
    #[inline(always)]
    fn read_headings<'a, const N: usize>(
        &'a self,
        events: &[Event],
        headings: &mut [Option<Heading<'a>>; N],
    ) {
        for event in events {
            self.table.prefetch_start(event.entity);
        }
        for event in events {
            self.table.prefetch_candidates(event.entity);
        }
        let mut found = [None; N];
        for (found, event) in found.iter_mut().zip(events) {
            *found = self.table.find(event.entity);
            if let Some(index) = *found {
                self.table.prefetch_position(index);
            }
        }
        let positions = found.map(|index| index.map(|index| self.table.position(index)));
        positions.iter().flatten().for_each(|position| self.prefetch_block(*position));
        for (heading, position) in headings.iter_mut().zip(positions) {
            *heading = position.map(|position| self.heading_at(position));
        }
    }
}
