//! Accounts of a run of events in a temporary file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::account::{Account, Heading};
use super::assemble::for_each_part;
use super::bits::{BitReader, PADDING};
use super::clock::Clock;
use super::container::number_at;
use super::merge::AccountSource;
use super::part::PartSource;
use crate::{Error, Result};

/// Bytes of the file that are written at once.
const BUFFER_BYTES: usize = 1 << 18;

/// The written accounts of all ranges of hashes.
pub(super) struct SpilledRun {
    file: File,
    folder: PathBuf,
    clock: Clock,
    places: Vec<Place>,
}

/// Where the accounts of one range of hashes lie: their hashes, the positions of their headings, and their
/// blocks.
struct Place {
    offset: u64,
    num_accounts: usize,
    blocks_length: usize,
}

impl SpilledRun {
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be written.
    pub(super) fn write(run: &impl PartSource, clock: Clock, folder: &Path) -> Result<Self> {
        let io = |result: io::Result<()>| result.map_err(Error::io("write a temporary file in", folder));
        let file = tempfile::tempfile_in(folder).map_err(Error::io("create a temporary file in", folder))?;
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, &file);
        let mut places = Vec::new();
        let mut offset = 0;
        for_each_part(run, clock, None, |part| {
            let (num_accounts, blocks_length) = (part.hashes.len(), part.blocks.len());
            places.push(Place { offset, num_accounts, blocks_length });
            for number in part.hashes.iter().chain(&part.positions) {
                io(out.write_all(&number.to_le_bytes()))?;
            }
            offset += (16 * num_accounts + blocks_length) as u64;
            io(out.write_all(&part.blocks))
        })?;
        io(out.flush())?;
        drop(out);
        Ok(Self { file, folder: folder.to_path_buf(), clock, places })
    }
}

impl AccountSource for SpilledRun {
    fn accounts(&self, partition: usize) -> Result<Vec<Account>> {
        let Place { offset, num_accounts, blocks_length } = self.places[partition];
        let mut bytes = vec![0; 16 * num_accounts + blocks_length + PADDING];
        let length = bytes.len() - PADDING;
        let read = self.file.read_exact_at(&mut bytes[..length], offset);
        read.map_err(Error::io("read a temporary file in", &self.folder))?;
        let (table, blocks) = bytes.split_at(16 * num_accounts);
        let (hashes, positions) = table.split_at(8 * num_accounts);
        let mut start = 0;
        let accounts = (0..num_accounts).map(|index| {
            let at = number_at(positions, 8 * index) as usize;
            let heading = Heading::read(BitReader::new(blocks), at, self.clock);
            let account = heading.read_all(number_at(hashes, 8 * index), start, self.clock);
            start = at + 1;
            account
        });
        Ok(accounts.collect())
    }

    fn clock(&self) -> Clock {
        self.clock
    }
}
