//! Data goes to stdout, talk to stderr.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipsight::{Error, Result};
use serde::Serialize;

const STDOUT: &str = "stdout";

/// Writes a line of data.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(io::stdout().lock(), "{text}").map_err(Error::io("write", STDOUT))
}

/// Writes a value as pretty JSON for `--json` verbs that give one document.
pub fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string_pretty(value).expect("string keys and finite numbers"))
}

/// Whether an error says that whoever read our stdout has closed it.
pub fn reader_has_gone(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}

/// A bar on stderr where that is a terminal, nothing elsewhere. Plain text, so NO_COLOR has nothing to do.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("a template of this program");
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}

/// A count with thousands separated, for people.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}
