//! The closed form: how much likelier an account is to use an address than the other accounts are.
//!
//! A chain of Pitman-Yor processes (Teh, "A Hierarchical Bayesian Language Model based on Pitman-Yor Processes", ACL
//! 2006) over the levels of the address. At level l, with c of the account's events in the prefix, c' in the wider
//! prefix before it, and u distinct children of that which the account used,
//!
//! ```text
//! p_l = (max(c - d, 0) + (1 + d min(u, c')) e_l) / (c' + 1)            d = 0.75
//! r_l = ln(p_l / e_l)
//! ```
//!
//! e_l has the same form over the numbers of *other* accounts, and backs off to an even share of the children that the
//! wider prefix could have, 2^-bits. Before the first level stand all events and all accounts. Popularity is counted in
//! accounts because one account's many logins say nothing of the others; the same share over the events of other
//! accounts, g_l, is an input of the head beside it.
//!
//! The owner of the address is no level of the chain, because an AS has prefixes here and there. Its ratio stands beside
//! theirs: with c of the account's n events in the AS and D distinct ASes of the account,
//!
//! ```text
//! b = (max(E - d, 0) + (1 + d min(K, J)) u) / (J + 1)     E of the J other accounts are in the AS; K ASes; u its space
//! p = (max(c - d, 0) + (1 + d min(D, n)) b) / (n + 1)
//! r_AS = ln(p / b)
//! score = ln(1/2 exp(sum of r_l) + 1/2 exp(r_AS))
//! ```
//!
//! A mixture and no sum, because both say the same of an account that stays at home. Without a table the score is the sum.
//!
//! An unseen account has r = 0 at every level, so that the score is 0: nothing is known.

use super::usage::{NUM_LEVELS, OwnerUsage, Usage};
use crate::networks::NUM_OWNER_LEVELS;

/// The discount d: how much of each distinct prefix's first event counts for the wider prefix alone.
pub(super) const DISCOUNT: f64 = 0.75;

/// Bits of each level: without counts, a child of the wider prefix has a share of 2^-bits of it.
///
/// These are IPv4's. IPv6's levels use the same numbers, so that their shares reach the head on the same scale: few of the
/// prefixes that an IPv6 level could have are ever announced, so its bits say little about an even share.
pub(super) const LEVEL_BITS: [u32; NUM_LEVELS] = [8, 4, 4, 4, 4, 4, 4];

/// The logarithms of one pair, by level.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogRatios {
    /// r_l: the account's share of the prefix over the other accounts'.
    pub own: [f64; NUM_LEVELS],
    /// ln(g_l / 2^-bits): the share among the events of other accounts over an even share.
    pub events: [f64; NUM_LEVELS],
    /// ln(e_l / 2^-bits): the share among other accounts over an even share.
    pub accounts: [f64; NUM_LEVELS],
    /// The same three of each level of owners; 0 without a table.
    pub owners: [OwnerRatios; NUM_OWNER_LEVELS],
    /// Whether the AS is known.
    has_as: bool,
}

/// The logarithms of one pair for one level of owners.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnerRatios {
    /// r: the account's share of the group over the other accounts'.
    pub own: f64,
    /// ln(g / u): the share among the events of other accounts over that of the address space.
    pub events: f64,
    /// ln(b / u): the share among other accounts over that of the address space.
    pub accounts: f64,
}

impl LogRatios {
    /// The closed form's score; high = ordinary.
    pub fn sum(&self) -> f64 {
        match self.of_as() {
            Some(of_as) => mixture(self.of_prefixes(), of_as),
            None => self.of_prefixes(),
        }
    }

    /// The sum of r_l.
    pub(super) fn of_prefixes(&self) -> f64 {
        self.own.iter().sum()
    }

    /// r_AS, where there is a table with ASes.
    pub(super) fn of_as(&self) -> Option<f64> {
        self.has_as.then_some(self.owners[0].own)
    }
}

/// ln(1/2 exp(a) + 1/2 exp(b)).
pub(super) fn mixture(a: f64, b: f64) -> f64 {
    a.max(b) + ((-(a - b).abs()).exp() / 2.0 + 0.5).ln()
}

/// The share of a prefix or a group, from a count of it among `of` and the children or groups that they are in.
fn share(count: f64, num_children: f64, of: f64, base: f64) -> f64 {
    ((count - DISCOUNT).max(0.0) + (1.0 + DISCOUNT * num_children.min(of)) * base) / (of + 1.0)
}

fn owner_ratios(usage: &Usage, owner: &OwnerUsage) -> OwnerRatios {
    if owner.share <= 0.0 {
        return OwnerRatios::default();
    }
    let (even, groups) = (f64::from(owner.share), owner.all_groups as f64);
    let num_events = f64::from(usage.num_events);
    let events = usage.total_events.saturating_sub(usage.num_events.into()) as f64;
    let accounts = usage.total_accounts.saturating_sub(u64::from(usage.num_events > 0)) as f64;
    let other_events = owner.all_events.saturating_sub(owner.own_events.into()) as f64;
    let other_accounts = owner.all_accounts.saturating_sub(u64::from(owner.own_events > 0)) as f64;
    let of_events = share(other_events, groups, events, even);
    let of_accounts = share(other_accounts, groups, accounts, even);
    let of_account = share(owner.own_events.into(), owner.own_groups.into(), num_events, of_accounts);
    OwnerRatios {
        own: (of_account / of_accounts).ln(),
        events: (of_events / even).ln(),
        accounts: (of_accounts / even).ln(),
    }
}

/// The reference in f64.
pub fn log_ratios(usage: &Usage) -> LogRatios {
    let is_known = u64::from(usage.num_events > 0);
    let mut own = [f64::from(usage.num_events), f64::from(usage.distinct[0])];
    let mut events = usage.total_events.saturating_sub(usage.num_events.into()) as f64;
    let mut accounts = usage.total_accounts.saturating_sub(is_known) as f64;
    let mut children = usage.total_top_prefixes as f64;
    let owners = usage.owners.each_ref().map(|owner| owner_ratios(usage, owner));
    let mut ratios = LogRatios { owners, has_as: usage.owners[0].share > 0.0, ..LogRatios::default() };
    for (level, counts) in usage.levels.iter().enumerate() {
        let even = f64::exp2(-f64::from(LEVEL_BITS[level]));
        let other_events = counts.all_events.saturating_sub(counts.own_events.into()) as f64;
        let other_accounts = counts.all_accounts.saturating_sub(u64::from(counts.own_events > 0)) as f64;
        let of_events = share(other_events, children, events, even);
        let of_accounts = share(other_accounts, children, accounts, even);
        let of_account = share(f64::from(counts.own_events), own[1], own[0], of_accounts);
        ratios.own[level] = (of_account / of_accounts).ln();
        ratios.events[level] = (of_events / even).ln();
        ratios.accounts[level] = (of_accounts / even).ln();
        own = [f64::from(counts.own_events), f64::from(counts.own_children)];
        (events, accounts, children) = (other_events, other_accounts, counts.all_children as f64);
    }
    ratios
}
