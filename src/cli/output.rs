//! Data goes to stdout, talk to stderr.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use ipsight::{Error, Result};
use serde::Serialize;

/// How errors name it.
pub const STDOUT: &str = "stdout";

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
    matches!(error, Error::Io { path, source, .. }
        if path == Path::new(STDOUT) && source.kind() == io::ErrorKind::BrokenPipe)
}

/// For work that must not end because nobody reads about it any more.
pub fn even_unread(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if reader_has_gone(&error) => Ok(()),
        other => other,
    }
}

/// A bar on stderr where that is a terminal, nothing elsewhere; `{speed}` in the template is whole units a second.
/// Plain text, so NO_COLOR has nothing to do.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let speed = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = out.write_str(&count(state.per_sec() as u64));
    };
    let style = ProgressStyle::with_template(template).expect("a template of this program");
    let style = style.with_key("speed", speed);
    ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(10)).with_style(style)
}

/// A count with thousands separated, for people.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// A time for people, to two units.
pub fn duration(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let [hours, minutes] = [seconds / 3600, seconds / 60 % 60];
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {minutes} min"),
    }
}
