//! Speed of scoring, in batches and one pair at a time, beside a PyTorch twin; see `benches/README.md`.

mod support;

use clap::Parser;
use ipsight::config::{DeviceChoice, Hyperparameters};
use ipsight::device::{self, MemoryPlan};
use ipsight::event::Address;
use ipsight::model::IpInsightsConfig;
use ipsight::{Config, Event, Scorer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;

use support::*;

/// Events of one call to our scorer, which cuts them up itself.
const EVENTS_PER_CALL: usize = 200_000;

/// Different calls, so that the events themselves do not stay in a cache.
const NUM_CALLS: usize = 8;

/// Pairs of one batch of the twin, where its intermediate tensors are of the size that suits it.
const PEER_PAIRS_PER_BATCH: usize = 10_000;

/// Scoring speed, ours beside PyTorch's
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    shared: SharedOptions,
    #[command(flatten)]
    model: ModelOptions,
}

/// What is scored with.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Case {
    device: String,
    num_entity_vectors: usize,
}

/// Many pairs at once: table rows, and how many times the twin's speed it should have.
const BATCHED: &str = "batched";
const BATCHED_ROWS: usize = 200_000;
const BATCHED_TARGET: f64 = 25.0;

/// One pair at a time: table rows, far more than caches hold, and the median latency in seconds.
const SINGLE: &str = "single";
const SINGLE_ROWS: usize = 1_000_000;
const SINGLE_TARGET: f64 = 2e-6;

fn main() -> Outcome<()> {
    let options = Options::parse();
    if let Some(case) = &options.shared.serve {
        return serve_case(&serde_json::from_str(case)?);
    }
    options.shared.check_cases(&[BATCHED, SINGLE])?;
    let mut report = Report::new("scoring", &options.shared);
    if options.shared.wants(BATCHED) {
        measure_batched(&options, &mut report)?;
    }
    if options.shared.wants(SINGLE) {
        measure_single(&options, &mut report)?;
    }
    report.finish()
}

fn measure_batched(options: &Options, report: &mut Report) -> Outcome<()> {
    eprintln!("{BATCHED}: starting both sides");
    let score = |batches| Request::Score { batches };
    let (shared, seconds) = (&options.shared, options.shared.round_seconds());
    let mut ours = Side::ours(shared, &case(options, BATCHED_ROWS))?;
    let request = score(ours.count_for(seconds, score)?);
    let mut peer = start_peer(options, BATCHED_ROWS)?.or_skip(&mut report.skipped);
    let mut sides = vec![(&mut ours, request)];
    if let Some(peer) = &mut peer {
        let request = score(peer.count_for(seconds, score)?);
        sides.push((peer, request));
    }
    let mut rounds = interleave(shared.num_rounds(), &mut sides)?.into_iter();
    let (our_rounds, peer_rounds) = (rounds.next().expect("ours"), rounds.next());

    // The sides' batches differ, so their times are compared by the pair.
    let per_pair = |rounds: &Rounds, pairs: usize| -> Vec<f64> {
        rounds.seconds.iter().map(|seconds| seconds / pairs as f64).collect()
    };
    let our_times = per_pair(&our_rounds, EVENTS_PER_CALL);
    let ratio = |peer: &Rounds| ratios(&per_pair(peer, PEER_PAIRS_PER_BATCH), &our_times);
    report.push(Measurement {
        name: format!("{BATCHED}, {} rows, pairs", short_count(BATCHED_ROWS)),
        unit: Unit::PerSecond,
        ours: our_rounds.rate(EVENTS_PER_CALL as f64),
        peer: peer_rounds.as_ref().map(|rounds| rounds.rate(PEER_PAIRS_PER_BATCH as f64)),
        ratio: peer_rounds.as_ref().map(ratio),
        target: Some(Target::RatioAtLeast(BATCHED_TARGET)),
        has_peer: true,
        others_share: our_rounds.others_share,
        details: json!({
            "ours": { "side": ours.ready, "pairs_per_call": EVENTS_PER_CALL, "rounds": our_rounds },
            "peer": peer.map(|peer| json!({
                "side": peer.ready, "pairs_per_call": PEER_PAIRS_PER_BATCH, "rounds": peer_rounds,
            })),
        }),
    });
    Ok(())
}

