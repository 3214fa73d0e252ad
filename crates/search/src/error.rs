//! Failures of a journal.

use std::io;
use std::path::{Path, PathBuf};

/// The result of what can fail in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal is of another study: the goal, or a parameter, its domain or its condition differs.
    #[error("{at}: {what}")]
    OtherStudy {
        /// `file:line`.
        at: String,
        /// What differs, with both values.
        what: String,
    },
    /// A line is not one that a journal of this crate can hold.
    #[error("{at}: {what}")]
    Corrupt {
        /// `file:line`.
        at: String,
        /// What is wrong with the line.
        what: String,
    },
    /// The file has no whole line.
    #[error("{}: the journal has no whole line", path.display())]
    Empty {
        /// The journal.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// What failed, as a verb: `read`, `write`, `sync`.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Returns a closure for `map_err` that adds the verb and the path to an [`io::Error`].
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}
