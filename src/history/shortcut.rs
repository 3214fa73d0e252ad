//! Where a lookup among the addresses of all accounts begins.
//!
//! Every lookup of an IPv4 address passes the same few nodes of the widest prefixes, one wait for memory each. What they
//! say of each /16 is laid out when a large history is opened, so that a lookup begins behind them.

use rayon::prelude::*;

use super::population_read;
use super::prefetch::prefetch_value;
use super::trie_read::{Trie, Walk};
use super::usage::Usage;

/// Levels that are passed: /8 and /12.
const NUM_PASSED: usize = 2;
/// Bits of the prefixes.
const PREFIX_BITS: u32 = 16;
/// Distinct addresses from which on they are worth their 4 MiB: a byte or two for each.
#[cfg(not(test))]
const MIN_ADDRESSES: u64 = 2_000_000;
#[cfg(test)]
const MIN_ADDRESSES: u64 = 1;

/// For each /16 of IPv4, where a lookup begins.
#[derive(Default)]
pub(super) struct Shortcuts(Vec<Shortcut>);

/// A walk that has passed some nodes, and what they said. A cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Shortcut {
    walk: Walk,
    events: [u64; NUM_PASSED],
    accounts: [u32; NUM_PASSED],
    children: [u8; NUM_PASSED],
}

const _: () = assert!(size_of::<Shortcut>() == 64);

impl Shortcuts {
    /// Those of a tree of that many IPv4 addresses; none where they are few.
    pub(super) fn new(trie: Option<Trie<'_>>, num_addresses: u64) -> Self {
        let Some(trie) = trie.filter(|_| num_addresses >= MIN_ADDRESSES) else { return Self::default() };
        let prefixes = (0..1_u64 << PREFIX_BITS).into_par_iter();
        Self(prefixes.map(|prefix| Shortcut::new(&trie, prefix << (u32::BITS - PREFIX_BITS))).collect())
    }

    /// Has the CPU fetch what [`Shortcuts::start`] reads.
    #[inline(always)]
    pub(super) fn prefetch(&self, address: u64) {
        if let Some(shortcut) = self.find(0, address) {
            prefetch_value(shortcut);
        }
    }

    /// Starts a lookup: sets what is known of the levels that the walk has passed.
    #[inline(always)]
    pub(super) fn start(&self, trie: &Trie<'_>, address: u64, usage: &mut Usage) -> Walk {
        let Some(shortcut) = self.find(trie.family, address) else { return Walk::new(trie) };
        // Levels that were not passed are set later on.
        let values = shortcut.events.iter().zip(&shortcut.accounts).zip(&shortcut.children);
        for (level, ((events, accounts), children)) in usage.levels.iter_mut().zip(values) {
            level.all_events = *events;
            level.all_accounts = u64::from(*accounts);
            level.all_children = u64::from(*children);
        }
        shortcut.walk
    }

    #[inline(always)]
    fn find(&self, family: usize, address: u64) -> Option<&Shortcut> {
        if family == 0 { self.0.get((address >> (u32::BITS - PREFIX_BITS)) as usize) } else { None }
    }
}

impl Shortcut {
    fn new(trie: &Trie<'_>, address: u64) -> Self {
        let (mut walk, mut usage) = (Walk::new(trie), Usage::default());
        while walk.passes(trie, address, NUM_PASSED) {
            let (mut next, before) = (walk, usage);
            if next.step(trie, address, |node| population_read::take_node(node, &mut usage)).is_none() {
                usage = before;
                break;
            }
            walk = next;
        }
        let levels = &usage.levels;
        Self {
            walk,
            events: std::array::from_fn(|level| levels[level].all_events),
            accounts: std::array::from_fn(|level| levels[level].all_accounts as u32),
            children: std::array::from_fn(|level| levels[level].all_children as u8),
        }
    }
}
