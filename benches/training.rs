//! Speed and memory of training beside a PyTorch twin of the same model; see `benches/README.md`.

mod support;

use std::time::Instant;

use clap::Parser;
use ipsight::Config;
use ipsight::config::{DeviceChoice, Hyperparameters, ModelConfig};
use ipsight::data::MiniBatch;
use ipsight::device::{self, MemoryPlan};
use ipsight::event::{Address, AddressFamilies};
use ipsight::model::IpInsightsConfig;
use ipsight::train::TrainState;
use ipsight_kernels::negatives::Negatives;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use support::*;

/// Mini-batches that are made before the clock starts and used over and over: together they touch more rows
/// than any cache holds.
const NUM_MINI_BATCHES: usize = 64;

/// Steps before a side is ready: the first ones compile kernels and touch fresh memory.
const NUM_WARM_UP: usize = 5;

/// Training speed and memory, ours beside PyTorch's
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    shared: SharedOptions,
    #[command(flatten)]
    model: ModelOptions,
    /// The GPU's list of cases; the devices are then auto and cuda by default
    #[arg(long)]
    gpu: bool,
}

/// What is trained.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Case {
    name: String,
    device: String,
    num_entity_vectors: usize,
    mini_batch_size: usize,
    num_random: usize,
    num_shuffled: usize,
    /// With both, one event of each family in turn.
    addresses: AddressFamilies,
    /// How many times the twin's speed it should have.
    target: Option<f64>,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    if let Some(case) = &options.shared.serve {
        return serve_case(&serde_json::from_str(case)?);
    }
    let cases = if options.gpu { gpu_cases(&options) } else { cpu_cases(&options) };
    let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    if !options.gpu {
        names.extend([GROWTH, FAMILIES]);
    }
    options.shared.check_cases(&names)?;

    let mut report = Report::new("training", &options.shared);
    for case in cases.iter().filter(|case| options.shared.wants(&case.name)) {
        measure_speed(&options, case, &mut report)?;
    }
    if !options.gpu && options.shared.wants(GROWTH) {
        measure_growth(&options, &cases, &mut report)?;
    }
    if !options.gpu && options.shared.wants(FAMILIES) {
        measure_families(&options, &mut report)?;
    }
    report.finish()
}

impl Options {
    fn device(&self) -> DeviceChoice {
        let default = if self.gpu { DeviceChoice::Auto } else { DeviceChoice::Ndarray };
        self.model.device.unwrap_or(default)
    }

    fn peer_device(&self) -> PeerDevice {
        let default = if self.gpu { PeerDevice::Cuda } else { PeerDevice::Cpu };
        self.model.peer_device.unwrap_or(default)
    }

    fn case(&self, name: String, num_entity_vectors: usize) -> Case {
        let device = self.device().to_string();
        let (mini_batch_size, num_random, num_shuffled, target) = (10_000, 1, 1, None);
        let addresses = AddressFamilies::Ipv4;
        Case {
            name,
            device,
            num_entity_vectors,
            mini_batch_size,
            num_random,
            num_shuffled,
            addresses,
            target,
        }
    }
}

/// The case that compares our steps at two sizes of the table, with the table sizes and what the larger may cost.
const GROWTH: &str = "growth";
const GROWTH_FROM: &str = "20k";
const GROWTH_TO: &str = "1M";
const GROWTH_TARGET: f64 = 1.4;

/// The case that compares our speed on events of both families, half of each, with that on IPv4 alone, and what it is
/// to reach at least.
const FAMILIES: &str = "families";
const FAMILIES_TARGET: f64 = 0.85;

/// The case whose peak memory has a target, in bytes.
const MEMORY_CASE: &str = "1M";
const MEMORY_TARGET: f64 = 1.7e9;

fn cpu_cases(options: &Options) -> Vec<Case> {
    let case = |num_entity_vectors: usize, target: f64| Case {
        target: Some(target),
        ..options.case(short_count(num_entity_vectors), num_entity_vectors)
    };
    let many_negatives = Case { name: "200k-R5".into(), num_random: 5, ..case(200_000, 9.0) };
    vec![case(20_000, 6.0), case(200_000, 6.0), case(1_000_000, 5.5), many_negatives]
}

fn gpu_cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for num_entity_vectors in [200_000, 10_000_000] {
        for mini_batch_size in [10_000, 100_000] {
            for num_random in [1, 5] {
                let (table, batch) = (short_count(num_entity_vectors), short_count(mini_batch_size));
                let name = format!("{table}-B{batch}-R{num_random}");
                let case = options.case(name, num_entity_vectors);
                cases.push(Case { mini_batch_size, num_random, ..case });
            }
        }
    }
    cases
}

