//! Why a score is what it is: how it changes along the address, and where the entity is usual.
//!
//! A dot product has no parts that tell people something, but the scores of many addresses do.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::account_use::AccountUse;
use super::prefix::Prefix;
use super::scorer::{PAIRS_PER_BATCH, Scorer, anomaly_score};
use crate::event::Address;
use crate::history::ScorePart;
use crate::thresholds::{Thresholds, Verdict};
use crate::{Error, Event, Result};

/// Addresses over which a mean score along an address is taken.
pub const NUM_COMPLETIONS: usize = 1024;

/// Bits of the networks among which the usual ones are looked for: all 2^16 of IPv4, or of 2000::/3, the part of the
/// IPv6 space that is given out; a /19 is what the largest providers have of it.
pub fn network_length(address: Address) -> u32 {
    if address.is_ipv4() { 16 } else { 19 }
}

/// How many networks there are to look at.
const NUM_NETWORKS: u32 = 1 << 16;

/// Addresses of each of these over which its mean score is taken.
const NUM_NETWORK_COMPLETIONS: usize = 4;

/// Networks of the highest scores that are told.
const NUM_HIGHEST: usize = 5;

/// Usual networks near the address that are told.
const NUM_NEAREST: usize = 3;

/// The lengths along an address at which its score is looked at: all addresses of its family, in IPv6 all that start as
/// 2000::/3 does, up to the address itself.
fn lengths(address: Address) -> [u32; 5] {
    if address.is_ipv4() { [0, 8, 16, 24, 32] } else { [3, 16, 32, 48, 64] }
}

/// The score at one length along an address.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The first bits of the address.
    pub prefix: Prefix,
    /// The mean score of [`NUM_COMPLETIONS`] random addresses that share them, spread evenly; of the address
    /// itself its score.
    pub mean_score: f64,
    /// The difference from the step before; `None` in the first.
    pub change: Option<f64>,
}

/// A network of [`network_length`] bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Network {
    /// Its addresses.
    pub network: Prefix,
    /// The mean score of some of them.
    pub mean_score: f64,
    /// First bits that it shares with the address, at most its length.
    pub shared_bits: u32,
}

/// The networks that are usual for an entity: what the model has learned of it, and no log of its events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsualNetworks {
    /// The networks of the highest mean scores, the highest first.
    pub highest: Vec<Network>,
    /// Networks whose mean score is above 0: of 65,536.
    pub num_usual: usize,
    /// Those of them that are nearest to the address: by the first bits that they share, then by distance.
    pub nearest: Vec<Network>,
}

/// Why the score of an event is what it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The score, as `Scorer::dot_product` gives it: high means usual.
    pub dot_product: f32,
    /// How it changes along the address: at 0, 8, 16, 24 and 32 bits of IPv4, at 3, 16, 32, 48 and 64 of IPv6.
    pub along_address: Vec<Step>,
    /// Where the entity is usual.
    pub usual_networks: UsualNetworks,
    /// Numbers that add up to the score: of a head by what they come from, of the engine alone by the steps along the
    /// address.
    pub parts: Vec<NamedPart>,
    /// What is known of the entity's past and of the address's network; `None` in a model of the engine alone.
    pub history: Option<AccountUse>,
}

/// A part of a score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedPart {
    /// Its name.
    pub name: String,
    /// What it comes from, in words.
    pub what: String,
    /// What it adds.
    pub value: f64,
}

/// An explanation with what else is said of the event.
#[derive(Serialize)]
pub struct Explained<'a> {
    /// The entity; bytes that are not UTF-8 become U+FFFD.
    pub entity: &'a str,
    /// The address.
    pub ip: Address,
    /// Why the score is what it is, in one sentence.
    pub sentence: String,
    /// The negated `dot_product`: high means anomalous.
    pub anomaly_score: f32,
    /// What follows from the thresholds of the model folder, if it has some.
    #[serde(flatten)]
    pub verdict: Option<Verdict<'a>>,
    /// Whether the model was trained on the entity; wrong of one stranger in 10,000.
    pub entity_seen: bool,
    /// Whether the score is that of the entity that stands for all, since this one was not seen
    /// ([`crate::Unseen::Prior`]).
    pub scored_by_prior: bool,
    /// Training events of the entity's table row, those of other entities that share it included.
    pub num_row_events: u32,
    /// `dot_product`, `along_address` and `usual_networks`.
    #[serde(flatten)]
    pub explanation: Explanation,
}

