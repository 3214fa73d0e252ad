//! What a benchmark leaves behind: a table on stdout and everything in a JSON file.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::rounds::seconds_text;
use super::{Outcome, SharedOptions, Spread};

/// The share of the machine that others may have before the figures are doubted.
const MAX_OTHERS_SHARE: f64 = 0.05;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    /// A ratio.
    Times,
}

/// What a measurement should come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The median of the ratio to the peer.
    RatioAtLeast(f64),
    /// The median of our figure.
    AtLeast(f64),
    /// Likewise.
    AtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub name: String,
    pub unit: Unit,
    pub ours: Spread,
    pub peer: Option<Spread>,
    /// How many times better than the peer.
    pub ratio: Option<Spread>,
    pub target: Option<Target>,
    /// Whether there is a peer for it, on this machine or on another.
    pub has_peer: bool,
    /// The share of the machine that went to others meanwhile.
    pub others_share: Option<f64>,
    /// What only the file shows: who was measured, each round.
    pub details: Value,
}

impl Measurement {
    /// Whether the target is met; none without a target, or without the peer that it refers to.
    fn met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::RatioAtLeast(least) => self.ratio?.median >= least,
            Target::AtLeast(least) => self.ours.median >= least,
            Target::AtMost(most) => self.ours.median <= most,
        })
    }

    fn cells(&self) -> [String; 6] {
        let peer = match &self.peer {
            Some(peer) => spread_text(peer, self.unit),
            None if self.has_peer => "skipped".into(),
            None => "-".into(),
        };
        let ratio = self.ratio.as_ref().map_or("-".into(), |ratio| spread_text(ratio, Unit::Times));
        let target = match self.target {
            Some(Target::RatioAtLeast(least)) => format!("ratio >= {}", text(least, Unit::Times)),
            Some(Target::AtLeast(least)) => format!(">= {}", text(least, self.unit)),
            Some(Target::AtMost(most)) => format!("<= {}", text(most, self.unit)),
            None => "-".into(),
        };
        let met = match self.met() {
            Some(true) => "met",
            Some(false) => "missed",
            None => "-",
        };
        [self.name.clone(), spread_text(&self.ours, self.unit), peer, ratio, target, met.into()]
    }
}

/// The measurements of one run of a benchmark.
pub struct Report {
    benchmark: &'static str,
    path: PathBuf,
    options: Value,
    measurements: Vec<Measurement>,
    /// Why there is no peer.
    pub skipped: Option<String>,
}

impl Report {
    /// An empty report of `benchmark`.
    pub fn new(benchmark: &'static str, shared: &SharedOptions) -> Self {
        let path = shared.json.clone().unwrap_or_else(|| default_path(benchmark));
        let options = json!({ "threads": shared.threads, "quick": shared.quick });
        Self { benchmark, path, options, measurements: Vec::new(), skipped: None }
    }

    /// Adds a line.
    pub fn push(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }

    /// Prints the table and writes the file.
    pub fn finish(self) -> Outcome<()> {
        self.print();
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let measurements: Vec<Value> = self.measurements.iter().map(to_json).collect();
        let document = json!({
            "benchmark": self.benchmark,
            "machine": machine(),
            "options": self.options,
            "peer_skipped": self.skipped,
            "measurements": measurements,
        });
        std::fs::write(&self.path, serde_json::to_string_pretty(&document)? + "\n")?;
        eprintln!("results: {}", self.path.display());
        Ok(())
    }

    fn print(&self) {
        let header = ["", "ours", "peer", "ours to peer", "target", ""].map(String::from);
        let rows = self.measurements.iter().map(Measurement::cells);
        let rows: Vec<[String; 6]> = std::iter::once(header).chain(rows).collect();
        let widths: [usize; 6] =
            std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        if let Some(reason) = &self.skipped {
            println!("skipped: {reason}");
        }
        let busiest = self.measurements.iter().filter_map(|measurement| measurement.others_share);
        if let Some(share) = busiest.max_by(f64::total_cmp).filter(|share| *share > MAX_OTHERS_SHARE) {
            println!("Not a fair figure: other processes had up to {:.0}% of the machine.", 100.0 * share);
        }
    }
}

fn to_json(measurement: &Measurement) -> Value {
    let mut value = serde_json::to_value(measurement).expect("string keys");
    value["met"] = json!(measurement.met());
    value
}

/// Beside the build, wherever Cargo was told to put it.
pub fn default_path(benchmark: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
    target.join("bench").join(format!("{benchmark}.json"))
}

fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|info| {
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_string())
    });
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map_or(0, |n| n.get()),
    })
}

fn spread_text(spread: &Spread, unit: Unit) -> String {
    let median = text(spread.median, unit);
    match spread.min == spread.max {
        true => median,
        false => format!("{median} ({}..{})", text(spread.min, unit), text(spread.max, unit)),
    }
}

fn text(figure: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond if figure >= 1e6 => format!("{:.2}M/s", figure / 1e6),
        Unit::PerSecond => format!("{:.1}k/s", figure / 1e3),
        Unit::Seconds => seconds_text(figure),
        Unit::Bytes if figure < 1e9 => format!("{:.0} MB", figure / 1e6),
        Unit::Bytes => format!("{:.2} GB", figure / 1e9),
        Unit::Times => format!("{figure:.2}x"),
    }
}
