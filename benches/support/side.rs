//! A side of a benchmark is a fresh process that is asked for one round after the other, one JSON document a
//! line. Ours is the benchmark's own binary again, so that its peak memory is that of one case.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Outcome, SharedOptions};

/// What a side is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Steps on one mini-batch each; the loss is read back after the last.
    Train { steps: usize },
    /// Batches of pairs, their scores read back.
    Score { batches: usize },
    /// Pairs scored one at a time.
    Single { pairs: usize },
    /// Histories counted from the same events.
    Count { times: usize },
    /// A file of events, read.
    Read { path: PathBuf },
    /// The end.
    Quit,
}

/// What a side answers; which fields depends on the request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What went wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of one step, batch or file; the mean of those in the round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Of one pair's seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
    /// The most memory that the side held since it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// The part of it that no file backs, where the side knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_anonymous_bytes: Option<u64>,
}

/// A process that speaks the protocol.
pub struct Side {
    name: String,
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said of itself when it was ready.
    pub ready: Value,
}

/// A peer that may be missing on this machine.
pub enum Started {
    Ready(Side),
    /// Why it is not there.
    Skipped(String),
}

impl Started {
    /// The side, or none with the reason said on stderr and kept in `skipped`.
    pub fn or_skip(self, skipped: &mut Option<String>) -> Option<Side> {
        match self {
            Started::Ready(side) => Some(side),
            Started::Skipped(reason) => {
                eprintln!("skipped: {reason}");
                *skipped = Some(reason);
                None
            }
        }
    }
}

impl Side {
    /// Our side of a case: this binary again, told to serve it.
    pub fn ours(shared: &SharedOptions, case: &impl Serialize) -> Outcome<Side> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", &serde_json::to_string(case)?]);
        command.args(["--threads", &shared.threads.to_string()]);
        // Rayon and Burn's matrix products read these when they start.
        for variable in ["RAYON_NUM_THREADS", "MATMUL_NUM_THREADS"] {
            command.env(variable, shared.threads.to_string());
        }
        match Self::start("ours", command)? {
            Started::Ready(side) => Ok(side),
            Started::Skipped(reason) => Err(format!("ours: {reason}").into()),
        }
    }

    /// A peer: a script of `benches/peers`.
    pub fn python(shared: &SharedOptions, script: &str, args: &[String]) -> Outcome<Started> {
        if shared.no_peer {
            return Ok(Started::Skipped("--no-peer".into()));
        }
        let mut command = Command::new(&shared.python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(script));
        command.args(["--threads", &shared.threads.to_string()]).args(args);
        Self::start(script, command)
    }

    fn start(name: &str, mut command: Command) -> Outcome<Started> {
        let mut process = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(process) => process,
            Err(error) => {
                return Ok(Started::Skipped(format!("{}: {error}", command.get_program().display())));
            }
        };
        let requests = process.stdin.take().expect("it is piped");
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut side = Side { name: name.into(), process, requests, answers, ready: Value::Null };
        side.ready = side.read()?;
        Ok(match side.ready.get("skipped") {
            Some(reason) => Started::Skipped(format!("{name}: {}", reason.as_str().unwrap_or("no reason"))),
            None => Started::Ready(side),
        })
    }

    /// Asks for a round and waits for the answer.
    pub fn ask(&mut self, request: &Request) -> Outcome<Answer> {
        writeln!(self.requests, "{}", serde_json::to_string(request)?)?;
        let answer: Answer = serde_json::from_value(self.read()?)?;
        match answer.error {
            Some(error) => Err(format!("{}: {error}", self.name).into()),
            None => Ok(answer),
        }
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Asks for a round of which only the time matters.
    pub fn seconds(&mut self, request: &Request) -> Outcome<f64> {
        let answer = self.ask(request)?;
        answer.seconds.ok_or_else(|| format!("{}: no `seconds` in its answer", self.name).into())
    }

    /// How many steps or batches fill a round, after a first try that warms up.
    pub fn count_for(&mut self, seconds: f64, request: impl Fn(usize) -> Request) -> Outcome<usize> {
        let one = self.seconds(&request(2))?;
        Ok(((seconds / one).ceil() as usize).clamp(2, 100_000))
    }

    fn read(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("{} ended without an answer", self.name).into());
        }
        serde_json::from_str(&line).map_err(|error| format!("{}: {error} in `{line}`", self.name).into())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell if not.
        let quit = serde_json::to_string(&Request::Quit).expect("a request is JSON");
        let _ = writeln!(self.requests, "{quit}");
        let _ = self.process.wait();
    }
}

/// Our side's end of the protocol: says ready, then answers requests until `quit` or the end of stdin.
///
/// # Errors
///
/// What the first line or an answer cannot be written for. What goes wrong in a round is answered.
pub fn serve(ready: Value, mut round: impl FnMut(Request) -> Outcome<Answer>) -> Outcome<()> {
    let mut replies = std::io::stdout();
    let mut first = json!({ "ready": true, "peak_bytes": peak_bytes() });
    first.as_object_mut().expect("it is one").extend(ready.as_object().cloned().unwrap_or_default());
    writeln!(replies, "{first}")?;
    for line in std::io::stdin().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Request::Quit => break,
            request => round(request),
        };
        let answer = match answer {
            // A round that knows better whose memory counts has said so.
            Ok(answer) => Answer { peak_bytes: answer.peak_bytes.or_else(peak_bytes), ..answer },
            Err(error) => Answer { error: Some(error.to_string()), ..Answer::default() },
        };
        writeln!(replies, "{}", serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

/// The most memory that this process held at once, where the operating system says (Linux).
fn peak_bytes() -> Option<u64> {
    status_bytes("self", "VmHWM")
}

/// A field of `/proc/PROCESS/status`, in bytes.
pub fn status_bytes(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