/// Positives a second beside the twin, and with them the peak memory.
fn measure_speed(options: &Options, case: &Case, report: &mut Report) -> Outcome<()> {
    eprintln!("{}: starting both sides", case.name);
    let train = |steps| Request::Train { steps };
    let (shared, seconds) = (&options.shared, options.shared.round_seconds());
    let mut ours = Side::ours(shared, case)?;
    let request = train(ours.count_for(seconds, train)?);
    let mut peer = start_peer(options, case)?.or_skip(&mut report.skipped);
    let mut sides = vec![(&mut ours, request)];
    if let Some(peer) = &mut peer {
        let request = train(peer.count_for(seconds, train)?);
        sides.push((peer, request));
    }
    let mut rounds = interleave(shared.num_rounds(), &mut sides)?.into_iter();
    let (our_rounds, peer_rounds) = (rounds.next().expect("ours"), rounds.next());

    let positives = case.mini_batch_size as f64;
    let details = json!({
        "case": case,
        "ours": { "side": ours.ready, "rounds": our_rounds },
        "peer": peer.map(|peer| json!({ "side": peer.ready, "rounds": peer_rounds })),
    });
    report.push(Measurement {
        name: format!("{}, positives", case.name),
        unit: Unit::PerSecond,
        ours: our_rounds.rate(positives),
        peer: peer_rounds.as_ref().map(|rounds| rounds.rate(positives)),
        ratio: peer_rounds.as_ref().map(|rounds| ratios(&rounds.seconds, &our_rounds.seconds)),
        target: case.target.map(Target::RatioAtLeast),
        has_peer: true,
        others_share: our_rounds.others_share,
        details,
    });
    report_memory(options, case, &our_rounds, peer_rounds.as_ref(), report);
    Ok(())
}

fn report_memory(options: &Options, case: &Case, ours: &Rounds, peer: Option<&Rounds>, report: &mut Report) {
    let Some(our_peak) = ours.peak_bytes else {
        return;
    };
    let spread = |bytes: u64| Spread::of([bytes as f64]);
    report.push(Measurement {
        name: format!("{}, peak memory", case.name),
        unit: Unit::Bytes,
        ours: spread(our_peak),
        peer: peer.and_then(|peer| peer.peak_bytes).map(spread),
        ratio: None,
        target: (!options.gpu && case.name == MEMORY_CASE).then_some(Target::AtMost(MEMORY_TARGET)),
        has_peer: true,
        others_share: None,
        details: json!({ "of": "the process, on the host" }),
    });
}

/// What a large table costs a step: two of our own sides, in turn.
fn measure_growth(options: &Options, cases: &[Case], report: &mut Report) -> Outcome<()> {
    eprintln!("{GROWTH}: starting ours with {GROWTH_TO} and with {GROWTH_FROM} rows");
    let start = |name: &str| {
        let case = cases.iter().find(|case| case.name == name).expect("a case of the list");
        Side::ours(&options.shared, case)
    };
    let (mut large, mut small) = (start(GROWTH_TO)?, start(GROWTH_FROM)?);
    let train = |steps| Request::Train { steps };
    let steps = small.count_for(options.shared.round_seconds(), train)?;
    large.count_for(0.0, train)?;
    let mut sides = [(&mut large, train(steps)), (&mut small, train(steps))];
    let rounds = interleave(options.shared.num_rounds(), &mut sides)?;
    report.push(Measurement {
        name: format!("step at {GROWTH_TO} over {GROWTH_FROM}"),
        unit: Unit::Times,
        ours: ratios(&rounds[0].seconds, &rounds[1].seconds),
        peer: None,
        ratio: None,
        target: Some(Target::AtMost(GROWTH_TARGET)),
        has_peer: false,
        others_share: rounds[0].others_share,
        details: json!({ GROWTH_TO: rounds[0], GROWTH_FROM: rounds[1] }),
    });
    Ok(())
}

