//! Sorts the uses of addresses, in temporary files where they do not fit the memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::population::{NUM_RANGES, Use};
use super::population_write::same_group;
use crate::{Error, Result};

const BUFFER_BYTES: usize = 1 << 18;

/// Uses of one range that one core sorts.
const MAX_SORTED_ALONE: usize = 1 << 17;

/// Uses in the order of their ranges of addresses.
#[derive(Default)]
pub(super) struct RangedUses {
    uses: Vec<Use>,
    /// Where each range ends.
    ends: Vec<u32>,
}

impl RangedUses {
    /// Orders fewer than 2^32 uses.
    pub(super) fn new(uses: &[Use]) -> Self {
        let Some(first) = uses.first() else { return Self::default() };
        let mut ends = vec![0; NUM_RANGES];
        for once in uses {
            ends[once.range()] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            // Where the range starts, until its uses are put there.
            let num = std::mem::replace(end, start);
            start += num;
        }
        let mut ordered = vec![*first; uses.len()];
        for once in uses {
            let place = &mut ends[once.range()];
            ordered[*place as usize] = *once;
            *place += 1;
        }
        Self { uses: ordered, ends }
    }

    fn range(&self, range: usize) -> &[Use] {
        let start = range.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.uses[start as usize..self.ends[range] as usize]
    }
}

/// Uses that are sorted together where ranges are small.
const BATCH_USES: usize = 1 << 20;

/// Uses in memory, of which a range is sorted when its turn comes: all of them sorted at once would be a copy.
#[derive(Default)]
pub(super) struct PendingUses {
    parts: Vec<RangedUses>,
    num_uses: usize,
    next_range: usize,
}

impl PendingUses {
    fn push(&mut self, uses: RangedUses) {
        self.num_uses += uses.uses.len();
        self.parts.push(uses);
    }

    /// The sorted uses of the next ranges, a list each; none behind the last range.
    fn next_batch(&mut self) -> Vec<Vec<Use>> {
        let len = |range: usize| self.parts.iter().map(|uses| uses.range(range).len()).sum::<usize>();
        let start = self.next_range;
        let mut num_uses = 0;
        while self.next_range < NUM_RANGES && num_uses < BATCH_USES {
            num_uses += len(self.next_range);
            self.next_range += 1;
        }
        let sorted = |range: usize| {
            let parts: Vec<_> = self.parts.iter().map(|uses| uses.range(range)).collect();
            let mut uses = parts.concat();
            match uses.len() {
                ..=MAX_SORTED_ALONE => uses.sort_unstable(),
                _ => uses.par_sort_unstable(),
            }
            uses
        };
        (start..self.next_range).into_par_iter().map(sorted).filter(|uses| !uses.is_empty()).collect()
    }
}

/// Takes uses in any order.
pub(super) struct UseSorter {
    max_uses: usize,
    folder: PathBuf,
    pending: PendingUses,
    files: Vec<File>,
}

impl UseSorter {
    pub(super) fn new(memory_bytes: usize, folder: &Path) -> Self {
        let max_uses = (memory_bytes / Use::NUM_BYTES).max(1);
        Self { max_uses, folder: folder.to_path_buf(), pending: PendingUses::default(), files: Vec::new() }
    }

    pub(super) fn push(&mut self, uses: RangedUses) -> Result<()> {
        if uses.uses.is_empty() {
            return Ok(());
        }
        if self.pending.num_uses > 0 && self.pending.num_uses + uses.uses.len() > self.max_uses {
            let pending = std::mem::take(&mut self.pending);
            let file = write_temporary(pending, &self.folder).map_err(Error::io("write", &self.folder))?;
            self.files.push(file);
        }
        self.pending.push(uses);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<SortedUses> {
        if self.files.is_empty() {
            return Ok(SortedUses::InMemory(self.pending));
        }
        let mut sources = vec![Source::Memory { uses: Vec::new().into_iter().flatten(), rest: self.pending }];
        for file in self.files {
            sources.push(Source::File(BufReader::with_capacity(BUFFER_BYTES, file)));
        }
        let mut sorted = MergedUses {
            max_uses: self.max_uses.min(BATCH_USES),
            folder: self.folder,
            sources,
            next: BinaryHeap::new(),
            rest: Vec::new(),
        };
        for source in 0..sorted.sources.len() {
            sorted.advance(source)?;
        }
        Ok(SortedUses::Merged(sorted))
    }
}

fn write_temporary(mut uses: PendingUses, folder: &Path) -> io::Result<File> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile_in(folder)?);
    loop {
        let batch = uses.next_batch();
        if batch.is_empty() {
            break;
        }
        batch.iter().flatten().try_for_each(|once| out.write_all(&once.to_bytes()))?;
    }
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

enum Source {
    Memory { uses: std::iter::Flatten<std::vec::IntoIter<Vec<Use>>>, rest: PendingUses },
    File(BufReader<File>),
}

impl Source {
    fn next(&mut self) -> io::Result<Option<Use>> {
        match self {
            Source::Memory { uses, rest } => Ok(uses.next().or_else(|| {
                *uses = rest.next_batch().into_iter().flatten();
                uses.next()
            })),
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
pub(super) enum SortedUses {
    InMemory(PendingUses),
    Merged(MergedUses),
}

impl SortedUses {
    /// The next uses, in lists of whole groups in the sense of [`same_group`]; none behind the last.
    pub(super) fn next_batch(&mut self) -> Result<Vec<Vec<Use>>> {
        match self {
            Self::InMemory(uses) => Ok(uses.next_batch()),
            Self::Merged(merged) => Ok(merged.next_batch()?.into_iter().collect()),
        }
    }
}

/// Merges sorted uses of several sources.
pub(super) struct MergedUses {
    max_uses: usize,
    folder: PathBuf,
    sources: Vec<Source>,
    /// The next use of each source.
    next: BinaryHeap<Reverse<(Use, usize)>>,
    /// Uses of a group that was not complete.
    rest: Vec<Use>,
}

impl MergedUses {
    fn advance(&mut self, source: usize) -> Result<()> {
        let next = self.sources[source].next().map_err(Error::io("read", &self.folder))?;
        self.next.extend(next.map(|next| Reverse((next, source))));
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Vec<Use>>> {
        let mut batch = std::mem::take(&mut self.rest);
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
