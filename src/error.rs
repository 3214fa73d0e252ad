//! What can go wrong, where it went wrong, and what to do next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure, sorted by who has to act: each kind has one exit code.
///
/// The `Display` text says where and what; [`Error::help`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option, a configuration key or a combination of them is wrong (exit code 2).
    #[error("{at}: {what}")]
    Config {
        /// The option, or `file:line: key`.
        at: At,
        /// What is wrong, with the value that was found.
        what: String,
        /// The allowed range or the nearest valid name.
        help: String,
    },
    /// Training diverged: a loss, a score or a weight is not finite (exit code 2, since the configuration decides it).
    #[error("the training diverged: {what}")]
    Diverged {
        /// What is not finite, and since which step.
        what: String,
        /// What to lower, and where to begin again.
        help: String,
    },
    /// Input data is not what it should be (exit code 3).
    #[error("{at}: {what}")]
    Data {
        /// `file`, or `file:line` where a line is known.
        at: At,
        /// What is wrong, with the value that was found.
        what: String,
        /// How to correct the input.
        help: String,
    },
    /// Reading or writing failed (exit code 4).
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: `read`, `create`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// An address cannot be listened on (exit code 4).
    #[error("{at}: cannot listen on {address}: {source}")]
    Socket {
        /// The option that gives the address.
        at: At,
        /// The address.
        address: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// No such device, or it cannot hold what was asked for (exit code 5).
    #[error("{what}")]
    Device {
        /// What the device lacks, with the figure.
        what: String,
        /// What to lower, or which device to take.
        help: String,
    },
    /// The operating system refuses this process a thread or a signal handler (exit code 5).
    #[error("cannot {action}: {source}")]
    Process {
        /// What was being done: `start the thread "scoring"`.
        action: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A gate that the caller set was missed (exit code 1).
    #[error("{0}")]
    Gate(String),
    /// A signal stopped the work after what was done had been saved (exit code 128 + signal).
    #[error("stopped by signal {signal}")]
    Stopped {
        /// The signal's number: 2 (SIGINT) or 15 (SIGTERM).
        signal: i32,
        /// The folder in which the work so far was saved, if there was any.
        saved: Option<PathBuf>,
    },
}

/// Where an error is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// An option by its name in this library, `max_body_bytes`. A program that has a flag for it names the flag.
    Option {
        /// The name.
        name: &'static str,
        /// The value that it has, where that says more.
        value: Option<String>,
    },
    /// A file, `file:line`, a key of a file, or a part of the data.
    Place(String),
}

impl At {
    /// An option by its name.
    pub fn option(name: &'static str) -> Self {
        At::Option { name, value: None }
    }

    /// An option with the value that it has.
    pub fn option_of(name: &'static str, value: impl fmt::Display) -> Self {
        At::Option { name, value: Some(value.to_string()) }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Option { name, value: None } => f.write_str(name),
            At::Option { name, value: Some(value) } => write!(f, "{name} {value}"),
            At::Place(place) => f.write_str(place),
        }
    }
}

impl From<String> for At {
    fn from(place: String) -> Self {
        At::Place(place)
    }
}

impl From<&str> for At {
    fn from(place: &str) -> Self {
        At::Place(place.into())
    }
}

impl From<&String> for At {
    fn from(place: &String) -> Self {
        At::Place(place.clone())
    }
}

impl Error {
    /// A usage or configuration error.
    pub fn config(at: impl Into<At>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Config { at: at.into(), what: what.into(), help: help.into() }
    }

    /// An error in the input data.
    pub fn data(at: impl Into<At>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Data { at: at.into(), what: what.into(), help: help.into() }
    }

    /// A device error.
    pub fn device(what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Device { what: what.into(), help: help.into() }
    }

    /// Returns a closure for `map_err` that adds the verb and the path to an [`io::Error`].
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// Returns a closure for `map_err` that adds the address, and the option that gives it.
    pub fn socket(at: At, address: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        let address = address.to_string();
        move |source| Error::Socket { at, address, source }
    }

    /// Returns a closure for `map_err` that says which thread cannot be started.
    pub fn thread(name: &str) -> impl FnOnce(io::Error) -> Self {
        Error::process(format!("start the thread `{name}`"))
    }

