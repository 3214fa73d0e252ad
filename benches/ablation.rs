//! What each part of the usage history's head adds: heads that lack one part, fitted and tested on the same events; see
//! `benches/README.md`.

use std::path::{Path, PathBuf};

use clap::Parser;
use ipsight::event::{Address, hash_entity, parse_address};
use ipsight::history::{
    EventLog, FitOptions, Head, NUM_INPUTS, NegativeWeights, Query, SamplingOptions, Usage,
    add_prequential_owners, fit_head, input_names, log_ratios, prequential_usage,
};
use ipsight::networks::Networks;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::json;

/// Heads of the usage history that lack one part. Prints a line of JSON for each
#[derive(Parser)]
struct Options {
    /// Rows `entity,ip,time` in the order of their times: pairs of a file to fit on and a file to test on
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Whose network an address is in, as `ipsight train --networks` takes it. Variants are then those without owners
    #[arg(long, value_name = "FILE")]
    networks: Option<PathBuf>,
    /// Heads of each variant
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// A head that lacks something, and the sum of log ratios alone.
enum Variant {
    Head(Box<FitOptions>),
    ClosedForm,
}

/// Beginnings of the names of inputs.
const OWN_COUNTS: &[&str] = &["own_events", "events", "distinct", "own_children"];
const POPULARITY: &[&str] = &["event_share", "account_share", "other_"];
const OWNERS: &[&str] = &["as_", "country_"];
const COUNTRY: &[&str] = &["country_"];
const RECENCY: &[&str] = &["age_", "events_since"];

fn head(options: FitOptions) -> Variant {
    Variant::Head(Box::new(options))
}

fn without(parts: &[&str]) -> Variant {
    let mut options = FitOptions::default();
    for (input, name) in input_names().iter().enumerate() {
        // `events` is an input of its own and the beginning of `events_since_use`.
        let is_part = |part: &&str| name == part || *part != "events" && name.starts_with(*part);
        options.used_inputs[input] = !parts.iter().any(is_part);
    }
    head(options)
}

fn sampled(sampling: SamplingOptions) -> Variant {
    head(FitOptions { sampling, ..FitOptions::default() })
}

fn weighted(weights: NegativeWeights) -> Variant {
    sampled(SamplingOptions { weights, ..SamplingOptions::default() })
}

fn variants() -> Vec<(&'static str, Variant)> {
    let sampling = SamplingOptions::default();
    let weights = NegativeWeights::default();
    vec![
        ("all parts", head(FitOptions::default())),
        ("no head: the closed form", Variant::ClosedForm),
        (
            "no closed form beside the network",
            head(FitOptions { closed_weight: 0.0, ..FitOptions::default() }),
        ),
        ("no log ratios among the inputs", without(&["own_ratio"])),
        ("no counts of the account", without(OWN_COUNTS)),
        ("no novelty", without(&["novelty"])),
        ("no popularity", without(POPULARITY)),
        ("no recency", without(RECENCY)),
        ("no lagged counts", sampled(SamplingOptions { lagged: 0.0, ..sampling })),
        ("one draw of each event", sampled(SamplingOptions { max_draws: 1, ..sampling })),
        ("no negatives of other accounts", weighted(NegativeWeights { other_accounts: 0.0, ..weights })),
        ("no uniform negatives", weighted(NegativeWeights { uniform: 0.0, ..weights })),
        ("no neighbours as negatives", weighted(NegativeWeights { neighbour: 0.0, ..weights })),
        ("no networks as negatives", weighted(NegativeWeights { network: 0.0, ..weights })),
    ]
}

fn variants_with_networks() -> Vec<(&'static str, Variant)> {
    vec![
        ("all parts", head(FitOptions::default())),
        ("no country", without(COUNTRY)),
        ("no AS and no country but in the closed form", without(OWNERS)),
        ("no head: the closed form", Variant::ClosedForm),
    ]
}

/// Events in columns.
#[derive(Default)]
struct Columns {
    entities: Vec<u64>,
    addresses: Vec<Address>,
    times: Vec<i64>,
}

impl Columns {
    fn read(&mut self, path: &Path) {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).from_path(path).expect("the file opens");
        for row in reader.byte_records() {
            let row = row.expect("a row of fields");
            self.entities.push(hash_entity(&row[0]));
            self.addresses.push(parse_address(&row[1]).expect("an address"));
            self.times.push(std::str::from_utf8(&row[2]).unwrap().parse().expect("Unix seconds"));
        }
    }

