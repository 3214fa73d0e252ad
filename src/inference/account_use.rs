//! What an account is known to have used: from the counts of its history, not from a model's guesses.

use std::collections::HashMap;

use serde::Serialize;

use super::prefix::Prefix;
use crate::Event;
use crate::data::rfc3339_utc;
use crate::event::Address;
use crate::history::{AccountHistory, AddressHistory, Detector, Usage};
use crate::networks::Owner;

/// The level of /24 of IPv4 and /48 of IPv6, what people take for a network.
const LEVEL: usize = 4;

/// Networks and owners that are told, those with the most events.
const NUM_TOLD: usize = 5;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// What an account has of one network or owner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Used {
    /// The network, or the owner of several.
    pub name: String,
    /// Whose the network is, where the model has a table of networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Events of the account there.
    pub events: u64,
    /// The day of the first, as `2026-11-29`; `None` where events have no times.
    pub first_day: Option<String>,
    /// The time of the last, RFC 3339.
    pub last_time: Option<String>,
}

/// What an account is known to have done, and what is known of the network of one address.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccountUse {
    /// Events of the account; 0 of one that is not known.
    pub events: u64,
    /// The time of the first, RFC 3339; `None` where events have no times.
    pub first_time: Option<String>,
    /// The time of the last.
    pub last_time: Option<String>,
    /// Distinct networks, /24 of IPv4 and /48 of IPv6.
    pub num_networks: u64,
    /// Those with the most events.
    pub networks: Vec<Used>,
    /// Owners with the most events, where the model has a table of networks.
    pub owners: Vec<Used>,
    /// The address's own network.
    pub network: Prefix,
    /// Whose it is.
    pub owner: Option<String>,
    /// Events of the account with the address.
    pub events_of_address: u64,
    /// Its events in the network.
    pub events_of_network: u64,
    /// Its events in the AS; `None` where that is not known.
    pub events_of_as: Option<u64>,
    /// Other accounts in the network.
    pub other_accounts: u64,
}

/// Counts that are added up.
#[derive(Default)]
struct Sum {
    events: u64,
    first_day: Option<i64>,
    last: Option<i64>,
}

impl Sum {
    fn add(&mut self, address: &AddressHistory) {
        self.events += u64::from(address.events);
        if let Some(times) = address.times {
            self.first_day = Some(self.first_day.map_or(times.first_day, |day| day.min(times.first_day)));
            self.last = Some(self.last.map_or(times.last, |last| last.max(times.last)));
        }
    }

    fn used(&self, name: String, owner: Option<String>) -> Used {
        let day = |day: i64| rfc3339_utc(day * DAY)[..10].to_string();
        Used {
            name,
            owner,
            events: self.events,
            first_day: self.first_day.map(day),
            last_time: self.last.map(rfc3339_utc),
        }
    }
}

impl AccountUse {
    /// What is known of the account of an event and of the event's address.
    pub fn of(detector: &Detector, event: Event, usage: &Usage) -> Self {
        let account = detector.history.account(event.entity);
        let addresses = account.as_ref().map_or(&[][..], |account: &AccountHistory| &account.addresses);
        let by_network = sums(addresses, |address| network(address.address));
        let owner_of = |address: Address| detector.owners.as_ref()?.networks.owner(address);
        let text_of = |address: Address| owner_of(address).map(|owner| owner.to_string());
        let by_owner = sums(addresses, |address| owner_of(address.address).map(|owner| owner.to_string()));
        let used = |(network, sum): &(Prefix, Sum)| sum.used(network.to_string(), text_of(first_of(network)));
        let owners = by_owner.iter().filter_map(|(owner, sum)| Some(sum.used(owner.clone()?, None)));
        let times = account.as_ref().and_then(|account| account.times);
        let level = &usage.levels[LEVEL];
        let has_as = owner_of(event.address).is_some_and(|owner: Owner<'_>| owner.asn.is_some());
        Self {
            events: usage.num_events.into(),
            first_time: times.map(|times| rfc3339_utc(times.0)),
            last_time: times.map(|times| rfc3339_utc(times.1)),
            num_networks: account.as_ref().map_or(0, |account| account.distinct[LEVEL].into()),
            networks: by_network.iter().take(NUM_TOLD).map(used).collect(),
            owners: owners.take(NUM_TOLD).collect(),
            network: network(event.address),
            owner: text_of(event.address),
            events_of_address: usage.levels[LEVEL + 2].own_events.into(),
            events_of_network: level.own_events.into(),
            events_of_as: has_as.then_some(usage.owners[0].own_events.into()),
            other_accounts: level.all_accounts.saturating_sub(u64::from(level.own_events > 0)),
        }
    }

    /// What is known, in one clause: where the account comes from, and what the network is to it.
    pub fn clause(&self) -> String {
        let of = |owner: &Option<String>| owner.as_ref().map_or(String::new(), |owner| format!(" ({owner})"));
        let logins = |num: u64| if num == 1 { "1 login".to_string() } else { format!("{num} logins") };
        let others = match self.other_accounts {
            1 => "1 other account uses it".to_string(),
            num => format!("{num} other accounts use it"),
        };
        let Some(first) = self.networks.first() else {
            return format!(
                "no login of this account is known; of {}{} {others}",
                self.network,
                of(&self.owner)
            );
        };
        let last =
            first.last_time.as_ref().map_or(String::new(), |time| format!(", the last on {}", &time[..10]));
        let main = format!(
            "{} of {} came from {}{}{last}",
            first.events,
            logins(self.events),
            first.name,
            of(&first.owner)
        );
        let is_main = first.name == self.network.to_string();
        let this =
            if is_main { "this network".into() } else { format!("{}{}", self.network, of(&self.owner)) };
        let here = match (self.events_of_address, self.events_of_network, self.events_of_as) {
            (0, 0, Some(num @ 1..)) => format!("{this} is new, but its AS had {}", logins(num)),
            (0, 0, _) => format!("{this} is new"),
            (0, _, _) if is_main => "the address is new in it".into(),
            (0, num, _) => format!("{this} had {}", logins(num)),
            (num, _, _) => format!("this address had {}", logins(num)),
        };
        format!("{main}; {here}; {others}")
    }
}

/// Sums by a key, those with the most events first; of equal ones the key's order decides.
fn sums<K: std::hash::Hash + Eq + Ord>(
    addresses: &[AddressHistory],
    key: impl Fn(&AddressHistory) -> K,
) -> Vec<(K, Sum)> {
    let mut sums: HashMap<K, Sum> = HashMap::new();
    for address in addresses {
        sums.entry(key(address)).or_default().add(address);
    }
    let mut sums: Vec<(K, Sum)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.events.cmp(&a.1.events).then_with(|| a.0.cmp(&b.0)));
    sums
}

fn network(address: Address) -> Prefix {
    Prefix::of(address, if address.is_ipv4() { 24 } else { 48 })
}

fn first_of(network: &Prefix) -> Address {
    network.complete(0)
}