impl<'a> Explained<'a> {
    /// Explains an event of `entity`.
    ///
    /// # Errors
    ///
    /// As [`explain`] and [`Thresholds::verdict`].
    pub fn new(
        scorer: &Scorer,
        thresholds: Option<&'a Thresholds>,
        entity: &'a str,
        event: Event,
    ) -> Result<Self> {
        let explanation = explain(scorer, event)?;
        let anomaly_score = anomaly_score(explanation.dot_product);
        let verdict = thresholds.map(|thresholds| thresholds.verdict(anomaly_score)).transpose()?;
        let conclusion = match &verdict {
            Some(verdict) => format!("decision: {}", verdict.decision),
            None if explanation.dot_product > 0.0 => "as a whole more usual than not".into(),
            None => "as a whole more unusual than not".into(),
        };
        let reason = match &explanation.history {
            Some(history) => history.clause(),
            None => engine_clause(&explanation),
        };
        // A terminal does not get what an entity might have of its control sequences.
        let escaped =
            |char: char| if char.is_control() { char.escape_debug().to_string() } else { char.into() };
        let shown: String = entity.chars().map(escaped).collect();
        Ok(Self {
            entity,
            ip: event.address,
            sentence: format!("{shown} from {}: {reason}; {conclusion}", event.address),
            anomaly_score,
            verdict,
            entity_seen: scorer.entity_seen(event.entity),
            scored_by_prior: scorer.is_scored_by_prior(event.entity),
            num_row_events: scorer.num_row_events(event.entity),
            explanation,
        })
    }
}

/// Explains the score of an event; the same explanation every time.
///
/// # Errors
///
/// [`Error::Device`] where the device fails, [`Error::Data`] where the score is not a number.
pub fn explain(scorer: &Scorer, event: Event) -> Result<Explanation> {
    let dot_product = scorer.score(event)?;
    if !dot_product.is_finite() {
        let help = "the model is broken: train again with a lower learning_rate";
        return Err(Error::data("scores", format!("the score is {dot_product}"), help));
    }
    let along_address = along_address(scorer, event, dot_product)?;
    let known = scorer.detector().map(|detector| {
        let usage = detector.usages_at(&[event], None)[0];
        let part =
            |part: ScorePart| NamedPart { name: part.name.into(), what: part.what.into(), value: part.value };
        let parts = detector.head.score_parts(&usage).into_iter().map(part).collect();
        (parts, AccountUse::of(detector, event, &usage))
    });
    let (parts, history) = match known {
        Some((parts, history)) => (parts, Some(history)),
        None => (parts_of_steps(&along_address), None),
    };
    let usual_networks = usual_networks(scorer, event)?;
    Ok(Explanation { dot_product, along_address, usual_networks, parts, history })
}

/// The mean of all addresses, and what each step along the address adds to it.
fn parts_of_steps(steps: &[Step]) -> Vec<NamedPart> {
    let part = |step: &Step| {
        let what = match step.change {
            None => format!("the mean of all addresses of {}", step.prefix),
            Some(_) => format!("that it is in {}", step.prefix),
        };
        NamedPart { name: step.prefix.to_string(), what, value: step.change.unwrap_or(step.mean_score) }
    };
    steps.iter().map(part).collect()
}

/// What the engine alone can say: where along the address the score changes most.
fn engine_clause(explanation: &Explanation) -> String {
    let [_, steps @ ..] = &explanation.parts[..] else { return String::new() };
    let largest = steps.iter().max_by(|a, b| a.value.abs().total_cmp(&b.value.abs()));
    match largest {
        Some(part) if part.value < 0.0 => format!("{} lowers the score the most", part.what),
        Some(part) => format!("{} raises the score the most", part.what),
        None => String::new(),
    }
}

