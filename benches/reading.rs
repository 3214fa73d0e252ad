//! Plain CSV to a prepared file with the program itself, beside polars' reader; see `benches/README.md`.

mod support;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use support::*;

/// Entities of the generated file.
const NUM_ENTITIES: u32 = 1_000_000;

/// Rows a second and thread.
const TARGET: f64 = 12e6;

/// How often a running `prepare` is asked for its peak memory, which the kernel keeps: only what it grew by in the
/// last of these goes unseen.
const MEMORY_POLL: Duration = Duration::from_millis(5);

/// What a third of IPv6 rows may cost: rows a second and core against those of IPv4 alone.
const MIXED_TARGET: f64 = 0.75;

const PREPARE: &str = "prepare";
const MIXED: &str = "mixed";
const MEMORY: &str = "memory";

/// Reading speed, ours beside polars'
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    shared: SharedOptions,
    /// Rows of the file, about 30 bytes each
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    rows: usize,
    /// Also compare the peak memory of `prepare` on a tenth of the rows and on all
    #[arg(long)]
    memory: bool,
}

fn main() -> Outcome<()> {
    let options = Options::parse();
    if options.shared.serve.is_some() {
        return serve_prepare();
    }
    options.shared.check_cases(&[PREPARE, MIXED, MEMORY])?;
    // Beside the build rather than in /tmp, which may be memory and is then counted against it.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("events.csv");
    eprintln!("generating {} rows", short_count(options.rows));
    generate(&path, options.rows, 0)?;
    let mut report = Report::new("reading", &options.shared);
    if options.shared.wants(PREPARE) {
        measure_speed(&options, &path, &mut report)?;
    }
    if options.shared.wants(MIXED) {
        measure_mixed(&options, &path, &mut report)?;
    }
    let names_memory = options.shared.case.iter().any(|case| case == MEMORY);
    if names_memory || options.memory {
        measure_memory(&options, &path, &mut report)?;
    }
    report.finish()
}

