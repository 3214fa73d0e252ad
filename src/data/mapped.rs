//! The one place that maps a file into memory.
#![allow(unsafe_code, reason = "mapping a file is: see the SAFETY comment")]

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

use super::mapped_files::Watch;

struct Mapped {
    bytes: Mmap,
    _watch: Watch,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Maps the file of a path read-only. The pages stay mapped while a clone or a slice of the bytes is alive.
///
/// The file must not be written to or cut short meanwhile; this program replaces files only by renaming a new
/// one over them, which leaves a mapped one as it is.
pub(crate) fn map_file(file: &File, path: &Path) -> io::Result<Bytes> {
    // SAFETY: the mapping is private to this process and read-only, and the bytes own it, so no slice
    // outlives it. That nobody changes the file underneath is the documented condition above: it cannot be
    // checked, and every reader of mapped files rests on it.
    let bytes = unsafe { Mmap::map(file)? };
    let watch = Watch::new(path, &bytes);
    Ok(Bytes::from_owner(Mapped { bytes, _watch: watch }))
}
