//! The pairs that a head is fitted on: past events, and pairs that did not occur.

use rand::seq::index;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::event_log::{EventLog, Query};
use crate::event::Address;

/// How pairs are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Largest number of events, each with its negatives.
    pub max_events: usize,
    /// How often an event of a log that has fewer than these is drawn at most, each time at another moment and with other
    /// negatives.
    pub max_draws: usize,
    /// The weight of each kind of negative; 0 leaves it out.
    pub weights: NegativeWeights,
    /// Share of the events whose counts are taken some time before the event, as in a model that is not trained again
    /// after each event.
    pub lagged: f64,
    /// The longest lag, as a share of the events before it.
    pub max_lag: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        let weights = NegativeWeights::default();
        Self { max_events: 60_000, max_draws: 8, weights, lagged: 0.5, max_lag: 0.25, seed: 0 }
    }
}

/// Weights in the loss of the negatives of one event, of which each has a weight of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegativeWeights {
    /// Two events of other accounts at about the same time: teach how popular addresses are. The weight of both.
    pub other_accounts: f32,
    /// Any address of the family: teaches addresses that nobody uses.
    pub uniform: f32,
    /// The event's own address with new random bits below a random length: teaches the borders of networks.
    pub neighbour: f32,
    /// Any address of a network that another account used, each network equally likely: teaches that attackers do not
    /// prefer popular networks.
    pub network: f32,
}

impl Default for NegativeWeights {
    fn default() -> Self {
        Self { other_accounts: 1.0, uniform: 0.5, neighbour: 0.5, network: 0.25 }
    }
}

/// A pair of the fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingPair {
    /// Account, address and moment.
    pub query: Query,
    /// Whether it occurred.
    pub is_event: bool,
    /// Its weight in the loss.
    pub weight: f32,
}

/// The source of the address of a pair that did not occur; its account is the event's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Negative {
    OtherAccount,
    Uniform,
    Neighbour,
    Network,
}

impl NegativeWeights {
    /// The negatives of each event that have a weight.
    fn negatives(self) -> impl Iterator<Item = (Negative, f32)> {
        let of_one = self.other_accounts / 2.0;
        [
            (Negative::OtherAccount, of_one),
            (Negative::OtherAccount, of_one),
            (Negative::Uniform, self.uniform),
            (Negative::Neighbour, self.neighbour),
            (Negative::Network, self.network),
        ]
        .into_iter()
        .filter(|(_, weight)| *weight > 0.0)
    }
}

/// Largest number of draws for one negative.
const MAX_TRIES: usize = 40;

impl SamplingOptions {
    /// Draws of each event that is drawn.
    fn num_draws(&self, num_events: usize) -> usize {
        (self.max_events / num_events.max(1)).clamp(1, self.max_draws.max(1))
    }

    /// The pairs that are drawn of a log of so many events, at most.
    pub(super) fn max_pairs(&self, num_events: u64) -> u64 {
        let num_events = usize::try_from(num_events).unwrap_or(usize::MAX);
        let num_drawn = self.max_events.min(num_events) * self.num_draws(num_events);
        (num_drawn * (1 + self.weights.negatives().count())) as u64
    }
}

/// Draws events of the log with their negatives, which have the family of the event's address. The same options give
/// the same pairs with any number of threads.
pub fn sample_pairs(log: &EventLog, options: &SamplingOptions) -> Vec<TrainingPair> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let num_events = options.max_events.min(log.len());
    let rows = index::sample(&mut rng, log.len(), num_events).into_vec();
    let rows = rows.repeat(options.num_draws(log.len()));
    let families = Families::of(log);
    let pairs = rows.into_par_iter().enumerate().flat_map_iter(|(draw, position)| {
        // Each draw has a stream of its own.
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        rng.set_stream(draw as u64 + 1);
        pairs_of(log, &families, position as u32, options, &mut rng)
    });
    pairs.collect()
}

fn pairs_of(
    log: &EventLog,
    families: &Families,
    position: u32,
    options: &SamplingOptions,
    rng: &mut ChaCha8Rng,
) -> Vec<TrainingPair> {
    let moment = Moment::draw(log, position, options, rng);
    let (entity, address, time) = (log.entity(position), log.address(position), log.time(position));
    let pair = |address, weight, is_event| TrainingPair {
        query: Query { entity, address, position: moment.position, time },
        is_event,
        weight,
    };
    let mut pairs = vec![pair(address, 1.0, true)];
    for (kind, weight) in options.weights.negatives() {
        let drawn = match kind {
            Negative::OtherAccount => families.other_account(log, entity, address, &moment, rng),
            Negative::Uniform => Some(uniform(address, rng)),
            Negative::Network => families.network(entity, address, rng),
            Negative::Neighbour => Some(neighbour(address, rng)),
        };
        pairs.extend(drawn.map(|address| pair(address, weight, false)));
    }
    pairs
}

