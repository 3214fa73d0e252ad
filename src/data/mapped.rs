//! The one place that maps a file into memory.
#![allow(unsafe_code, reason = "mapping a file is: see the SAFETY comment")]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps a file read-only. The pages stay mapped while a clone or a slice of the bytes is alive.
///
/// The file must not be written to or cut short meanwhile; this program replaces files only by renaming a new
/// one over them, which leaves a mapped one as it is.
pub(crate) fn map_file(file: &File) -> io::Result<Bytes> {
    // SAFETY: the mapping is private to this process and read-only, and the bytes own it, so no slice
    // outlives it. That nobody changes the file underneath is the documented condition above: it cannot be
    // checked, and every reader of mapped files rests on it.
    let mapped = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(mapped))
}
