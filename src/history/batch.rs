//! Many lookups at a time: while one waits for memory, others go on.

use super::account::Heading;
use super::base::{History, Pairs};
use super::chain::family;
use super::own;
use super::population_read;
use super::trie_read::{Trie, Walk};
use super::usage::{NUM_LEVELS, Usage};
use crate::event::Address;

/// Lookups that are under way together.
const NUM_AT_ONCE: usize = 16;

/// Two walks for each lookup: through the account's tree, and behind all of these through the trees of all accounts.
const NUM_WALKS: usize = 2 * NUM_AT_ONCE;

/// Lookups that are under way.
struct Lookups<'a> {
    headings: [Option<Heading<'a>>; NUM_AT_ONCE],
    addresses: [u64; NUM_WALKS],
    tries: [Trie<'a>; NUM_WALKS],
    walks: [Walk; NUM_WALKS],
    /// Walks that have not passed all nodes.
    active: [usize; NUM_WALKS],
    num_active: usize,
}

impl<'a> Lookups<'a> {
    fn new() -> Self {
        Self {
            headings: [const { None }; NUM_AT_ONCE],
            addresses: [0; NUM_WALKS],
            tries: [Trie::none(); NUM_WALKS],
            walks: std::array::from_fn(|_| Walk::new()),
            active: [0; NUM_WALKS],
            num_active: 0,
        }
    }

    fn start(&mut self, walk: usize, trie: Option<Trie<'a>>, address: u64) {
        let Some(trie) = trie else { return };
        self.tries[walk] = trie;
        self.addresses[walk] = address;
        trie.prefetch(self.walks[walk].start(&trie));
        self.active[self.num_active] = walk;
        self.num_active += 1;
    }

    /// Walks all trees down, one node of each at a time.
    fn walk(&mut self) {
        while self.num_active > 0 {
            let mut num_left = 0;
            for place in 0..self.num_active {
                let index = self.active[place % NUM_WALKS] % NUM_WALKS;
                let trie = &self.tries[index];
                let next = self.walks[index].step(trie, self.addresses[index]);
                // Of one that has passed all nodes it does no harm.
                trie.prefetch(next.unwrap_or(0));
                self.active[num_left % NUM_WALKS] = index;
                num_left += usize::from(next.is_some());
            }
            self.num_active = num_left;
        }
    }
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
        let mut lookups = Lookups::new();
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
        self.read_headings(&pairs.accounts[start..start + usages.len()], &mut lookups.headings);
        for (i, address) in addresses.iter().enumerate() {
            let own = lookups.headings[i].as_ref().and_then(|heading| heading.trie(family(*address)));
            lookups.start(i, own, address.bits());
        }
        for (i, address) in addresses.iter().enumerate() {
            let population = self.population_trie(family(*address));
            lookups.start(NUM_AT_ONCE + i, population, address.bits());
        }
        lookups.walk();
        for (i, (usage, address)) in usages.iter_mut().zip(addresses).enumerate() {
            let now = pairs.seconds.map(|seconds| pairs.time_base + i64::from(seconds[start + i]));
            self.finish(lookups, i, *address, now, usage);
        }
    }

    fn finish(
        &self,
        lookups: &Lookups<'_>,
        index: usize,
        address: Address,
        now: Option<i64>,
        usage: &mut Usage,
    ) {
        let (family, bits) = (family(address), address.bits());
        let heading = lookups.headings[index].as_ref();
        let own = match heading.filter(|heading| heading.has_family(family)) {
            Some(heading) => own::levels(&lookups.tries[index], heading.widths, &lookups.walks[index], bits),
            None => [own::NONE; NUM_LEVELS],
        };
        let walk = NUM_AT_ONCE + index;
        let population = match self.info.roots[family] {
            Some(_) => population_read::levels(&lookups.tries[walk], &lookups.walks[walk], bits),
            None => Default::default(),
        };
        self.fill(usage, heading, &own, &population, now);
    }

    /// Reads the headings of accounts, one step of all at a time.
    fn read_headings<'a>(
        &'a self,
        accounts: &[u64],
        headings: &mut [Option<Heading<'a>>; NUM_AT_ONCE],
    ) {
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
