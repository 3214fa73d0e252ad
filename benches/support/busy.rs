//! How much of the machine went to processes that are not part of a measurement. OpenMP's spinning threads make
//! PyTorch ten times slower beside a busy process: without this figure nobody could tell a fair ratio.

use std::time::Instant;

/// Ticks a second of every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processor time of the machine and of some processes, at one moment.
pub struct Busy<'a> {
    processes: &'a [u32],
    at: Instant,
    machine: f64,
    measured: f64,
}

impl<'a> Busy<'a> {
    /// Starts to watch; none where there is no `/proc`.
    pub fn watch(processes: &'a [u32]) -> Option<Self> {
        let (machine, measured) = (machine_seconds()?, processes_seconds(processes)?);
        Some(Self { processes, at: Instant::now(), machine, measured })
    }

    /// The share of all processors that others have had since, in 0..=1.
    pub fn others_share(&self) -> Option<f64> {
        let all = self.at.elapsed().as_secs_f64() * std::thread::available_parallelism().ok()?.get() as f64;
        let machine = machine_seconds()? - self.machine;
        let measured = processes_seconds(self.processes)? - self.measured;
        Some(((machine - measured) / all).clamp(0.0, 1.0))
    }
}

/// Seconds that all processors together have spent on anything.
fn machine_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user.
    let busy = ticks.get(..3)?.iter().chain(ticks.get(5..8)?).sum::<f64>();
    Some(busy / TICKS_PER_SECOND)
}

/// Seconds that processes and the children that they waited for have used.
fn processes_seconds(processes: &[u32]) -> Option<f64> {
    processes.iter().map(|process| process_seconds(*process)).sum()
}

fn process_seconds(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything. After it come state and ten others, then utime, stime, cutime, cstime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<f64>().ok()).sum::<Option<f64>>()?;
    Some(ticks / TICKS_PER_SECOND)
}
