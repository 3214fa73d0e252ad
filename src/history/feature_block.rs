//! The inputs of a block of pairs in f32: each count is a column over the pairs, and every step is a loop over columns,
//! which the compiler vectorises for the instruction set.
//!
//! Only single operations (no fused ones) and no sum over pairs: the same bits on every machine.

use super::closed_form::LEVEL_BITS;
use super::column::{Column, ln, share};
use super::features::{HOUR, Input, NUM_INPUTS, NUM_OWNER_INPUTS, RECENT_LEVELS, WIDE_LEVELS};
use super::owner_block::OwnerColumns;
use super::usage::{NUM_LEVELS, Usage};
use crate::networks::NUM_OWNER_LEVELS;

/// Pairs of a block, where there are many.
pub const BLOCK_PAIRS: usize = 64;

/// The inputs of a block of pairs.
#[derive(Clone, Debug)]
pub struct InputBlock<const PAIRS: usize = BLOCK_PAIRS> {
    /// `[inputs, pairs]`.
    pub inputs: [Column<PAIRS>; NUM_INPUTS],
    /// The closed form's scores, `[pairs]`.
    pub ratio_sums: Column<PAIRS>,
    counts: Counts<PAIRS>,
    owners: [OwnerColumns<PAIRS>; NUM_OWNER_LEVELS],
}

impl<const PAIRS: usize> Default for InputBlock<PAIRS> {
    fn default() -> Self {
        Self {
            inputs: [[0.0; PAIRS]; NUM_INPUTS],
            ratio_sums: [0.0; PAIRS],
            counts: Counts::ZEROS,
            owners: [const { OwnerColumns::ZEROS }; NUM_OWNER_LEVELS],
        }
    }
}

/// The counts of a block as columns.
#[derive(Clone, Debug)]
struct Counts<const PAIRS: usize> {
    num_events: Column<PAIRS>,
    distinct: [Column<PAIRS>; WIDE_LEVELS.len()],
    own_events: [Column<PAIRS>; NUM_LEVELS],
    own_children: [Column<PAIRS>; NUM_LEVELS],
    other_events: [Column<PAIRS>; NUM_LEVELS],
    other_accounts: [Column<PAIRS>; NUM_LEVELS],
    all_children: [Column<PAIRS>; NUM_LEVELS],
    /// Of all prefixes: events and accounts of others, and first prefixes.
    root: [Column<PAIRS>; 3],
    days_since_use: [Column<PAIRS>; RECENT_LEVELS.len()],
    events_since_use: [Column<PAIRS>; RECENT_LEVELS.len()],
    days_since_last: Column<PAIRS>,
    days_since_first: Column<PAIRS>,
}

impl<const PAIRS: usize> Counts<PAIRS> {
    const ZEROS: Self = Self {
        num_events: [0.0; PAIRS],
        distinct: [[0.0; PAIRS]; WIDE_LEVELS.len()],
        own_events: [[0.0; PAIRS]; NUM_LEVELS],
        own_children: [[0.0; PAIRS]; NUM_LEVELS],
        other_events: [[0.0; PAIRS]; NUM_LEVELS],
        other_accounts: [[0.0; PAIRS]; NUM_LEVELS],
        all_children: [[0.0; PAIRS]; NUM_LEVELS],
        root: [[0.0; PAIRS]; 3],
        days_since_use: [[0.0; PAIRS]; RECENT_LEVELS.len()],
        events_since_use: [[0.0; PAIRS]; RECENT_LEVELS.len()],
        days_since_last: [0.0; PAIRS],
        days_since_first: [0.0; PAIRS],
    };

