//! Sorts the uses of addresses, in temporary files where they do not fit the memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::population::Use;
use super::population_write::same_group;
use crate::{Error, Result};

const BUFFER_BYTES: usize = 1 << 18;

/// Takes uses in any order.
pub(super) struct UseSorter {
    max_uses: usize,
    folder: PathBuf,
    pending: Vec<Vec<Use>>,
    num_pending: usize,
    files: Vec<File>,
}

impl UseSorter {
    pub(super) fn new(memory_bytes: usize, folder: &Path) -> Self {
        let max_uses = (memory_bytes / Use::NUM_BYTES).max(1);
        Self {
            max_uses,
            folder: folder.to_path_buf(),
            pending: Vec::new(),
            num_pending: 0,
            files: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, uses: Vec<Use>) -> Result<()> {
        if self.num_pending > 0 && self.num_pending + uses.len() > self.max_uses {
            let sorted = self.take_sorted();
            let file = write_temporary(&sorted, &self.folder).map_err(Error::io("write", &self.folder))?;
            self.files.push(file);
        }
        self.num_pending += uses.len();
        self.pending.push(uses);
        Ok(())
    }

    fn take_sorted(&mut self) -> Vec<Use> {
        let mut sorted = std::mem::take(&mut self.pending).concat();
        self.num_pending = 0;
        sorted.par_sort_unstable();
        sorted
    }

    pub(super) fn finish(mut self) -> Result<SortedUses> {
        let last = self.take_sorted();
        let mut sources = vec![Source::Memory(last.into_iter())];
        for file in self.files {
            sources.push(Source::File(BufReader::with_capacity(BUFFER_BYTES, file)));
        }
        let mut sorted = SortedUses {
            max_uses: self.max_uses,
            folder: self.folder,
            sources,
            next: BinaryHeap::new(),
            rest: Vec::new(),
        };
        for source in 0..sorted.sources.len() {
            sorted.advance(source)?;
        }
        Ok(sorted)
    }
}

fn write_temporary(uses: &[Use], folder: &Path) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile_in(folder)?);
    uses.iter().try_for_each(|once| out.write_all(&once.to_bytes()))?;
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

enum Source {
    Memory(std::vec::IntoIter<Use>),
    File(BufReader<File>),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Use>> {
        match self {
            Source::Memory(uses) => Ok(uses.next()),
            Source::File(file) => {
                let mut bytes = [0; Use::NUM_BYTES];
                match file.read_exact(&mut bytes) {
                    Ok(()) => Ok(Some(Use::from_bytes(bytes))),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

/// Yields uses in ascending order.
pub(super) struct SortedUses {
    max_uses: usize,
    folder: PathBuf,
    sources: Vec<Source>,
    /// The next use of each source.
    next: BinaryHeap<Reverse<(Use, usize)>>,
    /// Uses of a group that was not complete.
    rest: Vec<Use>,
}

impl SortedUses {
    fn advance(&mut self, source: usize) -> Result<()> {
        let next = self.sources[source].next().map_err(Error::io("read", &self.folder))?;
        self.next.extend(next.map(|next| Reverse((next, source))));
        Ok(())
    }

    /// The next uses: whole groups in the sense of [`same_group`].
    pub(super) fn next_batch(&mut self) -> Result<Option<Vec<Use>>> {
        let mut batch = std::mem::take(&mut self.rest);
        if let [Source::Memory(uses)] = self.sources.as_mut_slice() {
            // All are in memory: the first one waits apart.
            batch.extend(self.next.drain().map(|Reverse((first, _))| first));
            batch.extend(uses);
            return Ok((!batch.is_empty()).then_some(batch));
        }
        while let Some(Reverse((next, source))) = self.next.pop() {
            let is_full = batch.len() >= self.max_uses;
            self.advance(source)?;
            let ends_group = batch.last().is_some_and(|last| !same_group(*last, next));
            if is_full && ends_group {
                self.rest.push(next);
                return Ok(Some(batch));
            }
            batch.push(next);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
