//! What `inspect` says of a model's history, head and table of networks.

use std::collections::BTreeMap;

use ipsight::device;
use ipsight::history::{Detector, FamilySummary, IPV4_LENGTHS, IPV6_LENGTHS, NUM_LEVELS, Owners};
use ipsight::networks::NetworksSummary;
use serde::Serialize;

use super::networks::networks_text;
use super::output::count;

/// What a history holds.
#[derive(Serialize)]
pub struct HistoryContents {
    events: u64,
    entities: u64,
    /// Distinct (entity, network); a network is an IPv4 address or an IPv6 /64.
    pairs: u64,
    /// Pairs that were counted and not kept, by `model.max_networks_per_entity`.
    dropped_pairs: u64,
    /// Distinct networks.
    networks: u64,
    /// Unix seconds of the first and the last event; null where events have no times.
    first_time: Option<i64>,
    last_time: Option<i64>,
    /// Bytes of the file, and of each of its sections.
    bytes: u64,
    bytes_by_section: BTreeMap<String, u64>,
    ipv4: FamilyContents,
    ipv6: FamilyContents,
}

/// What it holds of a family.
#[derive(Serialize)]
struct FamilyContents {
    events: u64,
    entities: u64,
    pairs: u64,
    networks: u64,
    /// Distinct prefixes by their length.
    prefixes: BTreeMap<u32, u64>,
}

/// What a head is.
#[derive(Serialize)]
pub struct HeadContents {
    num_parameters: usize,
}

/// What a table of networks holds.
#[derive(Serialize)]
pub struct NetworksContents {
    #[serde(flatten)]
    summary: NetworksSummary,
    /// Distinct (entity, AS) and (entity, country), blocks without an owner included.
    as_pairs: u64,
    country_pairs: u64,
}

impl NetworksContents {
    pub fn of(owners: &Owners) -> Self {
        let [as_pairs, country_pairs] = owners.num_pairs();
        Self { summary: owners.networks.summary(), as_pairs, country_pairs }
    }

    pub fn line(&self) -> String {
        format!(
            "networks: {}; {} pairs of an entity and an AS, {} of an entity and a country, {} of the table",
            networks_text(&self.summary),
            count(self.as_pairs),
            count(self.country_pairs),
            device::bytes(self.summary.bytes)
        )
    }
}

impl HistoryContents {
    pub fn of(detector: &Detector) -> Self {
        let summary = detector.history.summary();
        let [ipv4, ipv6] = detector.history.num_prefixes();
        let (first_time, last_time) = summary.times.unzip();
        Self {
            events: summary.events,
            entities: summary.accounts,
            pairs: summary.ipv4.pairs + summary.ipv6.pairs,
            dropped_pairs: summary.dropped_pairs,
            networks: summary.ipv4.addresses + summary.ipv6.addresses,
            first_time,
            last_time,
            bytes: summary.bytes,
            bytes_by_section: summary.sections.into_iter().collect(),
            ipv4: FamilyContents::of(&summary.ipv4, IPV4_LENGTHS, ipv4),
            ipv6: FamilyContents::of(&summary.ipv6, IPV6_LENGTHS, ipv6),
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let time = |seconds: i64| {
            jiff::Timestamp::from_second(seconds)
                .map_or_else(|_| format!("second {seconds}"), |t| t.to_string())
        };
        let times = match (self.first_time, self.last_time) {
            (Some(first), Some(last)) => format!(", from {} to {}", time(first), time(last)),
            _ => ", without times".into(),
        };
        let mut lines = vec![format!(
            "history: {} events of {} entities{times}; {} pairs of an entity and a network, {}",
            count(self.events),
            count(self.entities),
            count(self.pairs),
            device::bytes(self.bytes)
        )];
        if self.dropped_pairs > 0 {
            lines.push(format!("  {} pairs more were counted and not kept", count(self.dropped_pairs)));
        }
        for (name, family) in [("IPv4", &self.ipv4), ("IPv6", &self.ipv6)] {
            if family.pairs > 0 {
                lines.push(format!("  {name}: {}", family.text()));
            }
        }
        lines
    }
}

impl FamilyContents {
    fn of(summary: &FamilySummary, lengths: [u32; NUM_LEVELS], num: [u64; NUM_LEVELS]) -> Self {
        let &FamilySummary { events, pairs, addresses: networks, accounts: entities } = summary;
        // The whole family is no prefix.
        let prefixes = lengths.into_iter().zip(num).filter(|(length, _)| *length > 0).collect();
        Self { events, entities, pairs, networks, prefixes }
    }

    fn text(&self) -> String {
        let prefixes: Vec<_> =
            self.prefixes.iter().map(|(length, num)| format!("{} /{length}", count(*num))).collect();
        format!(
            "{} events of {} entities, {} pairs; {}",
            count(self.events),
            count(self.entities),
            count(self.pairs),
            prefixes.join(", ")
        )
    }
}

impl HeadContents {
    pub fn of(detector: &Detector) -> Self {
        Self { num_parameters: detector.head.parameters().len() }
    }

    pub fn line(&self) -> String {
        format!(
            "head: {} parameters, fitted on what the history knew before events",
            count(self.num_parameters as u64)
        )
    }
}