    /// Counts of others are taken as integers, because a float has no more than 24 bits.
    #[inline(always)]
    fn set(&mut self, i: usize, usage: &Usage) {
        self.num_events[i] = usage.num_events as f32;
        for (column, level) in self.distinct.iter_mut().zip(WIDE_LEVELS) {
            column[i] = usage.distinct[level] as f32;
        }
        for (level, counts) in usage.levels.iter().enumerate() {
            let is_known = u64::from(counts.own_events > 0);
            self.own_events[level][i] = counts.own_events as f32;
            self.own_children[level][i] = counts.own_children as f32;
            self.other_events[level][i] = counts.all_events.saturating_sub(counts.own_events.into()) as f32;
            self.other_accounts[level][i] = counts.all_accounts.saturating_sub(is_known) as f32;
            self.all_children[level][i] = counts.all_children as f32;
        }
        let is_known = u64::from(usage.num_events > 0);
        self.root[0][i] = usage.total_events.saturating_sub(usage.num_events.into()) as f32;
        self.root[1][i] = usage.total_accounts.saturating_sub(is_known) as f32;
        self.root[2][i] = usage.total_top_prefixes as f32;
        for (place, level) in RECENT_LEVELS.into_iter().enumerate() {
            self.days_since_use[place][i] = usage.levels[level].days_since_use;
            self.events_since_use[place][i] = usage.levels[level].events_since_use;
        }
        self.days_since_last[i] = usage.days_since_last;
        self.days_since_first[i] = usage.days_since_first;
    }
}

impl<const PAIRS: usize> InputBlock<PAIRS> {
    /// Sets the inputs of at most `PAIRS` pairs. Columns past the last pair hold finite values without meaning.
    pub fn fill(&mut self, usage: &[Usage]) {
        assert!(usage.len() <= PAIRS, "{} pairs in a block", usage.len());
        pulp::Arch::new().dispatch(Fill { block: self, usage });
    }

    /// [`InputBlock::fill`] inside of code that runs with the vectors of an instruction set.
    #[inline(always)]
    pub(super) fn fill_inline(&mut self, usage: &[Usage]) {
        for (i, usage) in usage.iter().enumerate() {
            self.counts.set(i, usage);
        }
        // All columns of the block, so that the loops have a length that the compiler knows.
        self.counts.ratios(&mut self.inputs, &mut self.ratio_sums);
        self.counts.logarithms(&mut self.inputs);
        self.counts.novelty(&mut self.inputs);
        self.counts.recency(&mut self.inputs);
        self.fill_owners(usage);
    }

    /// The inputs of the owners, and their part of the closed form.
    #[inline(always)]
    fn fill_owners(&mut self, usage: &[Usage]) {
        for (level, columns) in self.owners.iter_mut().enumerate() {
            let inputs = &mut self.inputs[Input::OWNERS + level * NUM_OWNER_INPUTS..][..NUM_OWNER_INPUTS];
            if columns.set(usage, level) {
                columns.fill(&self.counts.root, &self.counts.num_events, inputs);
                if level == 0 {
                    columns.mix(&mut self.ratio_sums);
                }
            } else {
                inputs.fill([0.0; PAIRS]);
            }
        }
    }
}

struct Fill<'a, const PAIRS: usize> {
    block: &'a mut InputBlock<PAIRS>,
    usage: &'a [Usage],
}

impl<const PAIRS: usize> pulp::WithSimd for Fill<'_, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.block.fill_inline(self.usage);
    }
}

impl<const PAIRS: usize> Counts<PAIRS> {
    /// The log ratios of [`super::closed_form`].
    #[inline(always)]
    fn ratios(&self, inputs: &mut [Column<PAIRS>; NUM_INPUTS], sums: &mut Column<PAIRS>) {
        *sums = [0.0; PAIRS];
        for level in 0..NUM_LEVELS {
            let even = 1.0 / (1 << LEVEL_BITS[level]) as f32;
            let own = above(level, &self.own_events, &self.num_events);
            let own_children = above(level, &self.own_children, &self.distinct[0]);
            let events = above(level, &self.other_events, &self.root[0]);
            let accounts = above(level, &self.other_accounts, &self.root[1]);
            let children = above(level, &self.all_children, &self.root[2]);
            for i in 0..PAIRS {
                let of_events = share(self.other_events[level][i], children[i], events[i], even);
                let of_accounts = share(self.other_accounts[level][i], children[i], accounts[i], even);
                let of_account = share(self.own_events[level][i], own_children[i], own[i], of_accounts);
                let ratio = ln(of_account / of_accounts);
                sums[i] += ratio;
                inputs[Input::OWN_RATIO + level][i] = 0.3 * ratio;
                inputs[Input::EVENT_SHARE + level][i] = 0.3 * ln(of_events / even);
                inputs[Input::ACCOUNT_SHARE + level][i] = 0.3 * ln(of_accounts / even);
            }
        }
    }

