//! What the benchmarks share: their options, sides that are processes, rounds that take turns, a report.

#![allow(dead_code, unused_imports)] // each benchmark uses a part

/// The binary's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod busy;
mod report;
mod rounds;
mod scores;
mod side;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipsight::config::DeviceChoice;

pub use busy::Busy;
pub use report::{Measurement, Report, Target, Unit, default_path};
pub use rounds::{Rounds, Spread, interleave, ratios};
pub use scores::{score_batches, score_singly};
pub use side::{Answer, Request, Side, Started, serve, status_bytes};

/// A benchmark ends with the first thing that goes wrong.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Options of every benchmark.
#[derive(Args)]
pub struct SharedOptions {
    /// Fewer and shorter rounds: a look rather than a figure
    #[arg(long)]
    pub quick: bool,
    /// Run only this case; may be repeated
    #[arg(long, value_name = "NAME")]
    pub case: Vec<String>,
    /// Threads of each side
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub threads: usize,
    /// Measure ours alone
    #[arg(long)]
    pub no_peer: bool,
    /// The Python that has the peers' modules
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: PathBuf,
    /// Where the results go [default: target/bench/BENCHMARK.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Be our side of a case, as a process of its own
    #[arg(long, value_name = "CASE", hide = true)]
    pub serve: Option<String>,
    /// Cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl SharedOptions {
    /// Rounds of each side.
    pub fn num_rounds(&self) -> usize {
        if self.quick { 3 } else { 9 }
    }

    /// What a round should take: long beside a hiccup of the scheduler.
    pub fn round_seconds(&self) -> f64 {
        if self.quick { 0.3 } else { 1.5 }
    }

    /// Whether the case `name` is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.case.is_empty() || self.case.iter().any(|wanted| wanted == name)
    }

    /// Refuses a `--case` that is none of `names`: it would measure nothing, in silence.
    pub fn check_cases(&self, names: &[&str]) -> Outcome<()> {
        match self.case.iter().find(|wanted| !names.contains(&wanted.as_str())) {
            Some(unknown) => Err(format!("no case `{unknown}`; there are {}", names.join(", ")).into()),
            None => Ok(()),
        }
    }
}

/// Options of the benchmarks that run a model.
#[derive(Args)]
pub struct ModelOptions {
    /// Our device: auto, ndarray or wgpu [default: ndarray]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceChoice>,
    /// The peer's device [default: cpu]
    #[arg(long, value_name = "DEVICE")]
    pub peer_device: Option<PeerDevice>,
    /// Let the peer try torch.compile
    #[arg(long)]
    pub peer_compile: bool,
}

/// A device of PyTorch.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PeerDevice {
    Cpu,
    Cuda,
}

impl PeerDevice {
    /// Its name in PyTorch.
    pub fn name(self) -> &'static str {
        match self {
            PeerDevice::Cpu => "cpu",
            PeerDevice::Cuda => "cuda",
        }
    }
}

/// Starts the PyTorch twin with the arguments of a case.
pub fn start_twin(
    shared: &SharedOptions,
    model: &ModelOptions,
    device: PeerDevice,
    case: &[(&str, usize)],
    flags: &[&str],
) -> Outcome<Started> {
    let mut args: Vec<String> = vec!["--device".into(), device.name().into()];
    args.extend(case.iter().flat_map(|(name, value)| [format!("--{name}"), value.to_string()]));
    args.extend(flags.iter().map(|flag| flag.to_string()));
    if model.peer_compile {
        args.push("--compile".into());
    }
    Side::python(shared, "torch_twin.py", &args)
}

/// A count of something, for names of cases: 20k, 10M.
pub fn short_count(count: usize) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}M", count / 1_000_000),
        1_000.. if count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}
