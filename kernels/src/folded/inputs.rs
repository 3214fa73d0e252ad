//! A mini-batch as slices, and the chunks of rows that it is cut into.

use std::ops::Range;

use crate::addresses::Addresses;
use crate::pair_loss::LossSums;
use crate::shape::ModelShape;

/// A mini-batch's pairs and the encoder that they meet, as slices.
#[derive(Clone, Copy)]
pub struct FoldedInputs<'a> {
    /// `[U + 1]`: positives `segments[u]..segments[u + 1]` belong to unique row u.
    pub segments: &'a [i32],
    /// `[B, P]`: addresses, the positive's own first.
    pub pair_ips: Addresses<'a>,
    /// `[B, P]`: 0 where a pair does not count, else 1.
    pub mask: &'a [f32],
    /// `[num_parameters]`: the encoder, as [`ModelShape`] lays it out.
    pub parameters: &'a [f32],
    /// The encoder's shape.
    pub shape: ModelShape,
}

/// What the mini-batch gives beside the gradients of its entity rows.
#[derive(Clone, Debug, Default)]
pub struct FoldedOutputs {
    /// The published sums.
    pub sums: LossSums,
    /// `[num_parameters]`: gradients of the mean loss.
    pub parameters: Vec<f32>,
}

/// Positives of a chunk, at least: below it, adding up the chunks' sums costs more than it spreads.
pub const MIN_POSITIVES_PER_CHUNK: usize = 256;

/// Chunks that a mini-batch is cut into while their number of positives is not above 1024.
const CHUNKS: usize = 16;

impl FoldedInputs<'_> {
    /// B
    pub(super) fn num_positives(&self) -> usize {
        self.segments.last().map_or(0, |end| *end as usize)
    }

    /// P
    pub(super) fn num_pairs(&self) -> usize {
        self.mask.len() / self.num_positives().max(1)
    }

    /// The positives of a range of unique rows.
    pub(super) fn positives_of(&self, rows: &Range<usize>) -> Range<usize> {
        self.segments[rows.start] as usize..self.segments[rows.end] as usize
    }

    /// Ranges of unique rows with about as many positives each, a function of the mini-batch alone. No range
    /// crosses one of `borders`, which are ascending and end with the number of unique rows.
    pub(crate) fn chunks(&self, borders: &[usize]) -> Vec<Range<usize>> {
        let per_chunk = self.num_positives().div_ceil(CHUNKS).clamp(MIN_POSITIVES_PER_CHUNK, 1024);
        let mut chunks = Vec::new();
        let mut start = 0;
        for border in borders {
            while start < *border {
                let wanted = self.segments[start] as usize + per_chunk;
                let ends = &self.segments[start + 1..=*border];
                let len = ends.partition_point(|end| (*end as usize) < wanted) + 1;
                let end = (start + len).min(*border);
                chunks.push(start..end);
                start = end;
            }
        }
        chunks
    }
}
