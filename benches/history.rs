//! Speed and size of a usage history, and of scores with its head; see `benches/README.md`.

mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use ipsight::config::DeviceChoice;
use ipsight::event::Address;
use ipsight::history::{
    Detector, EventLog, FittedDetector, History, HistoryBuilder, Options as HistoryOptions, Pairs, Usage,
};
use ipsight::model::IpInsightsConfig;
use ipsight::synth::{AddressRanges, GenerateOptions, GeneratedLogins, Ipv6Shares, generate};
use ipsight::{Config, Event, Scorer, device};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use support::*;

/// Building, looking up and scoring with a usage history of generated logins
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    shared: SharedOptions,
    /// Users of the generated logins, some 220 logins of each
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    users: usize,
}

const BUILD: &str = "build";
const LOOKUP: &str = "lookup";
const BATCHED: &str = "batched";
const SINGLE: &str = "single";

/// Events a second and core.
const BUILD_TARGET: f64 = 3e6;
/// Pairs a second on two cores, scored; and with a history of at least so many users.
const BATCHED_TARGET: f64 = 3e6;
const LARGE_BATCHED_TARGET: (usize, f64) = (100_000, 2e6);
/// Seconds of one pair.
const SINGLE_TARGET: f64 = 5e-6;
/// Bytes that a history in a folder may take for each distinct (account, address), and for each account.
const BYTES_TARGET: (u64, u64) = (10, 32);

/// Pairs of one call.
const PAIRS_PER_CALL: usize = 200_000;

/// Different calls, so that the pairs themselves do not stay in a cache.
const NUM_CALLS: usize = 8;

/// Pairs that one core looks up at a time.
const PAIRS_PER_TASK: usize = 256;

/// Events that the head is fitted on: what it computes costs the same, whatever its parameters.
const HEAD_EVENTS: usize = 20_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Case {
    name: String,
    users: usize,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    if let Some(case) = &options.shared.serve {
        return serve_case(&serde_json::from_str(case)?, options.shared.threads);
    }
    options.shared.check_cases(&[BUILD, LOOKUP, BATCHED, SINGLE])?;
    let mut report = Report::new("history", &options.shared);
    let wants = |case: &str| options.shared.wants(case);
    if wants(BUILD) {
        measure_build(&options, &mut report)?;
    }
    let batched_target = match LARGE_BATCHED_TARGET {
        (users, target) if options.users >= users => target,
        _ => BATCHED_TARGET,
    };
    for (case, target) in [(LOOKUP, None), (BATCHED, Some(Target::AtLeast(batched_target)))] {
        if wants(case) {
            measure_pairs(&options, case, target, &mut report)?;
        }
    }
    if wants(SINGLE) {
        measure_single(&options, &mut report)?;
    }
    report.finish()
}

fn start(options: &Options, case: &str) -> Outcome<Side> {
    eprintln!("{case}: generating the logins of {} users", options.users);
    Side::ours(&options.shared, &Case { name: case.into(), users: options.users })
}

fn measurement(
    name: String,
    unit: Unit,
    ours: Spread,
    target: Option<Target>,
    details: Value,
) -> Measurement {
    let (peer, ratio, others_share) = (None, None, None);
    Measurement { name, unit, ours, peer, ratio, target, has_peer: false, others_share, details }
}

fn measure_build(options: &Options, report: &mut Report) -> Outcome<()> {
    let mut side = start(options, BUILD)?;
    let request = Request::Count { times: 1 };
    side.ask(&request)?;
    let rounds = interleave(options.shared.num_rounds(), &mut [(&mut side, request)])?.remove(0);
    let number = |key: &str| side.ready[key].as_u64().ok_or("a figure of the history is missing");
    let (num_events, bytes) = (number("events")?, number("bytes")?);
    let details = json!({ "side": side.ready, "rounds": rounds });
    let name = format!("{BUILD}, {} events, a core", short_count(num_events as usize));
    let rate = rounds.rate(num_events as f64 / options.shared.threads as f64);
    let target = Some(Target::AtLeast(BUILD_TARGET));
    let of_build = measurement(name, Unit::PerSecond, rate, target, details.clone());
    report.push(Measurement { others_share: rounds.others_share, ..of_build });
    let allowed = BYTES_TARGET.0 * number("pairs")? + BYTES_TARGET.1 * number("accounts")?;
    let name = format!("bytes, over {} a pair and {} an account", BYTES_TARGET.0, BYTES_TARGET.1);
    let ratio = Spread::of([bytes as f64 / allowed as f64]);
    report.push(measurement(name, Unit::Times, ratio, Some(Target::AtMost(1.0)), details));
    Ok(())
}

