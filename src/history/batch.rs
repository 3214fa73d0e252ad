//! Many lookups at a time: while one waits for memory, others go on.

use super::account::Heading;
use super::base::{History, Pairs};
use super::chain::family;
use super::own::{self, Since};
use super::population_read;
use super::trie_read::{NodeValues, Trie, Walk};
use super::usage::Usage;

/// Lookups that are under way together.
const NUM_AT_ONCE: usize = 16;

/// Walks that are under way together: each passes one node in turn.
struct Walks<'a> {
    addresses: [u64; NUM_AT_ONCE],
    tries: [Trie<'a>; NUM_AT_ONCE],
    walks: [Walk; NUM_AT_ONCE],
    /// Those that have not passed all nodes.
    active: [usize; NUM_AT_ONCE],
    num_active: usize,
}

impl<'a> Walks<'a> {
    fn new() -> Self {
        Self {
            addresses: [0; NUM_AT_ONCE],
            tries: [Trie::none(); NUM_AT_ONCE],
            walks: [Walk::default(); NUM_AT_ONCE],
            active: [0; NUM_AT_ONCE],
            num_active: 0,
        }
    }

    #[inline(always)]
    fn start(&mut self, index: usize, trie: &Trie<'a>, address: u64, walk: Walk) {
        self.tries[index] = *trie;
        self.addresses[index] = address;
        self.walks[index] = walk;
        trie.prefetch(self.walks[index].at());
        self.active[self.num_active % NUM_AT_ONCE] = index;
        self.num_active += 1;
    }

    /// Passes one node of each.
    #[inline(always)]
    fn step(&mut self, mut take: impl FnMut(usize, NodeValues)) {
        let mut num_left = 0;
        for place in 0..self.num_active {
            let index = self.active[place % NUM_AT_ONCE] % NUM_AT_ONCE;
            let trie = &self.tries[index];
            let next = self.walks[index].step(trie, self.addresses[index], |node| take(index, node));
            // Of one that has passed all nodes it does no harm.
            trie.prefetch(next.unwrap_or(0));
            self.active[num_left % NUM_AT_ONCE] = index;
            num_left += usize::from(next.is_some());
        }
        self.num_active = num_left;
    }
}

/// Lookups that are under way.
struct Lookups<'a> {
    headings: [Option<Heading<'a>>; NUM_AT_ONCE],
    since: [Since; NUM_AT_ONCE],
    own: Walks<'a>,
    population: Walks<'a>,
}

impl History {
    /// Does as [`History::usage`] for many pairs, on one core. Give each core some hundred pairs at a time.
    ///
    /// # Panics
    ///
    /// Where the columns have other lengths than `usages`.
    pub fn usages(&self, pairs: &Pairs<'_>, usages: &mut [Usage]) {
        let num = usages.len();
        assert_eq!((pairs.accounts.len(), pairs.addresses.len()), (num, num), "columns of equal length");
        assert!(pairs.seconds.is_none_or(|seconds| seconds.len() == num), "columns of equal length");
        let mut lookups = Lookups {
            headings: [const { None }; NUM_AT_ONCE],
            since: [Since { times: None }; NUM_AT_ONCE],
            own: Walks::new(),
            population: Walks::new(),
        };
        for (start, usages) in (0..).step_by(NUM_AT_ONCE).zip(usages.chunks_mut(NUM_AT_ONCE)) {
            self.look_up_together(pairs, start, usages, &mut lookups);
        }
    }

    /// Looks up the pairs from `start` on, up to [`NUM_AT_ONCE`].
    fn look_up_together<'a>(
        &'a self,
        pairs: &Pairs<'_>,
        start: usize,
        usages: &mut [Usage],
        lookups: &mut Lookups<'a>,
    ) {
        let addresses = &pairs.addresses[start..start + usages.len()];
        for address in addresses {
            self.shortcuts.prefetch(address.bits());
        }
        self.read_headings(&pairs.accounts[start..start + usages.len()], &mut lookups.headings);
        for (i, (address, usage)) in addresses.iter().zip(&mut *usages).enumerate() {
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
        for (i, (address, usage)) in addresses.iter().zip(usages).enumerate() {
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
    fn read_headings<'a>(&'a self, accounts: &[u64], headings: &mut [Option<Heading<'a>>; NUM_AT_ONCE]) {
        for account in accounts {
            self.table.prefetch_start(*account);
        }
        for account in accounts {
            self.table.prefetch_candidates(*account);
        }
        let mut found = [None; NUM_AT_ONCE];
        for (found, account) in found.iter_mut().zip(accounts) {
            *found = self.table.find(*account);
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
