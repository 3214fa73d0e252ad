//! How the bytes of a model folder come into memory, verified.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use memmap2::MmapMut;

use super::checksums::{FileEntry, compare, map, verify};
use super::layout::DAMAGED_HELP;
use crate::{Error, Result};

/// Where the bytes of a model lie while it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// In the folder's files, which are mapped. Processes share the memory, and a load reads each byte once. The
    /// folder must be replaced by renaming, and never be written to while it is mapped.
    #[default]
    InPlace,
    /// In memory of this process, copied and verified in one pass. What is written to the folder later changes
    /// nothing.
    Copied,
}

/// Bytes that are read and hashed at once: few enough to be in a cache for the second.
const PIECE: usize = 1 << 20;

impl Placement {
    /// The bytes of a file of a model folder, which are those that `expected`, the manifest, says.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be read, [`Error::Data`] where it is not the one of the manifest,
    /// [`Error::Device`] where there is no memory for a copy.
    pub(super) fn verified(self, path: &Path, expected: Option<&FileEntry>) -> Result<Bytes> {
        match self {
            Placement::InPlace => {
                let bytes = map(path)?;
                verify(path, &bytes, expected).map(|()| bytes)
            }
            Placement::Copied => copied(path, expected),
        }
    }
}

/// Copies a file into anonymous memory, which is page-aligned as a mapped file is, and hashes the copy.
fn copied(path: &Path, expected: Option<&FileEntry>) -> Result<Bytes> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let num_bytes = file.metadata().map_err(Error::io("read", path))?.len();
    // The size first: a file of another size is not worth its memory.
    if let Some(expected) = expected.filter(|expected| expected.bytes != num_bytes) {
        let found = FileEntry { bytes: num_bytes, blake3: String::new() };
        return compare(path, &found, Some(expected)).map(|()| Bytes::new());
    }
    let mut hasher = blake3::Hasher::new();
    let bytes = match num_bytes {
        0 => Bytes::new(),
        _ => {
            let mut copy =
                MmapMut::map_anon(num_bytes as usize).map_err(|error| no_memory(path, num_bytes, &error))?;
            for piece in copy.chunks_mut(PIECE) {
                file.read_exact(piece).map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        let what = "it was cut short while it was read";
                        Error::data(path.display().to_string(), what, DAMAGED_HELP)
                    }
                    _ => Error::io("read", path)(error),
                })?;
                hasher.update(piece);
            }
            Bytes::from_owner(copy.make_read_only().map_err(Error::io("read", path))?)
        }
    };
    let found = FileEntry { bytes: num_bytes, blake3: hasher.finalize().to_hex().to_string() };
    compare(path, &found, expected).map(|()| bytes)
}

fn no_memory(path: &Path, num_bytes: u64, error: &std::io::Error) -> Error {
    Error::device(
        format!("no memory for a copy of {}, {num_bytes} bytes: {error}", path.display()),
        "raise the limit of this process's memory (`ulimit -d`, `ulimit -v`, the container's), or give the option \
         map_in_place",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_folder::file_entry;

    #[test]
    fn a_copy_is_what_was_verified_and_stays_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for num_bytes in [0, 1, PIECE, 2 * PIECE + 17] {
            let content: Vec<u8> = (0..num_bytes).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            let entry = file_entry(&path).unwrap();
            let copy = Placement::Copied.verified(&path, Some(&entry)).unwrap();
            assert!(num_bytes == 0 || copy.as_ptr().align_offset(8) == 0);
            std::fs::write(&path, vec![7; num_bytes + 1]).unwrap();
            assert!(copy == content, "{num_bytes}");
            for placement in [Placement::Copied, Placement::InPlace] {
                let error = placement.verified(&path, Some(&entry)).unwrap_err();
                assert!(
                    error.to_string().contains(&format!("instead of the manifest's {num_bytes}")),
                    "{error}"
                );
            }
            if num_bytes > 0 {
                std::fs::write(&path, vec![7; num_bytes]).unwrap();
                let error = Placement::Copied.verified(&path, Some(&entry)).unwrap_err();
                assert!(error.to_string().contains("BLAKE3"), "{error}");
            }
        }
        assert_eq!(Placement::Copied.verified(&folder.path().join("none"), None).unwrap_err().exit_code(), 4);
    }
}