fn measure_pairs(options: &Options, case: &str, target: Option<Target>, report: &mut Report) -> Outcome<()> {
    let mut side = start(options, case)?;
    let score = |batches| Request::Score { batches };
    let request = score(side.count_for(options.shared.round_seconds(), score)?);
    let rounds = interleave(options.shared.num_rounds(), &mut [(&mut side, request)])?.remove(0);
    let name = format!("{case}, {} users, pairs", short_count(options.users));
    let details = json!({ "side": side.ready, "pairs_per_call": PAIRS_PER_CALL, "rounds": rounds });
    let of_case = measurement(name, Unit::PerSecond, rounds.rate(PAIRS_PER_CALL as f64), target, details);
    report.push(Measurement { others_share: rounds.others_share, ..of_case });
    Ok(())
}

fn measure_single(options: &Options, report: &mut Report) -> Outcome<()> {
    let mut side = start(options, SINGLE)?;
    let request = Request::Single { pairs: if options.shared.quick { 2_000 } else { 20_000 } };
    let processes = [side.process()];
    let busy = Busy::watch(&processes);
    let (mut medians, mut p99s) = (Vec::new(), Vec::new());
    for _ in 0..options.shared.num_rounds() {
        let answer = side.ask(&request)?;
        medians.push(answer.median.ok_or("an answer without `median`")?);
        p99s.push(answer.p99.ok_or("an answer without `p99`")?);
    }
    let others_share = busy.and_then(|busy| busy.others_share());
    for (what, seconds) in [("median", medians), ("p99", p99s)] {
        let name = format!("{SINGLE}, {} users, {what}", short_count(options.users));
        let details = json!({ "side": side.ready, "seconds": seconds });
        let target = Some(Target::AtMost(SINGLE_TARGET));
        let of_case = measurement(name, Unit::Seconds, Spread::of(seconds), target, details);
        report.push(Measurement { others_share, ..of_case });
    }
    Ok(())
}

/// Logins in columns, in the order of their times.
struct Logins {
    accounts: Vec<u64>,
    addresses: Vec<Address>,
    seconds: Vec<u32>,
}

impl Logins {
    fn of_training(users: usize) -> Self {
        let options =
            GenerateOptions { num_users: users, num_days: 10, seed: 0, ipv6: Ipv6Shares::default() };
        let logins = generate(&AddressRanges::built_in(), &options).train;
        let (accounts, addresses, seconds) = GeneratedLogins::columns(&logins);
        let mut order: Vec<usize> = (0..accounts.len()).collect();
        order.par_sort_by_key(|index| seconds[*index]);
        Self {
            accounts: order.iter().map(|index| accounts[*index]).collect(),
            addresses: order.iter().map(|index| addresses[*index]).collect(),
            seconds: order.iter().map(|index| seconds[*index]).collect(),
        }
    }

    fn count(&self) -> Outcome<History> {
        let mut builder = HistoryBuilder::new(Some(0), HistoryOptions::default())?;
        builder.push(&self.accounts, &self.addresses, Some(&self.seconds))?;
        Ok(builder.finish_in_memory()?)
    }

    /// Half logins, half accounts with an address of another login.
    fn pairs(&self, rng: &mut ChaCha8Rng, num: usize) -> Vec<Event> {
        let pair = |index: usize| {
            let login = rng.random_range(0..self.accounts.len());
            let of = if index.is_multiple_of(2) { login } else { rng.random_range(0..self.accounts.len()) };
            Event { entity: self.accounts[login], address: self.addresses[of] }
        };
        (0..num).map(pair).collect()
    }

