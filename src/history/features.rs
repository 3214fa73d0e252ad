//! The inputs of the head: the counts of a pair as numbers of about one.
//!
//! All counts and ages are logarithms: a second login from a network says more than the hundredth. Inputs about the last
//! event of an account or a prefix are 0 where it has none, inputs that need times are 0 where events have no times, and
//! those of the owner of the address are 0 without a table of networks.
//!
//! The engine's dot product is no input. With the best weight, chosen on the test itself, it raised the AUC by .001 in
//! twelve half-years of irc_duraspace and lowered it on irc_ubuntu; with a weight fitted on earlier events it lowered both.

#[cfg(test)]
use super::closed_form::log_ratios;
use super::usage::NUM_LEVELS;
#[cfg(test)]
use super::usage::Usage;
use crate::networks::{NUM_OWNER_LEVELS, OwnerLevel};

/// Levels whose novelty and number of distinct prefixes are inputs: /8, /16, /24 and /32 of IPv4.
pub(super) const WIDE_LEVELS: [usize; 4] = [0, 2, 4, 6];

/// Levels whose time since the last use is an input: /16, /24 and /32 of IPv4.
pub(super) const RECENT_LEVELS: [usize; 3] = [2, 4, 6];

/// Number of the inputs that need no table of networks. They come first.
pub(super) const NUM_BASE_INPUTS: usize = 59;

/// Inputs of each level of owners.
pub(super) const NUM_OWNER_INPUTS: usize = 7;

/// Number of the inputs.
pub const NUM_INPUTS: usize = NUM_BASE_INPUTS + NUM_OWNER_LEVELS * NUM_OWNER_INPUTS;

/// An hour in days: the resolution of ages.
pub(super) const HOUR: f64 = 1.0 / 24.0;

/// Where each group of inputs begins.
pub(super) struct Input;

impl Input {
    pub const OWN_RATIO: usize = 0;
    pub const OWN_EVENTS: usize = Self::OWN_RATIO + NUM_LEVELS;
    pub const EVENTS: usize = Self::OWN_EVENTS + NUM_LEVELS;
    pub const NOVELTY: usize = Self::EVENTS + 1;
    pub const DISTINCT: usize = Self::NOVELTY + WIDE_LEVELS.len();
    pub const OWN_CHILDREN: usize = Self::DISTINCT + WIDE_LEVELS.len();
    pub const EVENT_SHARE: usize = Self::OWN_CHILDREN + WIDE_LEVELS.len() - 1;
    pub const ACCOUNT_SHARE: usize = Self::EVENT_SHARE + NUM_LEVELS;
    pub const OTHER_ACCOUNTS: usize = Self::ACCOUNT_SHARE + NUM_LEVELS;
    pub const OTHER_EVENTS: usize = Self::OTHER_ACCOUNTS + NUM_LEVELS;
    pub const AGE_OF_USE: usize = Self::OTHER_EVENTS + 1;
    pub const AGE_OF_LAST: usize = Self::AGE_OF_USE + RECENT_LEVELS.len();
    pub const AGE_OF_FIRST: usize = Self::AGE_OF_LAST + 1;
    pub const AGE_AGAINST_LAST: usize = Self::AGE_OF_FIRST + 1;
    pub const EVENTS_SINCE_USE: usize = Self::AGE_AGAINST_LAST + RECENT_LEVELS.len();
    /// Those of the AS, then those of the country.
    pub const OWNERS: usize = Self::EVENTS_SINCE_USE + RECENT_LEVELS.len();
}

const _: () = assert!(Input::OWNERS == NUM_BASE_INPUTS);

/// Names of the inputs in their order.
pub fn input_names() -> Vec<String> {
    let of = |name: &'static str, levels: &[usize]| -> Vec<String> {
        levels.iter().map(|level| format!("{name}_{level}")).collect()
    };
    let all: Vec<usize> = (0..NUM_LEVELS).collect();
    let of_owners = OwnerLevel::ALL.iter().flat_map(|level| {
        let names = [
            "own_ratio",
            "own_events",
            "novelty",
            "distinct",
            "event_share",
            "account_share",
            "other_accounts",
        ];
        names.map(|name| format!("{}_{name}", level.name()))
    });
    [
        of("own_ratio", &all),
        of("own_events", &all),
        vec!["events".into()],
        of("novelty", &WIDE_LEVELS),
        of("distinct", &WIDE_LEVELS),
        of("own_children", &WIDE_LEVELS[..3]),
        of("event_share", &all),
        of("account_share", &all),
        of("other_accounts", &all),
        vec!["other_events_6".into()],
        of("age_of_use", &RECENT_LEVELS),
        vec!["age_of_last".into(), "age_of_first".into()],
        of("age_against_last", &RECENT_LEVELS),
        of("events_since_use", &RECENT_LEVELS),
        of_owners.collect(),
    ]
    .concat()
}