    /// Logarithms of counts.
    #[inline(always)]
    fn logarithms(&self, inputs: &mut [Column<PAIRS>; NUM_INPUTS]) {
        let mut set = |input: usize, scale: f32, column: &Column<PAIRS>| {
            for i in 0..PAIRS {
                inputs[input][i] = scale * ln(1.0 + column[i]);
            }
        };
        for level in 0..NUM_LEVELS {
            set(Input::OWN_EVENTS + level, 0.4, &self.own_events[level]);
            set(Input::OTHER_ACCOUNTS + level, 0.3, &self.other_accounts[level]);
        }
        set(Input::EVENTS, 0.3, &self.num_events);
        set(Input::OTHER_EVENTS, 0.3, &self.other_events[NUM_LEVELS - 1]);
        for place in 0..WIDE_LEVELS.len() {
            set(Input::DISTINCT + place, 0.3, &self.distinct[place]);
        }
        for (place, level) in WIDE_LEVELS[..WIDE_LEVELS.len() - 1].iter().enumerate() {
            set(Input::OWN_CHILDREN + place, 0.3, &self.own_children[*level]);
        }
        for place in 0..RECENT_LEVELS.len() {
            let mut since = self.events_since_use[place];
            since.iter_mut().for_each(|events| *events = if *events > 0.0 { *events } else { 0.0 });
            set(Input::EVENTS_SINCE_USE + place, 0.3, &since);
        }
    }

    #[inline(always)]
    fn novelty(&self, inputs: &mut [Column<PAIRS>; NUM_INPUTS]) {
        for (place, distinct) in self.distinct.iter().enumerate() {
            for i in 0..PAIRS {
                let more = distinct[i] - 1.0;
                let more = if more > 0.0 { more } else { 0.0 };
                let odds = (more + 0.3) / (self.num_events[i] - distinct[i] + 0.7);
                let novelty = 0.3 * ln(odds);
                inputs[Input::NOVELTY + place][i] = if self.num_events[i] > 0.0 { novelty } else { 0.0 };
            }
        }
    }

    #[inline(always)]
    fn recency(&self, inputs: &mut [Column<PAIRS>; NUM_INPUTS]) {
        // Columns of ages; what has none gets that of 0 days, and is left out below.
        let age = |days: &Column<PAIRS>| -> Column<PAIRS> {
            let mut ages = [0.0; PAIRS];
            for i in 0..PAIRS {
                let days = if days[i] > 0.0 { days[i] } else { 0.0 };
                ages[i] = ln(days + HOUR as f32);
            }
            ages
        };
        let (last, first) = (age(&self.days_since_last), age(&self.days_since_first));
        for i in 0..PAIRS {
            let (of_last, of_first) = (0.3 * (last[i] - 2.0), 0.3 * (first[i] - 3.0));
            inputs[Input::AGE_OF_LAST][i] = if self.days_since_last[i] >= 0.0 { of_last } else { 0.0 };
            inputs[Input::AGE_OF_FIRST][i] = if self.days_since_first[i] >= 0.0 { of_first } else { 0.0 };
        }
        for (place, days) in self.days_since_use.iter().enumerate() {
            let ages = age(days);
            for i in 0..PAIRS {
                let (of_use, against_last) = (0.3 * (ages[i] - 2.0), 0.3 * (ages[i] - last[i]));
                inputs[Input::AGE_OF_USE + place][i] = if days[i] >= 0.0 { of_use } else { 0.0 };
                inputs[Input::AGE_AGAINST_LAST + place][i] = if days[i] >= 0.0 { against_last } else { 0.0 };
            }
        }
    }
}

/// The column of the prefix that is wider by one level: of all prefixes before the first.
#[inline(always)]
fn above<'a, const PAIRS: usize>(
    level: usize,
    columns: &'a [Column<PAIRS>; NUM_LEVELS],
    root: &'a Column<PAIRS>,
) -> &'a Column<PAIRS> {
    if level == 0 { root } else { &columns[level - 1] }
}

#[cfg(test)]
mod tests;
