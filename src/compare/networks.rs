//! From which /16 networks events come.

use serde::Serialize;

use super::psi;
use crate::data::Events;
use crate::event::Address;

/// /16 networks of IPv4.
const NUM_NETWORKS: usize = 1 << 16;

/// A network has a bin of its own where at least so many events are expected of it in the smaller of the two sets
/// (Cochran's rule for tests of such tables): what is rarer says more of chance than of drift.
const MIN_EXPECTED: u64 = 5;

/// Numbers of events by /16 network, 512 KiB.
#[derive(Clone, Debug)]
pub struct NetworkMix {
    counts: Vec<u64>,
}

/// How the mix of networks of recent events differs from that of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NetworkStability {
    /// [`psi`] of the recent events' /16 networks against the reference's. Networks of which fewer than 5 events are
    /// expected in the smaller of the two, were they of one mix, are one bin together.
    pub psi: f64,
    /// What it is on average where nothing has changed: `(bins - 1) · (1 / reference + 1 / recent)`, of numbers of events
    /// (Yurdakul and Naranjo 2020).
    pub psi_by_chance: f64,
    /// Bins, that of the rare networks included.
    pub num_bins: usize,
    /// Events of the reference.
    pub num_reference_events: u64,
}

impl Default for NetworkMix {
    fn default() -> Self {
        Self { counts: vec![0; NUM_NETWORKS] }
    }
}

impl NetworkMix {
    /// Counts events.
    pub fn of(events: &Events) -> Self {
        let mut mix = Self::default();
        events.iter().for_each(|event| mix.add(event.address));
        mix
    }

    /// Counts an event from an IPv4 address; others have no network here.
    pub fn add(&mut self, address: Address) {
        if let Some(ip) = address.ipv4() {
            self.counts[(ip >> 16) as usize] += 1;
        }
    }

    /// The number of events.
    pub fn num_events(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Compares this mix, of recent events, with that of a reference.
    pub fn stability(&self, reference: &NetworkMix) -> NetworkStability {
        let (num_reference, num_recent) = (reference.num_events(), self.num_events());
        let num_both = u128::from(num_reference + num_recent);
        let mut rare = (0, 0);
        let mut bins: Vec<(u64, u64)> = Vec::new();
        for (then, now) in reference.counts.iter().copied().zip(self.counts.iter().copied()) {
            let expected = u128::from(then + now) * u128::from(num_reference.min(num_recent));
            match expected >= u128::from(MIN_EXPECTED) * num_both && then + now > 0 {
                true => bins.push((then, now)),
                false => rare = (rare.0 + then, rare.1 + now),
            }
        }
        if rare != (0, 0) {
            bins.push(rare);
        }
        let (then, now): (Vec<u64>, Vec<u64>) = bins.into_iter().unzip();
        let num_bins = then.len();
        NetworkStability {
            psi: psi(&then, &now),
            psi_by_chance: num_bins.saturating_sub(1) as f64
                * (1.0 / num_reference as f64 + 1.0 / num_recent as f64),
            num_bins,
            num_reference_events: num_reference,
        }
    }
}