    fn log(&self, num_events: usize) -> EventLog<'_> {
        EventLog {
            entities: &self.entities[..num_events],
            addresses: &self.addresses[..num_events],
            times: Some(&self.times[..num_events]),
            order: None,
        }
    }
}

/// Attacks beside each event of the test, as `ipsight evaluate --attacks` makes them of IPv4 events.
#[derive(Clone, Copy)]
enum Attack {
    OtherUsers,
    Neighbour,
    Uniform,
}

const ATTACKS: [Attack; 3] = [Attack::OtherUsers, Attack::Neighbour, Attack::Uniform];

/// Areas under the ROC curve, and false positive rates at a share of `other_users` that is found.
const NAMES: [&str; 8] = [
    "other_users, all",
    "other_users, seen",
    "neighbour, seen",
    "uniform, seen",
    "FPR at .90, all",
    "FPR at .99, all",
    "FPR at .90, seen",
    "FPR at .99, seen",
];

impl Attack {
    fn address(self, events: &Columns, first: usize, event: usize, rng: &mut ChaCha8Rng) -> Address {
        let own = events.addresses[event];
        loop {
            let drawn = match self {
                Self::OtherUsers => {
                    let other = rng.random_range(first..events.entities.len());
                    (events.entities[other] != events.entities[event]).then(|| events.addresses[other])
                }
                Self::Neighbour => {
                    let changed = own.bits() ^ rng.random_range(1..1u64 << 16);
                    (changed >> 8 != own.bits() >> 8).then(|| Address::from_bits(changed))
                }
                Self::Uniform => Some(Address::from_bits(u64::from(rng.random::<u32>()))),
            };
            if let Some(address) = drawn {
                return address;
            }
        }
    }
}

/// The counts of the events of a test and of the attacks beside them, as they were known at the end of the training.
struct Test {
    training: Columns,
    num_training: usize,
    ordinary: Vec<Usage>,
    attacks: [Vec<Usage>; ATTACKS.len()],
}

impl Test {
    fn read(training: &Path, test: &Path, networks: Option<&Networks>) -> Self {
        let mut events = Columns::default();
        events.read(training);
        let first = events.entities.len();
        events.read(test);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let tested = first..events.entities.len();
        let mut usages = |attack: Option<Attack>| {
            let query = |event: usize| Query {
                entity: events.entities[event],
                address: attack.map_or(events.addresses[event], |attack| {
                    attack.address(&events, first, event, &mut rng)
                }),
                position: first as u32,
                time: events.times[event],
            };
            let queries: Vec<Query> = tested.clone().map(query).collect();
            let mut usages = prequential_usage(&events.log(first), &queries);
            if let Some(networks) = networks {
                add_prequential_owners(networks, &events.log(first), &queries, &mut usages);
            }
            usages
        };
        let ordinary = usages(None);
        let attacks = ATTACKS.map(|attack| usages(Some(attack)));
        Self { training: events, num_training: first, ordinary, attacks }
    }

    fn head(&self, networks: Option<&Networks>, options: &FitOptions, seed: u64) -> Head {
        let seeded = SamplingOptions { seed, ..options.sampling };
        let options = FitOptions { sampling: seeded, seed, ..*options };
        fit_head(&self.training.log(self.num_training), networks, &options).expect("events to fit on")
    }