/// When an event is looked at, and which events are of its time.
struct Moment {
    /// Events counted before.
    position: u32,
    /// Positions from which other accounts' addresses are drawn.
    first: u32,
    end: u32,
}

impl Moment {
    fn draw(log: &EventLog, position: u32, options: &SamplingOptions, rng: &mut impl Rng) -> Self {
        let lag = rng.random::<f64>() * options.max_lag;
        let is_lagged = rng.random_bool(options.lagged);
        let at = f64::from(position);
        let (counted, first, end) = if is_lagged {
            let counted = at / (1.0 + lag);
            (counted, counted, counted.floor() * (1.0 + options.max_lag))
        } else {
            // A tenth of the history to both sides.
            (at, at / 1.1 - SLACK, at * 1.1)
        };
        let first = first.max(0.0) as u32;
        let end = ((end + SLACK) as u32).min(log.len() as u32).max(first + 1);
        Self { position: counted as u32, first, end }
    }
}

/// Events by which the period around an event is longer, so that the first ones have others around them.
const SLACK: f64 = 20.0;

/// Where negatives of a family come from.
struct Families {
    /// The positions of each family's events, where there are both.
    ipv4: Vec<u32>,
    ipv6: Vec<u32>,
    /// The networks of each family with one of their accounts, sorted.
    networks: [Vec<(u64, u64)>; 2],
}

/// Events whose networks are drawn from.
const MAX_NETWORK_EVENTS: usize = 1 << 20;

/// Bits behind a network's prefix: /20 of IPv4, /40 of IPv6.
fn num_host_bits(address: Address) -> u32 {
    if address.is_ipv4() { 12 } else { 24 }
}

impl Families {
    fn of(log: &EventLog) -> Self {
        let step = log.len().div_ceil(MAX_NETWORK_EVENTS).max(1);
        let networks = [true, false].map(|is_ipv4| {
            let positions = (0..log.len() as u32).into_par_iter().step_by(step);
            let positions = positions.filter(|position| log.address(*position).is_ipv4() == is_ipv4);
            let network = |position: u32| {
                let address = log.address(position);
                let num_host_bits = num_host_bits(address);
                (address.bits() >> num_host_bits << num_host_bits, log.entity(position))
            };
            let mut networks: Vec<(u64, u64)> = positions.map(network).collect();
            networks.par_sort_unstable();
            networks.dedup_by_key(|network| network.0);
            networks
        });
        let positions = || (0..log.len() as u32).into_par_iter();
        let num_ipv4 = positions().filter(|position| log.address(*position).is_ipv4()).count();
        if num_ipv4 == 0 || num_ipv4 == log.len() {
            return Self { ipv4: Vec::new(), ipv6: Vec::new(), networks };
        }
        let (ipv4, ipv6) = positions().partition(|position| log.address(*position).is_ipv4());
        Self { ipv4, ipv6, networks }
    }

    /// An address of a network of another account, each network equally likely.
    fn network(&self, entity: u64, address: Address, rng: &mut impl Rng) -> Option<Address> {
        let networks = &self.networks[usize::from(!address.is_ipv4())];
        if networks.is_empty() {
            return None;
        }
        (0..MAX_TRIES).find_map(|_| {
            let (network, of_entity) = networks[rng.random_range(0..networks.len())];
            let host = rng.random_range(0..1u64 << num_host_bits(address));
            (of_entity != entity).then(|| Address::from_bits(network | host))
        })
    }

    /// The address of an event of another account around the moment, each equally likely.
    fn other_account(
        &self,
        log: &EventLog,
        entity: u64,
        address: Address,
        moment: &Moment,
        rng: &mut impl Rng,
    ) -> Option<Address> {
        let of_family = if address.is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        let rank = |position: u32| of_family.partition_point(|other| *other < position) as u32;
        let has_both = !of_family.is_empty();
        let range = if has_both { rank(moment.first)..rank(moment.end) } else { moment.first..moment.end };
        if range.is_empty() {
            return None;
        }
        (0..MAX_TRIES).find_map(|_| {
            let drawn = rng.random_range(range.clone());
            let position = if has_both { of_family[drawn as usize] } else { drawn };
            (log.entity(position) != entity).then(|| log.address(position))
        })
    }
}

/// Any address of the family; of IPv6, those that are announced (2000::/3, RFC 4291).
fn uniform(address: Address, rng: &mut impl Rng) -> Address {
    let bits = match address.is_ipv4() {
        true => u64::from(rng.random::<u32>()),
        false => 0x2000 << 48 | rng.random::<u64>() >> 3,
    };
    Address::from_bits(bits)
}

/// Another address that shares the first bits: a random number of them, /8 to /31 of IPv4 and /24 to /63 of IPv6.
fn neighbour(address: Address, rng: &mut impl Rng) -> Address {
    let num_free = match address.is_ipv4() {
        true => 32 - rng.random_range(8..32),
        false => 64 - rng.random_range(24..64),
    };
    // Any change but none.
    let change = rng.random_range(1..1u64 << num_free);
    Address::from_bits(address.bits() ^ change)
}
