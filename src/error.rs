//! What can go wrong, where it went wrong, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this library that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure, sorted by who has to act: each kind has one exit code.
///
/// The `Display` text says where and what; [`Error::help`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag, a configuration key or a combination of them is wrong (exit code 2).
    #[error("{at}: {what}")]
    Config {
        /// The flag, or `file:line: key`.
        at: String,
        /// What is wrong, with the value that was found.
        what: String,
        /// The allowed range or the nearest valid name.
        help: String,
    },
    /// Input data is not what it should be (exit code 3).
    #[error("{at}: {what}")]
    Data {
        /// `file`, or `file:line` where a line is known.
        at: String,
        /// What is wrong, with the value that was found.
        what: String,
        /// How to mend the input.
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
    /// No such device, or it cannot hold what was asked for (exit code 5).
    #[error("{what}")]
    Device {
        /// What the device lacks, with the figure.
        what: String,
        /// What to lower, or which device to take.
        help: String,
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

impl Error {
    /// A usage or configuration error.
    pub fn config(at: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
        Error::Config { at: at.into(), what: what.into(), help: help.into() }
    }

    /// An error in the input data.
    pub fn data(at: impl Into<String>, what: impl Into<String>, help: impl Into<String>) -> Self {
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

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Gate(_) => 1,
            Error::Config { .. } => 2,
            Error::Data { .. } => 3,
            Error::Io { .. } => 4,
            Error::Device { .. } => 5,
            Error::Stopped { signal, .. } => 128 + *signal as u8,
        }
    }

    /// What to do next, where there is something to say beyond the message.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::Config { help, .. } | Error::Data { help, .. } | Error::Device { help, .. } => {
                Some(help.clone())
            }
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some("check the path".into()),
                io::ErrorKind::PermissionDenied => Some("check the permissions of the path".into()),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("free some space or write elsewhere".into())
                }
                _ => None,
            },
            Error::Stopped { saved: Some(saved), .. } => {
                Some(format!("what was done is in {}", saved.display()))
            }
            Error::Stopped { saved: None, .. } => Some("nothing had been done yet, nothing was saved".into()),
            Error::Gate(_) => None,
        }
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
        let stopped = |signal| Error::Stopped { signal, saved: Some("m".into()) };
        let codes = [
            (Error::Gate(String::new()), 1),
            (Error::config("", "", ""), 2),
            (Error::data("", "", ""), 3),
            (io, 4),
            (Error::device("", ""), 5),
            (stopped(2), 130),
            (stopped(15), 143),
        ];
        for (error, code) in codes {
            assert_eq!(error.exit_code(), code, "{error:?}");
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