    /// The figures of [`NAMES`], and the number of events of accounts that were seen.
    fn figures(&self, score: impl Fn(&[Usage]) -> Vec<f32>) -> ([f64; NAMES.len()], f64) {
        let ordinary = score(&self.ordinary);
        let attacks = self.attacks.each_ref().map(|usages| score(usages));
        let seen = |scores: &[f32]| -> Vec<f32> {
            let scored = scores.iter().zip(&self.ordinary);
            scored.filter(|(_, usage)| usage.num_events > 0).map(|(score, _)| *score).collect()
        };
        let of_seen = seen(&ordinary);
        let attacks_on_seen = attacks.each_ref().map(|scores| seen(scores));
        let [of_others, of_neighbours, of_uniform] =
            attacks_on_seen.each_ref().map(|scores| auc(&of_seen, scores));
        let figures = [
            auc(&ordinary, &attacks[0]),
            of_others,
            of_neighbours,
            of_uniform,
            fpr(&ordinary, &attacks[0], 0.9),
            fpr(&ordinary, &attacks[0], 0.99),
            fpr(&of_seen, &attacks_on_seen[0], 0.9),
            fpr(&of_seen, &attacks_on_seen[0], 0.99),
        ];
        (figures, of_seen.len() as f64)
    }
}

/// The share of pairs of an ordinary event and an attack in which the attack has the lower score; ties count half.
fn auc(ordinary: &[f32], attacks: &[f32]) -> f64 {
    let mut attacks = attacks.to_vec();
    attacks.sort_unstable_by(f32::total_cmp);
    let below = |score: &f32| attacks.partition_point(|attack| attack < score);
    let up_to = |score: &f32| attacks.partition_point(|attack| attack <= score);
    let sum: f64 = ordinary.iter().map(|score| (below(score) + up_to(score)) as f64 / 2.0).sum();
    sum / ordinary.len() as f64 / attacks.len() as f64
}

/// The share of ordinary events that score no higher than the threshold which finds this share of the attacks.
fn fpr(ordinary: &[f32], attacks: &[f32], tpr: f64) -> f64 {
    let mut attacks = attacks.to_vec();
    attacks.sort_unstable_by(f32::total_cmp);
    let place = (tpr * attacks.len() as f64).ceil() as usize;
    let Some(threshold) = attacks.get(place.saturating_sub(1)) else { return f64::NAN };
    ordinary.iter().filter(|score| *score <= threshold).count() as f64 / ordinary.len() as f64
}

/// The means over the tests, weighted by their events of accounts that were seen.
fn mean_figures(
    tests: &[Test],
    networks: Option<&Networks>,
    variant: &Variant,
    seed: u64,
) -> [f64; NAMES.len()] {
    let found: Vec<_> = tests
        .par_iter()
        .map(|test| match variant {
            Variant::ClosedForm => test.figures(closed_form),
            Variant::Head(options) => {
                let head = test.head(networks, options, seed);
                test.figures(|usages| {
                    let mut scores = vec![0.0; usages.len()];
                    head.scores(usages, &mut scores);
                    scores
                })
            }
        })
        .collect();
    let all: f64 = found.iter().map(|(_, weight)| weight).sum();
    std::array::from_fn(|i| found.iter().map(|(figures, weight)| figures[i] * weight / all).sum())
}

fn closed_form(usages: &[Usage]) -> Vec<f32> {
    usages.iter().map(|usage| log_ratios(usage).sum() as f32).collect()
}

fn main() {
    const { assert!(NUM_INPUTS == 73, "a new input belongs to a part above") };
    let options = Options::parse();
    let networks = options.networks.map(|path| Networks::read(&path).expect("a table of networks"));
    let networks = networks.as_ref();
    let files = options.files.chunks_exact(2);
    let tests: Vec<Test> = files.map(|pair| Test::read(&pair[0], &pair[1], networks)).collect();
    let variants = if networks.is_some() { variants_with_networks() } else { variants() };
    for (name, variant) in variants {
        let by_seed: Vec<_> =
            (1..=options.seeds).map(|seed| mean_figures(&tests, networks, &variant, seed)).collect();
        let median = |figure: usize| {
            let mut values: Vec<f64> = by_seed.iter().map(|figures| figures[figure]).collect();
            values.sort_by(f64::total_cmp);
            values[(values.len() - 1) / 2]
        };
        let mut line = json!({"variant": name});
        for (i, figure) in NAMES.iter().enumerate() {
            line[*figure] = json!(median(i));
        }
        println!("{line}");
    }
}
