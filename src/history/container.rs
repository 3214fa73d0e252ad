//! A file of named sections, which is written from the front and mapped: a history, or the owners of networks.
//!
//! ```text
//! magic: 8 bytes
//! sections, each at a multiple of 8 and followed by 256 bytes or more of zeros
//! directory: for each section its name (24 bytes, filled with zeros), its offset and its length
//! offset of the directory, number of sections, version: 8 bytes each
//! magic
//! ```
//!
//! Numbers are little-endian. A reader passes over sections that it does not know, so that more can be added.

use std::io::{self, Write};
use std::ops::Range;

use super::bits::PADDING;

/// What a file holds.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    magic: [u8; 8],
    version: u64,
    /// Its name in messages.
    name: &'static str,
}

/// A history.
pub(super) const HISTORY: Kind = Kind { magic: *b"ipshist\n", version: 2, name: "a history" };

/// A table of networks with the counts of their owners.
pub(super) const NETWORKS: Kind = Kind { magic: *b"ipsnets\n", version: 1, name: "a table of networks" };

const NAME_BYTES: usize = 24;
const ENTRY_BYTES: usize = NAME_BYTES + 16;
const FOOTER_BYTES: usize = 32;

/// Writes the sections of one file, one after the other.
pub(super) struct SectionWriter<W> {
    out: W,
    offset: u64,
    entries: Vec<Entry>,
    kind: Kind,
}

struct Entry {
    name: &'static str,
    offset: u64,
    length: u64,
}

impl<W: Write> SectionWriter<W> {
    pub(super) fn new(mut out: W, kind: Kind) -> io::Result<Self> {
        out.write_all(&kind.magic)?;
        Ok(Self { out, offset: kind.magic.len() as u64, entries: Vec::new(), kind })
    }

    /// Starts a section, which ends where the next one starts.
    pub(super) fn start(&mut self, name: &'static str) -> io::Result<()> {
        debug_assert!(name.len() <= NAME_BYTES && !self.entries.iter().any(|entry| entry.name == name));
        self.pad()?;
        self.entries.push(Entry { name, offset: self.offset, length: 0 });
        Ok(())
    }

    /// Appends to the section.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        if let Some(entry) = self.entries.last_mut() {
            entry.length += bytes.len() as u64;
        }
        Ok(())
    }

    /// Bytes of the section so far.
    pub(super) fn length(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.length)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let num = PADDING + (self.offset.next_multiple_of(8) - self.offset) as usize;
        self.out.write_all(&[0; PADDING + 8][..num])?;
        self.offset += num as u64;
        Ok(())
    }

    /// Writes the directory. Returns what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        let directory = self.offset;
        for entry in &self.entries {
            let mut name = [0; NAME_BYTES];
            name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
            self.out.write_all(&name)?;
            self.out.write_all(&entry.offset.to_le_bytes())?;
            self.out.write_all(&entry.length.to_le_bytes())?;
        }
        for number in [directory, self.entries.len() as u64, self.kind.version] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.out.write_all(&self.kind.magic)?;
        Ok(self.out)
    }
}

/// The directory of a file.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Directory<'a> {
    /// Reads the directory of a file. Every section lies within the bytes.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, as the end of a sentence about it.
    pub(super) fn read(bytes: &'a [u8], kind: Kind) -> Result<Self, String> {
        let Kind { magic, name, .. } = kind;
        let too_short = || format!("is too short to be {name}");
        let footer_at = bytes.len().checked_sub(FOOTER_BYTES).ok_or_else(too_short)?;
        if !bytes.starts_with(&magic) || !bytes.ends_with(&magic) {
            return Err(format!("is not {name}, or not all of one"));
        }
        let number = |index: usize| number_at(bytes, footer_at + 8 * index);
        let (offset, num, version) = (number(0), number(1), number(2));
        if version != kind.version {
            return Err(format!("has version {version}; this program reads version {}", kind.version));
        }
        let entries = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..footer_at));
        let entries =
            entries.filter(|entries| num.checked_mul(ENTRY_BYTES as u64) == Some(entries.len() as u64));
        let entries = entries.ok_or("has a directory of sections that is not where it should be")?;
        let directory = Self { bytes, entries };
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            if Self::range(entry).is_none_or(|range| bytes.get(range).is_none()) {
                return Err("has a section that lies beyond its end".into());
            }
        }
        Ok(directory)
    }

    fn range(entry: &[u8]) -> Option<Range<usize>> {
        let start = usize::try_from(number_at(entry, NAME_BYTES)).ok()?;
        let length = usize::try_from(number_at(entry, NAME_BYTES + 8)).ok()?;
        Some(start..start.checked_add(length)?)
    }

    /// Where a section lies, with the zeros behind it.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub(super) fn section(&self, name: &str) -> Result<Range<usize>, String> {
        let is_it = |entry: &&[u8]| {
            let (start, zeros) = entry[..NAME_BYTES].split_at(name.len());
            start == name.as_bytes() && zeros.iter().all(|byte| *byte == 0)
        };
        let entry = self.entries.chunks_exact(ENTRY_BYTES).find(is_it);
        entry.and_then(Self::range).ok_or_else(|| format!("has no section \"{name}\""))
    }

    /// Names and lengths of all sections.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (String, u64)> {
        self.entries.chunks_exact(ENTRY_BYTES).map(|entry| {
            let name = entry[..NAME_BYTES].split(|byte| *byte == 0).next().unwrap_or_default();
            (String::from_utf8_lossy(name).into_owned(), number_at(entry, NAME_BYTES + 8))
        })
    }

    /// A section's bytes and those of the zeros behind it.
    pub(super) fn padded(&self, section: &Range<usize>) -> Range<usize> {
        section.start..section.end.saturating_add(PADDING).min(self.bytes.len())
    }
}

/// The 8-byte number at a byte; 0 beyond the end.
pub(super) fn number_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at.wrapping_add(8));
    bytes.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut writer = SectionWriter::new(Vec::new(), HISTORY).unwrap();
        writer.start("first").unwrap();
        writer.write(b"abc").unwrap();
        writer.write(b"de").unwrap();
        assert_eq!(writer.length(), 5);
        writer.start("empty").unwrap();
        writer.start("a name of 24 characters.").unwrap();
        writer.write(&[7; 100]).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn sections_read_back() {
        let bytes = file();
        let directory = Directory::read(&bytes, HISTORY).unwrap();
        let section = |name| &bytes[directory.section(name).unwrap()];
        assert_eq!(section("first"), b"abcde");
        assert_eq!(section("empty"), b"");
        assert_eq!(section("a name of 24 characters."), [7; 100]);
        assert!(directory.section("firs").is_err() && directory.section("first ").is_err());
        let padded = directory.padded(&directory.section("first").unwrap());
        assert_eq!(bytes[padded], [&b"abcde"[..], &[0; PADDING]].concat());
        let lengths: Vec<_> = directory.lengths().collect();
        assert_eq!(lengths[0], ("first".into(), 5));
        assert_eq!(lengths[2], ("a name of 24 characters.".into(), 100));
    }

    #[test]
    fn a_damaged_directory_is_refused_or_lies_within_the_file() {
        let bytes = file();
        for length in 0..bytes.len() {
            assert!(Directory::read(&bytes[..length], HISTORY).is_err());
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                if let Ok(directory) = Directory::read(&bytes, HISTORY) {
                    for name in ["first", "empty"] {
                        let _ = directory.section(name).map(|range| bytes[range].len());
                    }
                }
            }
        }
    }
}