fn measure_single(options: &Options, report: &mut Report) -> Outcome<()> {
    eprintln!("{SINGLE}: starting both sides");
    let mut ours = Side::ours(&options.shared, &case(options, SINGLE_ROWS))?;
    let mut peer = start_peer(options, SINGLE_ROWS)?.or_skip(&mut report.skipped);
    let request = Request::Single { pairs: if options.shared.quick { 2_000 } else { 20_000 } };
    let processes: Vec<u32> = std::iter::once(&ours).chain(&peer).map(Side::process).collect();
    let busy = Busy::watch(&processes);
    let (mut our_rounds, mut peer_rounds) = (Vec::new(), Vec::new());
    for round in 1..=options.shared.num_rounds() {
        eprintln!("  round {round}/{}", options.shared.num_rounds());
        our_rounds.push(latencies(&mut ours, &request)?);
        if let Some(peer) = &mut peer {
            peer_rounds.push(latencies(peer, &request)?);
        }
    }
    let others_share = busy.and_then(|busy| busy.others_share());
    let details = json!({
        "ours": { "side": ours.ready, "rounds": our_rounds },
        "peer": peer.map(|peer| json!({ "side": peer.ready, "rounds": peer_rounds })),
    });
    let rows = short_count(SINGLE_ROWS);
    let line = |what: &str, target: Option<Target>, pick: fn(&Latencies) -> f64| {
        let ours: Vec<f64> = our_rounds.iter().map(pick).collect();
        let peer: Vec<f64> = peer_rounds.iter().map(pick).collect();
        let measured = !peer.is_empty();
        Measurement {
            name: format!("{SINGLE}, {rows} rows, {what}"),
            unit: Unit::Seconds,
            ratio: measured.then(|| ratios(&peer, &ours)),
            peer: measured.then(|| Spread::of(peer)),
            ours: Spread::of(ours),
            target,
            has_peer: true,
            others_share,
            details: details.clone(),
        }
    };
    report.push(line("median", Some(Target::AtMost(SINGLE_TARGET)), |latencies| latencies.median));
    report.push(line("p99", None, |latencies| latencies.p99));
    Ok(())
}

/// Seconds of one pair, over a round.
#[derive(Serialize)]
struct Latencies {
    median: f64,
    p99: f64,
}

fn latencies(side: &mut Side, request: &Request) -> Outcome<Latencies> {
    let answer = side.ask(request)?;
    match (answer.median, answer.p99) {
        (Some(median), Some(p99)) => Ok(Latencies { median, p99 }),
        _ => Err("an answer without `median` and `p99`".into()),
    }
}

fn case(options: &Options, num_entity_vectors: usize) -> Case {
    Case { device: options.model.device.unwrap_or(DeviceChoice::Ndarray).to_string(), num_entity_vectors }
}

fn start_peer(options: &Options, num_entity_vectors: usize) -> Outcome<Started> {
    let device = options.model.peer_device.unwrap_or(PeerDevice::Cpu);
    let arguments = [("num-entity-vectors", num_entity_vectors), ("mini-batch-size", PEER_PAIRS_PER_BATCH)];
    start_twin(&options.shared, &options.model, device, &arguments, &["--score-only"])
}

/// Our side of a case, in a process of its own.
fn serve_case(case: &Case) -> Outcome<()> {
    let chosen = device::choose(case.device.parse()?)?;
    let config = Config {
        hyperparameters: Hyperparameters {
            num_entity_vectors: case.num_entity_vectors,
            vector_dim: 128,
            num_ip_encoder_layers: 1,
            ..Hyperparameters::default()
        },
        ..Config::default()
    };
    let plan = MemoryPlan::for_scoring(&config, &chosen.limits)?;
    let model = IpInsightsConfig::of(&config, plan.max_rows_per_shard).init(&chosen.device);
    let scorer = Scorer::new(&model, vec![1; case.num_entity_vectors]);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let calls: Vec<Vec<Event>> = (0..NUM_CALLS).map(|_| random_events(&mut rng, EVENTS_PER_CALL)).collect();
    let ready = json!({ "ipsight": env!("CARGO_PKG_VERSION"), "device": chosen.description });
    serve(ready, |request| match request {
        Request::Score { batches } => score_batches(&scorer, &calls, batches),
        Request::Single { pairs } => score_singly(&scorer, &random_events(&mut rng, pairs)),
        other => Err(format!("scoring does not answer {other:?}").into()),
    })
}

/// Uniformly random entities and addresses, so that table rows come from memory rather than a cache.
fn random_events(rng: &mut ChaCha8Rng, count: usize) -> Vec<Event> {
    (0..count).map(|_| Event { entity: rng.random(), address: Address::from_ipv4(rng.random()) }).collect()
}
