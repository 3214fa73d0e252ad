//! Processes of this program: how they are started, stopped, and what their exits mean.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGKILL, SIGTERM};
use signal_hook::low_level::signal_name;
use wait4::{ResUse, Wait4};

use crate::config::DeviceChoice;
use crate::{Error, Result};

/// How processes are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// This program.
    pub program: PathBuf,
    /// A command that comes before it, as `srun`; may be empty.
    pub launcher: Vec<String>,
    /// Threads of each process.
    pub num_threads: usize,
    /// The device of all processes.
    pub device: DeviceChoice,
    /// The arguments of `ipsight evaluate` beside the model; `None`: nothing is evaluated.
    pub evaluation: Option<Vec<String>>,
}

/// Why a process did not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// It failed, for this reason.
    OfProcess(String),
    /// SIGINT or SIGTERM, which this program did not send, ended it; the text says which.
    Terminated(String),
    /// The machine failed, so that the next process would fail alike: a full disk, a program that does not start.
    OfMachine(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::OfMachine(error)
    }
}

/// Stops a trial's processes, from another thread.
#[derive(Clone, Default)]
pub(super) struct Stopper {
    is_asked: Arc<AtomicBool>,
    /// The process, until its exit status is known.
    child: Arc<Mutex<Option<Child>>>,
}

impl Stopper {
    /// Asks the process to stop: it ends when its stdin does. No other one is started.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Some(child) = self.lock().as_mut() {
            drop(child.stdin.take());
        }
    }

    /// Kills the process, and those that a launcher has started for it.
    pub fn kill(&self) {
        if let Some(child) = self.lock().as_mut()
            && let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // It may have exited; its number is its own until its status is read.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Whether [`Stopper::ask`] was called.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    fn hold(&self, child: Child) {
        *self.lock() = Some(child);
        if self.is_asked() {
            self.ask(); // it was asked before there was a process
        }
    }

    /// Waits for the process without keeping other threads from stopping it.
    fn wait(&self) -> io::Result<ResUse> {
        loop {
            {
                let mut child = self.lock();
                if let Some(running) = child.as_mut()
                    && let Some(exited) = running.try_wait4()?
                {
                    *child = None;
                    return Ok(exited);
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Launch {
    /// Runs a process to its end. `on_line` gets the lines of its stdout; its stderr goes to the file `log` in `folder`.
    pub(super) fn run(
        &self,
        args: Vec<OsString>,
        folder: &Path,
        stopper: &Stopper,
        on_line: &mut dyn FnMut(&str),
    ) -> std::result::Result<(), Failure> {
        let log = Log::open(folder)?;
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.file()?);
        let mut child = command.spawn().map_err(|error| self.not_started(error))?;
        let stdout = child.stdout.take();
        stopper.hold(child);
        // A line that cannot be read is the last: how the process ends says more.
        let lines =
            stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(|line| line.ok());
        lines.for_each(|line| on_line(&line));
        let exited = stopper.wait().map_err(Error::io("wait for", &self.program))?;
        let reason = || reason(&exited, &log);
        match (exited.status.code(), exited.status.signal()) {
            (Some(0), _) => Ok(()),
            // Input and output: the next process would fail alike.
            (Some(4), _) => Err(Error::io("work in", folder)(io::Error::other(reason())).into()),
            (Some(130 | 143), _) | (_, Some(SIGINT | SIGTERM)) => Err(Failure::Terminated(reason())),
            _ => Err(Failure::OfProcess(reason())),
        }
    }

    /// A limit of processes is the machine's, and no fault of the program's file.
    fn not_started(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
                Error::process(format!("start the process {}", self.program.display()))(error)
            }
            _ => Error::io("start", &self.program)(error),
        }
    }

    fn command(&self, args: Vec<OsString>) -> Command {
        let mut words = self.launcher.iter();
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(args).args(["--device", self.device.name()]);
        command.env("RAYON_NUM_THREADS", self.num_threads.to_string());
        // Ctrl-C is for the sweep, which stops its trials.
        command.process_group(0);
        command
    }
}

/// Why a process failed: its signal or exit code with its peak memory, and the error that it reported.
fn reason(exited: &ResUse, log: &Log) -> String {
    let how = match (exited.status.signal(), exited.status.code()) {
        (Some(signal), _) => {
            let name = signal_name(signal).map_or_else(|| format!("signal {signal}"), String::from);
            format!("killed by {name}")
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => exited.status.to_string(),
    };
    let memory = format!("peak memory {:.1} MiB", exited.rusage.maxrss as f64 / f64::from(1u32 << 20));
    let advice = match exited.status.signal() {
        Some(SIGKILL) => "; the system sends this signal where memory runs out",
        _ => "",
    };
    // What a process logged before it was killed is no reason.
    let message = exited.status.code().and_then(|_| log.last_message());
    let message = message.map_or(String::new(), |message| format!(": {message}"));
    format!("{how}, {memory}{advice}{message}")
}

/// The log of a trial's processes, to which each appends.
struct Log {
    path: PathBuf,
    file: File,
    /// Where the messages of this process begin.
    start: u64,
}

impl Log {
    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("log");
        let file =
            File::options().create(true).append(true).open(&path).map_err(Error::io("create", &path))?;
        let start = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok(Self { path, file, start })
    }

    fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(Error::io("open", &self.path))
    }

    /// The last error, without its advice; or the panic; or the last line, which a launcher may have written.
    fn last_message(&self) -> Option<String> {
        let bytes = fs::read(&self.path).ok()?;
        let text = String::from_utf8_lossy(bytes.get(usize::try_from(self.start).ok()?..)?).into_owned();
        let error = text.lines().rev().find_map(|line| line.strip_prefix("error: ").map(str::to_string));
        let panic = || text.lines().find(|line| line.contains("panicked at")).map(str::to_string);
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        error.or_else(panic).or_else(|| last.map(|line| format!("the last line of its log is `{line}`")))
    }
}