/// Bits behind a prefix, in the highest places, the same every time: random, one in each of `count` equal parts of
/// what there is, which makes the mean nearer the true one than bits at random would. `count` is a power of two.
fn completions(count: usize, address: Address) -> Vec<u64> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    match address.is_ipv4() {
        true => {
            let width = ((1u64 << 32) / count as u64) as u32;
            (0..count as u32).map(|i| u64::from(i * width + random.next_u32() % width) << 32).collect()
        }
        false => {
            let width = 1 << (u64::BITS - count.ilog2());
            (0..count as u64).map(|i| i * width + random.next_u64() % width).collect()
        }
    }
}

fn along_address(scorer: &Scorer, event: Event, dot_product: f32) -> Result<Vec<Step>> {
    let completions = completions(NUM_COMPLETIONS, event.address);
    let prefixes = lengths(event.address).map(|length| Prefix::of(event.address, length));
    let [before @ .., _] = &prefixes;
    let mut means = mean_scores(scorer, event.entity, before, &completions)?;
    means.push(f64::from(dot_product));
    let steps = prefixes.into_iter().enumerate().map(|(i, prefix)| {
        let change = (i > 0).then(|| means[i] - means[i - 1]);
        Step { prefix, mean_score: means[i], change }
    });
    Ok(steps.collect())
}

fn usual_networks(scorer: &Scorer, event: Event) -> Result<UsualNetworks> {
    let length = network_length(event.address);
    let first_address = |number: u32| match event.address.is_ipv4() {
        true => Address::from_ipv4(number << (32 - length)),
        false => Address::from_bits(0b001 << 61 | u64::from(number) << (64 - length)),
    };
    let prefixes: Vec<Prefix> =
        (0..NUM_NETWORKS).map(|number| Prefix::of(first_address(number), length)).collect();
    let completions = completions(NUM_NETWORK_COMPLETIONS, event.address);
    let means = mean_scores(scorer, event.entity, &prefixes, &completions)?;
    let own = Prefix::of(event.address, length);
    let mut networks: Vec<Network> = prefixes
        .into_iter()
        .zip(means)
        .map(|(network, mean_score)| Network { network, mean_score, shared_bits: network.shared_bits(&own) })
        .collect();
    // Stable: of equal scores the lower address is first.
    networks.sort_by(|a, b| b.mean_score.total_cmp(&a.mean_score));
    let highest = networks[..NUM_HIGHEST].to_vec();
    let num_usual = networks.partition_point(|network| network.mean_score > 0.0);
    networks.truncate(num_usual);
    networks.sort_by_key(|network| {
        let bits = network.network.bits;
        (length - network.shared_bits, bits.abs_diff(own.bits), bits)
    });
    networks.truncate(NUM_NEAREST);
    Ok(UsualNetworks { highest, num_usual, nearest: networks })
}

/// The mean score of each prefix, over the same completions.
fn mean_scores(scorer: &Scorer, entity: u64, prefixes: &[Prefix], completions: &[u64]) -> Result<Vec<f64>> {
    let mut means = Vec::with_capacity(prefixes.len());
    for prefixes in prefixes.chunks(PAIRS_PER_BATCH / completions.len()) {
        let addresses = prefixes.iter().flat_map(|prefix| completions.iter().map(|c| prefix.complete(*c)));
        let events: Vec<Event> = addresses.map(|address| Event { entity, address }).collect();
        let scores = scorer.scores(&events)?;
        let mean = |scores: &[f32]| {
            scores.iter().map(|score| f64::from(*score)).sum::<f64>() / completions.len() as f64
        };
        means.extend(scores.chunks_exact(completions.len()).map(mean));
    }
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,024 parts of a /24 are its 256 addresses, four times each: its mean is exact.
    #[test]
    fn completions_are_spread_evenly() {
        for (address, length) in [(0x0A01_0203, 24), (0x2001_0db8_0001_0203, 56)] {
            let address = Address::from_bits(address);
            let completions = completions(NUM_COMPLETIONS, address);
            let mut counts = [0; 256];
            let prefix = Prefix::of(address, length);
            completions.iter().for_each(|bits| counts[(prefix.complete(*bits).bits() & 0xFF) as usize] += 1);
            assert_eq!(counts, [4; 256]);
            let distinct: std::collections::BTreeSet<u64> =
                completions.iter().map(|bits| (bits >> 32) % 997).collect();
            assert!(distinct.len() > 500, "the low bits are random: {}", distinct.len());
        }
    }
}