    /// A detector whose history is a mapped file.
    fn detector(&self, history: &Path) -> Outcome<Detector> {
        let start = self.accounts.len().saturating_sub(HEAD_EVENTS);
        let times: Vec<i64> = self.seconds[start..].iter().copied().map(i64::from).collect();
        let (entities, addresses) = (&self.accounts[start..], &self.addresses[start..]);
        let log = EventLog { entities, addresses, times: Some(&times), order: None };
        let head = FittedDetector::fit(&log, None, 0, &HistoryOptions::default())?.head;
        let mut builder = HistoryBuilder::new(Some(0), HistoryOptions::default())?;
        builder.push(&self.accounts, &self.addresses, Some(&self.seconds))?;
        builder.finish(history)?;
        Ok(Detector { history: History::open(history)?, head, owners: None })
    }
}

/// Our side of a case, in a process of its own.
fn serve_case(case: &Case, threads: usize) -> Outcome<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let logins = Logins::of_training(case.users);
    if case.name == BUILD {
        let summary = logins.count()?.summary();
        let ready = json!({
            "events": summary.events, "accounts": summary.accounts, "bytes": summary.bytes,
            "pairs": summary.ipv4.pairs + summary.ipv6.pairs,
        });
        return serve(ready, |request| match request {
            Request::Count { times } => count(&logins, times),
            other => Err(format!("{BUILD} does not answer {other:?}").into()),
        });
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let detector = logins.detector(&folder.path().join("history.bin"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let calls: Vec<Vec<Event>> = (0..NUM_CALLS).map(|_| logins.pairs(&mut rng, PAIRS_PER_CALL)).collect();
    let ready = json!({ "ipsight": env!("CARGO_PKG_VERSION"), "events": logins.accounts.len() });
    if case.name == LOOKUP {
        return serve(ready, |request| match request {
            Request::Score { batches } => look_up(&detector.history, &calls, batches),
            other => Err(format!("{LOOKUP} does not answer {other:?}").into()),
        });
    }
    let scorer = scorer(detector)?;
    serve(ready, |request| match request {
        Request::Score { batches } => score_batches(&scorer, &calls, batches),
        Request::Single { pairs } => score_singly(&scorer, &logins.pairs(&mut rng, pairs)),
        other => Err(format!("scores do not answer {other:?}").into()),
    })
}

/// The one way to score, with a table of which nothing is read.
fn scorer(detector: Detector) -> Outcome<Scorer> {
    let mut config = Config::default();
    (config.hyperparameters.num_entity_vectors, config.hyperparameters.vector_dim) = (1000, 8);
    let chosen = device::choose(DeviceChoice::Ndarray)?;
    let model = IpInsightsConfig::of(&config, 1000).init(&chosen.device);
    Ok(Scorer::new(&model, vec![1; 1000]).with_detector(Some(detector)))
}

fn count(logins: &Logins, times: usize) -> Outcome<Answer> {
    let start = Instant::now();
    for _ in 0..times {
        black_box(logins.count()?);
    }
    Ok(Answer { seconds: Some(start.elapsed().as_secs_f64() / times as f64), ..Answer::default() })
}

fn look_up(history: &History, calls: &[Vec<Event>], batches: usize) -> Outcome<Answer> {
    let start = Instant::now();
    for pairs in calls.iter().cycle().take(batches) {
        pairs.par_chunks(PAIRS_PER_TASK).for_each(|pairs| {
            let seconds = vec![u32::MAX; pairs.len()];
            let mut usages = vec![Usage::default(); pairs.len()];
            let seconds = Some(&seconds[..]);
            history.usages(&Pairs { events: pairs, seconds, time_base: 0 }, &mut usages);
            black_box(&usages);
        });
    }
    Ok(Answer { seconds: Some(start.elapsed().as_secs_f64() / batches as f64), ..Answer::default() })
}
