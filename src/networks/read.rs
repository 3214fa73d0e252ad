//! Reads a table from the file that somebody publishes.

use std::fs::File;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::mmdb;
use super::table::{Networks, NetworksSource};
use super::tsv;
use crate::data::{Input, Stream};
use crate::{Error, Result};

const HELP: &str = "give a MaxMind DB with AS numbers or countries (.mmdb), or a TSV of first address, last address, \
                    AS number, country and name, as iptoasn.com has it; either may be compressed (.gz, .zst)";

impl Networks {
    /// Reads a table: a MaxMind DB, or a TSV of both families. Which it is, its content tells.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read; [`Error::Data`] where it is empty, damaged, or of another format or type.
    pub fn read(path: &Path) -> Result<Self> {
        let at = path.display().to_string();
        let refuse = |what: String| Error::data(at.as_str(), format!("the file {what}"), HELP);
        let bytes = Stream::open(&Input::File(path.to_path_buf()))?.into_bytes()?;
        if bytes.is_empty() {
            return Err(refuse("is empty".into()));
        }
        let source = NetworksSource {
            file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            kind: "TSV".into(),
            time: None,
            blake3: digest(path)?,
            num_ipv4: 0,
            num_ipv6: 0,
        };
        if mmdb::is_mmdb(&bytes) {
            let mmdb::Mmdb { builder, kind, time } = mmdb::read(&bytes).map_err(refuse)?;
            return builder.finish(NetworksSource { kind, time: Some(time), ..source }).map_err(refuse);
        }
        if bytes.contains(&0) {
            return Err(refuse("is neither a MaxMind DB nor text".into()));
        }
        let builder = tsv::read(&bytes)
            .map_err(|(line, what)| Error::data(format!("{at}:{line}"), format!("the line {what}"), HELP))?;
        builder.finish(NetworksSource { time: time_of_change(path), ..source }).map_err(refuse)
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    File::open(path)
        .and_then(|file| hasher.update_reader(file).map(|_| ()))
        .map_err(Error::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Unix seconds of a file's last change.
fn time_of_change(path: &Path) -> Option<i64> {
    let time = path.metadata().ok()?.modified().ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64)
}