/// The inputs and the sum of the log ratios in f64: the reference.
#[cfg(test)]
pub fn inputs_reference(usage: &Usage) -> ([f64; NUM_INPUTS], f64) {
    let ratios = log_ratios(usage);
    let (own, events, accounts) = (ratios.own, ratios.events, ratios.accounts);
    let count = |count: f64| count.ln_1p();
    let age = |days: f32| (f64::from(days) + HOUR).ln();
    let has_time = |days: f32| days >= 0.0;
    let num_events = f64::from(usage.num_events);
    let level = |l: usize| &usage.levels[l];
    let other_accounts =
        |l: usize| level(l).all_accounts.saturating_sub(u64::from(level(l).own_events > 0)) as f64;
    let mut inputs = Vec::with_capacity(NUM_INPUTS);
    inputs.extend(own.map(|ratio| 0.3 * ratio));
    inputs.extend(usage.levels.map(|level| 0.4 * count(level.own_events.into())));
    inputs.push(0.3 * count(num_events));
    for l in WIDE_LEVELS {
        let distinct = f64::from(usage.distinct[l]);
        let odds = ((distinct - 1.0).max(0.0) + 0.3) / (num_events - distinct + 0.7);
        inputs.push(if usage.num_events > 0 { 0.3 * odds.ln() } else { 0.0 });
    }
    inputs.extend(WIDE_LEVELS.map(|l| 0.3 * count(usage.distinct[l].into())));
    inputs.extend(WIDE_LEVELS[..3].iter().map(|l| 0.3 * count(level(*l).own_children.into())));
    inputs.extend(events.map(|share| 0.3 * share));
    inputs.extend(accounts.map(|share| 0.3 * share));
    inputs.extend((0..NUM_LEVELS).map(|l| 0.3 * count(other_accounts(l))));
    let last = level(NUM_LEVELS - 1);
    inputs.push(0.3 * count(last.all_events.saturating_sub(last.own_events.into()) as f64));
    let of_use = |l: usize| level(l).days_since_use;
    inputs
        .extend(RECENT_LEVELS.map(|l| if has_time(of_use(l)) { 0.3 * (age(of_use(l)) - 2.0) } else { 0.0 }));
    let (of_last, of_first) = (usage.days_since_last, usage.days_since_first);
    inputs.push(if has_time(of_last) { 0.3 * (age(of_last) - 2.0) } else { 0.0 });
    inputs.push(if has_time(of_first) { 0.3 * (age(of_first) - 3.0) } else { 0.0 });
    inputs.extend(
        RECENT_LEVELS.map(|l| if has_time(of_use(l)) { 0.3 * (age(of_use(l)) - age(of_last)) } else { 0.0 }),
    );
    inputs.extend(RECENT_LEVELS.map(|l| 0.3 * count(f64::from(level(l).events_since_use).max(0.0))));
    for (owner, ratios) in usage.owners.iter().zip(ratios.owners) {
        if owner.share <= 0.0 {
            inputs.extend([0.0; NUM_OWNER_INPUTS]);
            continue;
        }
        let distinct = f64::from(owner.own_groups);
        let odds = ((distinct - 1.0).max(0.0) + 0.3) / (num_events - distinct + 0.7);
        let other_accounts = owner.all_accounts.saturating_sub(u64::from(owner.own_events > 0)) as f64;
        inputs.push(0.3 * ratios.own);
        inputs.push(0.4 * count(owner.own_events.into()));
        inputs.push(if usage.num_events > 0 { 0.3 * odds.ln() } else { 0.0 });
        inputs.push(0.3 * count(distinct));
        inputs.extend([0.3 * ratios.events, 0.3 * ratios.accounts, 0.3 * count(other_accounts)]);
    }
    (inputs.try_into().expect("there are as many as there are names"), ratios.sum())
}