    /// Returns a closure for `map_err` that says what the operating system refuses this process.
    pub fn process(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Error::Process { action, source }
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Gate(_) => 1,
            Error::Config { .. } | Error::Diverged { .. } => 2,
            Error::Data { .. } => 3,
            Error::Io { .. } | Error::Socket { .. } => 4,
            Error::Device { .. } | Error::Process { .. } => 5,
            Error::Stopped { signal, .. } => 128 + *signal as u8,
        }
    }

    /// What to do next, where there is something to say beyond the message.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::Config { help, .. }
            | Error::Diverged { help, .. }
            | Error::Data { help, .. }
            | Error::Device { help, .. } => Some(help.clone()),
            Error::Io { source, .. } => help_on_file(source.kind()).map(String::from),
            Error::Socket { source, .. } => help_on_socket(source.kind()).map(String::from),
            Error::Process { source, .. } => help_on_process(source.kind()).map(String::from),
            Error::Stopped { saved: Some(saved), .. } => {
                Some(format!("what was done is in {}", saved.display()))
            }
            Error::Stopped { saved: None, .. } => Some("nothing had been done yet, nothing was saved".into()),
            Error::Gate(_) => None,
        }
    }
}

fn help_on_file(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => Some("check the path"),
        io::ErrorKind::PermissionDenied => Some("check the permissions of the path"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space or write elsewhere")
        }
        io::ErrorKind::FileTooLarge => Some("raise the limit of a file's size, `ulimit -f`"),
        _ => None,
    }
}

fn help_on_socket(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some("another process listens there: stop it, or choose another port"),
        io::ErrorKind::AddrNotAvailable => Some("choose an address of this machine, or 127.0.0.1"),
        io::ErrorKind::PermissionDenied => Some("a port below 1024 needs privileges: choose a higher one"),
        _ => None,
    }
}

fn help_on_process(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => {
            Some("the limit of threads or of memory is reached: raise `ulimit -u` or the container's limit")
        }
        _ => None,
    }
}

/// The valid name nearest to `name` by Jaro-Winkler similarity, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    valid
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_documented_exit_code() {
        let io = Error::io("read", "x")(io::ErrorKind::NotFound.into());
        let socket = Error::socket(At::option("listen"), "127.0.0.1:80")(io::ErrorKind::AddrInUse.into());
        let thread = Error::thread("scoring")(io::ErrorKind::WouldBlock.into());
        let diverged = Error::Diverged { what: String::new(), help: String::new() };
        let stopped = |signal| Error::Stopped { signal, saved: Some("m".into()) };
        let codes = [
            (Error::Gate(String::new()), 1),
            (Error::config("", "", ""), 2),
            (Error::data("", "", ""), 3),
            (diverged, 2),
            (io, 4),
            (socket, 4),
            (thread, 5),
            (Error::device("", ""), 5),
            (stopped(2), 130),
            (stopped(15), 143),
        ];
        for (error, code) in codes {
            assert_eq!(error.exit_code(), code, "{error:?}");
        }
    }

    #[test]
    fn sockets_and_threads_are_no_paths() {
        let kinds = [
            io::ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::AddrInUse,
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::WouldBlock,
        ];
        for kind in kinds {
            let socket = Error::socket(At::option("listen"), "[::1]:80")(kind.into());
            assert!(socket.to_string().starts_with("listen: cannot listen on [::1]:80: "), "{socket}");
            let thread = Error::thread("scoring")(kind.into());
            assert!(thread.to_string().starts_with("cannot start the thread `scoring`: "), "{thread}");
            for help in [socket.help(), thread.help()].into_iter().flatten() {
                assert!(!help.contains("path"), "{kind}: {help}");
            }
        }
    }

    #[test]
    fn nearest_finds_a_typo_and_not_a_stranger() {
        let keys = ["epochs", "learning_rate", "mini_batch_size"];
        assert_eq!(nearest("epoch", keys), Some("epochs"));
        assert_eq!(nearest("learnign_rate", keys), Some("learning_rate"));
        assert_eq!(nearest("zzz", keys), None);
    }
}