/// Positives a second of both families over those of IPv4 alone: two of our own sides, in turn.
fn measure_families(options: &Options, report: &mut Report) -> Outcome<()> {
    eprintln!("{FAMILIES}: starting ours with both families and with IPv4 alone");
    let start = |addresses| {
        let case = options.case(FAMILIES.into(), 200_000);
        Side::ours(&options.shared, &Case { addresses, ..case })
    };
    let [mut both, mut ipv4] = [start(AddressFamilies::Both)?, start(AddressFamilies::Ipv4)?];
    let train = |steps| Request::Train { steps };
    let steps = ipv4.count_for(options.shared.round_seconds(), train)?;
    both.count_for(0.0, train)?;
    let mut sides = [(&mut both, train(steps)), (&mut ipv4, train(steps))];
    let rounds = interleave(options.shared.num_rounds(), &mut sides)?;
    report.push(Measurement {
        name: "speed on both families over IPv4 alone".into(),
        unit: Unit::Times,
        ours: ratios(&rounds[1].seconds, &rounds[0].seconds),
        peer: None,
        ratio: None,
        target: Some(Target::AtLeast(FAMILIES_TARGET)),
        has_peer: false,
        others_share: rounds[0].others_share,
        details: json!({ "both": rounds[0], "ipv4": rounds[1] }),
    });
    Ok(())
}

fn start_peer(options: &Options, case: &Case) -> Outcome<Started> {
    let arguments = [
        ("num-entity-vectors", case.num_entity_vectors),
        ("mini-batch-size", case.mini_batch_size),
        ("num-random", case.num_random),
        ("num-shuffled", case.num_shuffled),
    ];
    start_twin(&options.shared, &options.model, options.peer_device(), &arguments, &[])
}

/// Our side of a case, in a process of its own.
fn serve_case(case: &Case) -> Outcome<()> {
    let chosen = device::choose(case.device.parse()?)?;
    let config = Config {
        hyperparameters: Hyperparameters {
            num_entity_vectors: case.num_entity_vectors,
            mini_batch_size: case.mini_batch_size,
            random_negative_sampling_rate: case.num_random,
            shuffled_negative_sampling_rate: case.num_shuffled,
            vector_dim: 128,
            num_ip_encoder_layers: 1,
            ..Hyperparameters::default()
        },
        model: ModelConfig { addresses: case.addresses, ..ModelConfig::default() },
        ..Config::default()
    };
    let plan = MemoryPlan::for_training(&config, &chosen.limits)?;
    let model = IpInsightsConfig::of(&config, plan.max_rows_per_shard);
    let mut training = Training {
        state: TrainState::new(&model, &config.hyperparameters, &chosen.device),
        mini_batches: mini_batches(case),
        num_random: case.num_random,
        num_shuffled: case.num_shuffled,
        num_steps: 0,
    };
    training.seconds_per_step(NUM_WARM_UP)?;
    let ready = json!({ "ipsight": env!("CARGO_PKG_VERSION"), "device": chosen.description });
    serve(ready, |request| match request {
        Request::Train { steps } => {
            Ok(Answer { seconds: Some(training.seconds_per_step(steps)?), ..Answer::default() })
        }
        other => Err(format!("training does not answer {other:?}").into()),
    })
}

/// Uniformly random (row, address) pairs: no cache helps, and hardly a row comes twice in a mini-batch.
fn mini_batches(case: &Case) -> Vec<MiniBatch> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut is_ipv6 = false;
    let mut pair = || {
        is_ipv6 = !is_ipv6 && case.addresses == AddressFamilies::Both;
        let row = rng.random_range(0..case.num_entity_vectors as u32);
        // Any of IPv4, or of 2000::/3.
        let address = match is_ipv6 {
            true => Address::from_bits(1 << 61 | rng.random::<u64>() >> 3),
            false => Address::from_ipv4(rng.random()),
        };
        (row, address)
    };
    let mut batch = || MiniBatch::sorted(std::iter::repeat_with(&mut pair).take(case.mini_batch_size));
    (0..NUM_MINI_BATCHES).map(|_| batch()).collect()
}

/// A model in training, and where it stands.
struct Training {
    state: TrainState,
    mini_batches: Vec<MiniBatch>,
    num_random: usize,
    num_shuffled: usize,
    num_steps: u32,
}

impl Training {
    /// The mean over a round of `steps`. The loss is read back once, so that the device is waited for.
    fn seconds_per_step(&mut self, steps: usize) -> Outcome<f64> {
        let start = Instant::now();
        let mut sums = None;
        for _ in 0..steps {
            let batch = &self.mini_batches[self.num_steps as usize % self.mini_batches.len()];
            let negatives = Negatives::training(self.num_random, self.num_shuffled, 0, 0, self.num_steps);
            sums = Some(self.state.step(batch, negatives).sums);
            self.num_steps += 1;
        }
        let sums = sums.ok_or("a round without steps")?.try_into_data().map_err(|e| e.to_string())?;
        let seconds = start.elapsed().as_secs_f64();
        let sums: Vec<f32> = sums.iter().collect();
        match sums[0].is_finite() {
            true => Ok(seconds / steps as f64),
            false => Err(format!("the loss is {}", sums[0]).into()),
        }
    }
}
