//! The CPU twin: chunks of a mini-batch in parallel, and their sums.
//!
//! A mini-batch is cut into chunks of rows by its contents alone, each chunk sums its gradients of the
//! parameters in its own memory, and the chunks' sums are added in order: the result does not depend on the
//! number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::chunk::{Chunk, ChunkRows, Encoder};
use super::gradients::{ChunkSums, PaddedShape};
use super::inputs::{FoldedInputs, FoldedOutputs};
use crate::pair_loss::LossSums;
use crate::shape::ModelShape;
use crate::simd::AlignedVec;

/// Rows that were gathered; their gradients are kept.
struct GatheredRows<'a> {
    /// `[U, d]`
    rows: &'a [f32],
    first_row: usize,
    /// `[rows of the chunk, d]`
    gradients: &'a mut [f32],
    first_pair: usize,
    /// `[positives of the chunk, P]`
    logits: &'a mut [f32],
    vector_dim: usize,
}

impl ChunkRows for GatheredRows<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.vector_dim..][..self.vector_dim]
    }

    /// The rows are neighbours, which the hardware fetches by itself.
    #[inline(always)]
    fn prefetch_for_load(&self, _: usize) {}

    #[inline(always)]
    fn prefetch_for_store(&self, _: usize) {}

    #[inline(always)]
    fn see_logits(&mut self, first_pair: usize, logits: &[f32]) {
        self.logits[first_pair - self.first_pair..][..logits.len()].copy_from_slice(logits);
    }

    #[inline(always)]
    fn store(&mut self, row: usize, gradient: &[f32]) {
        let d = self.vector_dim;
        self.gradients[(row - self.first_row) * d..][..d].copy_from_slice(gradient);
    }
}

/// Chunks whose sums are held at once, each as large as the encoder's gradient.
pub const CHUNKS_AT_ONCE: usize = 32;

/// The CPU twin, from gathered rows, `[U, d]`: the logits, `[B, P]`, the gradients of the rows, `[U, d]`, and
/// the rest.
pub fn folded_on_slices(inputs: FoldedInputs<'_>, rows: &[f32]) -> (Vec<f32>, Vec<f32>, FoldedOutputs) {
    let vector_dim = inputs.shape.vector_dim;
    let (mut logits, mut gradients) = (vec![0.0; inputs.mask.len()], vec![0.0; rows.len()]);
    let (mut rest_of_logits, mut rest) = (&mut *logits, &mut *gradients);
    let mut tasks = Vec::new();
    for chunk in inputs.chunks(&[inputs.segments.len() - 1]) {
        let positives = inputs.positives_of(&chunk);
        let (of_pairs, of_rows);
        (of_pairs, rest_of_logits) = rest_of_logits.split_at_mut(positives.len() * inputs.num_pairs());
        (of_rows, rest) = rest.split_at_mut(chunk.len() * vector_dim);
        let gathered = GatheredRows {
            rows,
            first_row: chunk.start,
            gradients: of_rows,
            first_pair: positives.start * inputs.num_pairs(),
            logits: of_pairs,
            vector_dim,
        };
        tasks.push((chunk, gathered));
    }
    let outputs = run_chunks(inputs, tasks);
    (logits, gradients, outputs)
}

/// Runs chunks, which must follow each other and cover the mini-batch.
pub(crate) fn run_chunks<R: ChunkRows>(
    inputs: FoldedInputs<'_>,
    chunks: Vec<(Range<usize>, R)>,
) -> FoldedOutputs {
    let encoder = Encoder::new(&inputs);
    let mut tasks =
        chunks.into_iter().map(|(rows, entity_rows)| Chunk { inputs, encoder: &encoder, rows, entity_rows });
    let padded_shape = PaddedShape(inputs.shape);
    let mut totals = AlignedVec::zeros(padded_shape.len());
    let mut sums = LossSums::default();
    loop {
        let wave: Vec<_> = tasks.by_ref().take(CHUNKS_AT_ONCE).collect();
        if wave.is_empty() {
            break;
        }
        let chunks: Vec<ChunkSums> =
            wave.into_par_iter().with_max_len(1).map(|chunk| pulp::Arch::new().dispatch(chunk)).collect();
        chunks.iter().for_each(|chunk| sums.add(chunk.loss));
        add_up(&inputs.shape, chunks, &mut totals);
    }
    FoldedOutputs { sums, parameters: padded_shape.unpadded(&totals) }
}

/// Adds the chunks' gradients to `totals`, in their order.
fn add_up(shape: &ModelShape, chunks: Vec<ChunkSums>, totals: &mut [f32]) {
    const PER_TASK: usize = 4096;
    totals.par_chunks_mut(PER_TASK).enumerate().for_each(|(i, totals)| {
        for chunk in &chunks {
            let part = &chunk.gradients[i * PER_TASK..][..totals.len()];
            totals.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    });
    chunks.into_iter().for_each(|chunk| chunk.recycle(shape));
}
