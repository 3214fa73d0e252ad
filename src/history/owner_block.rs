//! The inputs of one level of owners for a block of pairs, see [`super::feature_block`].

use super::column::{Column, ln, share};
use super::gradient::exp;
use super::usage::Usage;

/// The counts of a block as columns, and the log ratios.
#[derive(Clone, Debug)]
pub(super) struct OwnerColumns<const PAIRS: usize> {
    share: Column<PAIRS>,
    own_events: Column<PAIRS>,
    own_groups: Column<PAIRS>,
    other_events: Column<PAIRS>,
    other_accounts: Column<PAIRS>,
    all_groups: Column<PAIRS>,
    ratio: Column<PAIRS>,
}

impl<const PAIRS: usize> OwnerColumns<PAIRS> {
    pub(super) const ZEROS: Self = Self {
        share: [0.0; PAIRS],
        own_events: [0.0; PAIRS],
        own_groups: [0.0; PAIRS],
        other_events: [0.0; PAIRS],
        other_accounts: [0.0; PAIRS],
        all_groups: [0.0; PAIRS],
        ratio: [0.0; PAIRS],
    };

    /// Takes the counts of a level. Returns whether any pair has an owner's group; otherwise nothing is taken.
    #[inline(always)]
    pub(super) fn set(&mut self, usage: &[Usage], level: usize) -> bool {
        if usage.iter().all(|usage| usage.owners[level].share <= 0.0) {
            return false;
        }
        for (i, usage) in usage.iter().enumerate() {
            let owner = &usage.owners[level];
            let is_known = u64::from(owner.own_events > 0);
            self.share[i] = owner.share;
            self.own_events[i] = owner.own_events as f32;
            self.own_groups[i] = owner.own_groups as f32;
            self.other_events[i] = owner.all_events.saturating_sub(owner.own_events.into()) as f32;
            self.other_accounts[i] = owner.all_accounts.saturating_sub(is_known) as f32;
            self.all_groups[i] = owner.all_groups as f32;
        }
        true
    }

    /// Sets the inputs of the level, `[7, pairs]`. `root` has the events and accounts of others.
    #[inline(always)]
    pub(super) fn fill(
        &mut self,
        [events, accounts, _]: &[Column<PAIRS>; 3],
        num_events: &Column<PAIRS>,
        inputs: &mut [Column<PAIRS>],
    ) {
        let [ratio, own, novelty, distinct, of_events, of_accounts, others] = inputs else { return };
        for i in 0..PAIRS {
            let is_known = self.share[i] > 0.0;
            let even = if is_known { self.share[i] } else { 1.0 };
            let event_share = share(self.other_events[i], self.all_groups[i], events[i], even);
            let account_share = share(self.other_accounts[i], self.all_groups[i], accounts[i], even);
            let own_share = share(self.own_events[i], self.own_groups[i], num_events[i], account_share);
            let of_pair = ln(own_share / account_share);
            self.ratio[i] = if is_known { of_pair } else { 0.0 };
            ratio[i] = 0.3 * self.ratio[i];
            of_events[i] = if is_known { 0.3 * ln(event_share / even) } else { 0.0 };
            of_accounts[i] = if is_known { 0.3 * ln(account_share / even) } else { 0.0 };
            own[i] = 0.4 * ln(1.0 + self.own_events[i]);
            distinct[i] = 0.3 * ln(1.0 + self.own_groups[i]);
            others[i] = 0.3 * ln(1.0 + self.other_accounts[i]);
            let more = self.own_groups[i] - 1.0;
            let more = if more > 0.0 { more } else { 0.0 };
            let odds = (more + 0.3) / (num_events[i] - self.own_groups[i] + 0.7);
            let of_pair = 0.3 * ln(odds);
            novelty[i] = if is_known && num_events[i] > 0.0 { of_pair } else { 0.0 };
        }
    }

    /// Makes the sums of the prefixes' ratios the closed form's mixture with this level's, where the owner is known.
    #[inline(always)]
    pub(super) fn mix(&self, sums: &mut Column<PAIRS>) {
        for ((sum, ratio), share) in sums.iter_mut().zip(&self.ratio).zip(&self.share) {
            let difference = *sum - ratio;
            let larger = if difference > 0.0 { *sum } else { *ratio };
            let mixture = larger + ln(0.5 + 0.5 * exp(-difference.abs()));
            *sum = if *share > 0.0 { mixture } else { *sum };
        }
    }
}
