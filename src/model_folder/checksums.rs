//! Files of a folder against the checksums of its manifest.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::layout::DAMAGED_HELP;
use crate::data::map_file;
use crate::{Error, Result};

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 hash in hexadecimal.
    pub blake3: String,
}

pub(crate) fn file_entry(path: &Path) -> Result<FileEntry> {
    Ok(entry_of(&map(path)?))
}

fn entry_of(bytes: &[u8]) -> FileEntry {
    let mut hasher = blake3::Hasher::new();
    hasher.update_rayon(bytes);
    FileEntry { bytes: hasher.count(), blake3: hasher.finalize().to_hex().to_string() }
}

pub(crate) fn map(path: &Path) -> Result<Bytes> {
    File::open(path).and_then(|file| map_file(&file, path)).map_err(Error::io("read", path))
}

/// Compares the bytes of a file with what a manifest says of it.
pub(crate) fn verify(path: &Path, bytes: &[u8], expected: Option<&FileEntry>) -> Result<()> {
    compare(path, &entry_of(bytes), expected)
}

/// Compares what was found of a file with what a manifest says of it.
pub(super) fn compare(path: &Path, found: &FileEntry, expected: Option<&FileEntry>) -> Result<()> {
    match expected {
        Some(expected) if expected == found => Ok(()),
        Some(expected) if expected.bytes != found.bytes => Err(Error::data(
            path.display().to_string(),
            format!("{} bytes instead of the manifest's {}", found.bytes, expected.bytes),
            DAMAGED_HELP,
        )),
        _ => Err(Error::data(
            path.display().to_string(),
            "its BLAKE3 hash is not the manifest's",
            DAMAGED_HELP,
        )),
    }
}