/// Writes rows like `user_0000123456,203.0.113.7`; of every three, `ipv6_of_three` have an IPv6 address: half of them as a
/// host chooses it for itself, all of its groups drawn, half of them with a short interface identifier.
fn generate(path: &Path, rows: usize, ipv6_of_three: u32) -> Outcome<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(rows as u64);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for _ in 0..rows {
        let user = rng.random_range(0..NUM_ENTITIES);
        let ip = match rng.random_range(0..3) < ipv6_of_three {
            true => {
                let subnet = u128::from(0x2A00_0000_0000_0000 | rng.random::<u64>() >> 12) << 64;
                let interface = rng.random::<u64>() >> if rng.random() { 0 } else { 48 };
                IpAddr::from(Ipv6Addr::from(subnet | u128::from(interface)))
            }
            false => IpAddr::from(Ipv4Addr::from(rng.random::<u32>())),
        };
        writeln!(file, "user_{user:010},{ip}")?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn measure_speed(options: &Options, path: &Path, report: &mut Report) -> Outcome<()> {
    eprintln!("{PREPARE}: starting both sides");
    let shared = &options.shared;
    let request = Request::Read { path: path.into() };
    let mut ours = Side::ours(shared, &PREPARE)?;
    let mut peer = Side::python(shared, "polars_read.py", &[])?.or_skip(&mut report.skipped);
    let mut sides = vec![(&mut ours, request.clone())];
    if let Some(peer) = &mut peer {
        sides.push((peer, request.clone()));
    }
    // A first reading of each side fills the page cache.
    for (side, request) in &mut sides {
        side.ask(request)?;
    }
    let mut rounds = interleave(shared.num_rounds(), &mut sides)?.into_iter();
    let (our_rounds, peer_rounds) = (rounds.next().expect("ours"), rounds.next());

    let rows_per_thread = options.rows as f64 / shared.threads as f64;
    report.push(Measurement {
        name: format!("{PREPARE}, {} rows, rows a core", short_count(options.rows)),
        unit: Unit::PerSecond,
        ours: our_rounds.rate(rows_per_thread),
        peer: peer_rounds.as_ref().map(|rounds| rounds.rate(rows_per_thread)),
        ratio: peer_rounds.as_ref().map(|rounds| ratios(&rounds.seconds, &our_rounds.seconds)),
        target: Some(Target::AtLeast(TARGET)),
        has_peer: true,
        others_share: our_rounds.others_share,
        details: json!({
            "bytes": path.metadata()?.len(),
            "ours": { "side": ours.ready, "rounds": our_rounds },
            "peer": peer.map(|peer| json!({ "side": peer.ready, "rounds": peer_rounds })),
        }),
    });
    Ok(())
}

/// A file with a third of IPv6 rows beside one of as many rows with IPv4 alone.
fn measure_mixed(options: &Options, ipv4: &Path, report: &mut Report) -> Outcome<()> {
    eprintln!("{MIXED}: generating {} rows", short_count(options.rows));
    let mixed = ipv4.with_file_name("mixed.csv");
    generate(&mixed, options.rows, 1)?;
    let shared = &options.shared;
    let requests = [&mixed, ipv4].map(|path| Request::Read { path: path.into() });
    let [mut of_mixed, mut of_ipv4] = [Side::ours(shared, &MIXED)?, Side::ours(shared, &MIXED)?];
    let [ask_mixed, ask_ipv4] = requests;
    let mut sides = vec![(&mut of_mixed, ask_mixed), (&mut of_ipv4, ask_ipv4)];
    for (side, request) in &mut sides {
        side.ask(request)?;
    }
    let mut rounds = interleave(shared.num_rounds(), &mut sides)?.into_iter();
    let (mixed_rounds, ipv4_rounds) = (rounds.next().expect("mixed"), rounds.next().expect("IPv4"));
    let rows_per_thread = options.rows as f64 / shared.threads as f64;
    report.push(Measurement {
        name: format!(
            "{PREPARE}, {} rows, a third IPv6, beside IPv4 alone, rows a core",
            short_count(options.rows)
        ),
        unit: Unit::PerSecond,
        ours: mixed_rounds.rate(rows_per_thread),
        peer: Some(ipv4_rounds.rate(rows_per_thread)),
        ratio: Some(ratios(&ipv4_rounds.seconds, &mixed_rounds.seconds)),
        target: Some(Target::RatioAtLeast(MIXED_TARGET)),
        has_peer: true,
        others_share: mixed_rounds.others_share,
        details: json!({
            "bytes": mixed.metadata()?.len(),
            "mixed": { "side": of_mixed.ready, "rounds": mixed_rounds },
            "ipv4": { "side": of_ipv4.ready, "rounds": ipv4_rounds },
        }),
    });
    Ok(())
}

/// Peak memory of `prepare` with all rows over that with a tenth of them.
fn measure_memory(options: &Options, path: &Path, report: &mut Report) -> Outcome<()> {
    let few_rows = options.rows / 10;
    let few = path.with_file_name("few.csv");
    generate(&few, few_rows, 0)?;
    let mut peaks = Vec::new();
    for (rows, path) in [(few_rows, &*few), (options.rows, path)] {
        eprintln!("{MEMORY}: {} rows", short_count(rows));
        let answer = Side::ours(&options.shared, &PREPARE)?.ask(&Request::Read { path: path.into() })?;
        let peak = answer.peak_bytes.ok_or("the operating system does not say the peak memory")? as f64;
        report.push(Measurement {
            name: format!("{PREPARE}, {} rows, peak memory", short_count(rows)),
            unit: Unit::Bytes,
            ours: Spread::of([peak]),
            peer: None,
            ratio: None,
            target: None,
            has_peer: false,
            others_share: None,
            details: json!(answer),
        });
        peaks.push(peak);
    }
    report.push(Measurement {
        name: "peak memory of ten times the rows".into(),
        unit: Unit::Times,
        ours: Spread::of([peaks[1] / peaks[0]]),
        peer: None,
        ratio: None,
        target: None,
        has_peer: false,
        others_share: None,
        details: json!(null),
    });
    Ok(())
}

/// Our side: each round is a run of the program, from its start to its end.
fn serve_prepare() -> Outcome<()> {
    serve(json!({ "ipsight": env!("CARGO_PKG_VERSION") }), |request| match request {
        Request::Read { path } => prepare(&path),
        other => Err(format!("reading does not answer {other:?}").into()),
    })
}

fn prepare(path: &Path) -> Outcome<Answer> {
    let output: PathBuf = path.with_extension("arrow");
    let start = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .arg("prepare")
        .arg(path)
        .arg("--output")
        .arg(&output)
        // Its talk would come between the rounds, and its stdout is not the protocol's.
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (status, peak_bytes, peak_anonymous_bytes) = wait_and_watch(&mut child)?;
    let seconds = start.elapsed().as_secs_f64();
    std::fs::remove_file(&output)?;
    match status.success() {
        true => Ok(Answer { seconds: Some(seconds), peak_bytes, peak_anonymous_bytes, ..Answer::default() }),
        false => Err(format!("ipsight prepare: {status}").into()),
    }
}

/// Waits for a process; with its end comes the most memory seen, all of it and what no file backs.
fn wait_and_watch(child: &mut Child) -> Outcome<(std::process::ExitStatus, Option<u64>, Option<u64>)> {
    let process = child.id().to_string();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peaks = (None, None);
            while !ended.load(Ordering::Relaxed) {
                peaks.0 = peaks.0.max(status_bytes(&process, "VmHWM"));
                peaks.1 = peaks.1.max(status_bytes(&process, "RssAnon"));
                std::thread::sleep(MEMORY_POLL);
            }
            peaks
        });
        let status = child.wait();
        ended.store(true, Ordering::Relaxed);
        let (peak, anonymous) = watch.join().expect("it does not panic");
        Ok((status?, peak, anonymous))
    })
}
