//! Finds an account's block by the account's hash.
//!
//! Three sections: the hashes in ascending order; the byte of the heading of each block, in as many bits as
//! the blocks' length has; and for each value of the first bits of a hash the number of hashes below, so that
//! a search begins near its end. Hashes spread evenly.

use std::ops::Range;

use bytes::Bytes;

use super::bits::{BitReader, BitWriter, width};
use super::container::number_at;
use super::prefetch::prefetch;

/// Accounts for each start, on average, at least.
const ACCOUNTS_A_START: usize = 4;

/// The bytes of the three sections.
pub(super) struct TableBytes {
    pub(super) starts: Vec<u8>,
    pub(super) positions: Vec<u8>,
    pub(super) hashes: Vec<u8>,
}

/// The first `num_bits` of a hash.
#[inline(always)]
fn first_bits(hash: u64, num_bits: u32) -> usize {
    hash.checked_shr(u64::BITS - num_bits).unwrap_or(0) as usize
}

/// Writes the table of ascending `hashes`; `blocks_length` is beyond every position.
pub(super) fn write_table(hashes: &[u64], positions: &[u64], blocks_length: u64) -> TableBytes {
    let num_bits = (hashes.len() / ACCOUNTS_A_START).checked_ilog2().unwrap_or(0);
    let mut starts = Vec::with_capacity(4 << num_bits);
    let mut next = 0;
    for first in 0..=1_usize << num_bits {
        let rest = &hashes[next..];
        next += rest.iter().take_while(|hash| first_bits(**hash, num_bits) < first).count();
        starts.extend_from_slice(&(next as u32).to_le_bytes());
    }
    let mut packed = BitWriter::default();
    positions.iter().for_each(|position| packed.push(*position, width(blocks_length)));
    let hashes = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    TableBytes { starts, positions: packed.finish(), hashes }
}

/// A table that is looked up.
pub(super) struct Table {
    starts: Bytes,
    hashes: Bytes,
    /// With the zeros behind them.
    positions: Bytes,
    num_bits: u32,
    position_width: u32,
}

impl Table {
    /// Checks all of a table.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence about the history.
    pub(super) fn read(
        starts: Bytes,
        hashes: Bytes,
        positions: Bytes,
        blocks_length: usize,
    ) -> Result<Self, String> {
        let num_starts = starts.len() / 4;
        let is_whole = starts.len().is_multiple_of(4) && hashes.len().is_multiple_of(8);
        if !is_whole || num_starts < 2 || !(num_starts - 1).is_power_of_two() {
            return Err("has a table of accounts of another length than it should have".into());
        }
        let num_bits = (num_starts - 1).ilog2();
        let position_width = width(blocks_length as u64);
        let table = Self { starts, hashes, positions, num_bits, position_width };
        let is_in_order = |index: usize| {
            let is_after = index == 0
                || table.hash(index - 1) < table.hash(index)
                    && table.position(index - 1) < table.position(index);
            is_after
                && table.position(index) < blocks_length
                && table.candidates(table.hash(index)).contains(&index)
        };
        if !(0..table.num_accounts()).all(is_in_order) {
            return Err("has a table of accounts that is not in order".into());
        }
        Ok(table)
    }

    pub(super) fn num_accounts(&self) -> usize {
        self.hashes.len() / 8
    }

    /// Index of an account.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64) -> Option<usize> {
        let Range { mut start, mut end } = self.candidates(hash);
        while start < end {
            let middle = start.midpoint(end);
            match self.hash(middle) {
                found if found == hash => return Some(middle),
                found if found < hash => start = middle + 1,
                _ => end = middle,
            }
        }
        None
    }

    /// Has the CPU fetch what [`Table::candidates`] reads.
    #[inline(always)]
    pub(super) fn prefetch_start(&self, hash: u64) {
        prefetch(&self.starts, 4 * first_bits(hash, self.num_bits));
    }

    /// Has the CPU fetch the hashes that [`Table::find`] compares.
    #[inline(always)]
    pub(super) fn prefetch_candidates(&self, hash: u64) {
        prefetch(&self.hashes, 8 * self.candidates(hash).start);
    }

    /// Has the CPU fetch what [`Table::position`] reads.
    #[inline(always)]
    pub(super) fn prefetch_position(&self, index: usize) {
        prefetch(&self.positions, index * self.position_width as usize / 8);
    }

    /// Index of the first account of at least this hash.
    pub(super) fn lower_bound(&self, hash: u64) -> usize {
        let (mut start, mut end) = (0, self.num_accounts());
        while start < end {
            let middle = start.midpoint(end);
            if self.hash(middle) < hash { start = middle + 1 } else { end = middle }
        }
        start
    }

    /// Indices of all accounts with the same first bits.
    #[inline(always)]
    pub(super) fn candidates(&self, hash: u64) -> Range<usize> {
        let first = first_bits(hash, self.num_bits);
        self.start(first)..self.start(first + 1)
    }

    #[inline(always)]
    fn start(&self, first: usize) -> usize {
        let start = self.starts.get(4 * first..4 * first + 4);
        start.map_or(0, |start| u32::from_le_bytes(start.try_into().expect("four bytes")) as usize)
    }

    #[inline(always)]
    pub(super) fn hash(&self, index: usize) -> u64 {
        number_at(&self.hashes, 8 * index)
    }

    /// The byte at which an account's heading starts.
    #[inline(always)]
    pub(super) fn position(&self, index: usize) -> usize {
        BitReader::new(&self.positions).narrow(index * self.position_width as usize, self.position_width)
            as usize
    }

    /// The byte before which nothing of the account's block lies.
    #[inline(always)]
    pub(super) fn block_start(&self, index: usize) -> usize {
        // Behind the start of the heading before it.
        index.checked_sub(1).map_or(0, |before| self.position(before) + 1)
    }
}
