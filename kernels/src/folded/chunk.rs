//! One chunk of a mini-batch on one thread of the CPU, forward and backward.
//!
//! The products are of blocks of rows that stay in the cache, and an address's activations live for one
//! positive's pairs only. A shuffled negative is encoded anew: eight cached rows are added faster than the row
//! of another thread's positive is fetched.

use std::ops::Range;

use pulp::Simd;

use super::gradients::{ChunkSums, PaddedShape};
use super::inputs::FoldedInputs;
use crate::first_layer::{NibbleTables, add_to_buckets};
use crate::matrix::{Panels, add_transposed, hidden_layer, multiply};
use crate::pair_loss::{PairGradients, PositivePairs, masked, pair_loss};
use crate::pool::Pool;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, dot, padded, vectors, vectors_mut};

/// The entity rows of a chunk: where they come from, and where their gradients go.
pub(crate) trait ChunkRows: Send {
    /// A unique row of the mini-batch.
    fn row(&self, row: usize) -> &[f32];

    /// Fetches a unique row, which may be past the chunk's last.
    fn prefetch_for_load(&self, row: usize);

    /// Fetches what `store` will need of a unique row beside it.
    fn prefetch_for_store(&self, row: usize);

    /// Sees the logits of pairs from `first_pair` on.
    fn see_logits(&mut self, first_pair: usize, logits: &[f32]);

    /// Takes a row's gradient of the mean loss.
    fn store(&mut self, row: usize, gradient: &[f32]);
}

/// Unique rows whose products are computed at once: a multiple of a tile's, whose operands stay in the cache.
pub const ROWS_PER_BLOCK: usize = 90;

/// Pairs whose hidden activations are kept at once where there are products of hidden layers.
const PAIRS_PER_GROUP: usize = 512;

/// What every chunk needs of the encoder, made once a step.
pub(super) struct Encoder<'a> {
    tables: NibbleTables,
    /// W_L, to go from S to dE, and its transpose, to go from E to Q.
    output: Panels,
    output_transposed: Panels,
    output_bias: &'a [f32],
    /// W_l and its transpose of the hidden layers past the first.
    hidden: Vec<(Panels, Panels)>,
    /// 1 / pairs that count
    scale: f32,
}

impl<'a> Encoder<'a> {
    pub fn new(inputs: &FoldedInputs<'a>) -> Self {
        let FoldedInputs { shape, parameters, .. } = *inputs;
        let (d, last) = (shape.vector_dim, shape.num_hidden);
        let output = &parameters[shape.weight(last)];
        let hidden = (1..last).map(|l| {
            let weight = &parameters[shape.weight(l)];
            (Panels::new(weight, [d, d]), Panels::transposed(weight, [d, d]))
        });
        Self {
            tables: NibbleTables::new(&shape, parameters),
            output: Panels::new(output, [shape.output_width(), d]),
            output_transposed: Panels::transposed(output, [d, shape.output_width()]),
            output_bias: &parameters[shape.bias(last)],
            hidden: hidden.collect(),
            scale: 1.0 / inputs.mask.iter().filter(|counts| **counts != 0.0).count() as f32,
        }
    }
}

/// Some unique rows, and the part of the outputs that is theirs.
pub(super) struct Chunk<'a, R> {
    pub inputs: FoldedInputs<'a>,
    pub encoder: &'a Encoder<'a>,
    pub rows: Range<usize>,
    pub entity_rows: R,
}

/// Memory of a chunk's blocks, used again for each.
struct Workspace {
    /// `[rows of a block, padded d]` each: entity rows and their gradients
    e: AlignedVec,
    de: AlignedVec,
    /// `[rows of a block, padded width]` each
    q: AlignedVec,
    s: AlignedVec,
    /// `[rows of a block]` each: c and G
    c: Vec<f32>,
    g: Vec<f32>,
    /// For each hidden layer `[pairs of a group, padded width]`; backward, gradients replace activations.
    hidden: Vec<AlignedVec>,
    /// `[pairs of a group]` each
    logits: Vec<f32>,
    pair_gradients: Vec<f32>,
}

impl<R: ChunkRows> pulp::WithSimd for Chunk<'_, R> {
    type Output = ChunkSums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> ChunkSums {
        let Self { inputs, encoder, rows, mut entity_rows } = self;
        let (shape, num_pairs) = (inputs.shape, inputs.num_pairs());
        let (d, padded_d) = (shape.vector_dim, padded(shape.vector_dim));
        let positives_per_group = match shape.num_hidden {
            0 | 1 => 8,
            _ => (PAIRS_PER_GROUP / num_pairs).max(1),
        };
        let mut sums = ChunkSums::zeros(&shape);
        let key = (shape, positives_per_group * num_pairs);
        let mut workspace = SPARE_WORKSPACES.take(&key, || Workspace::new(key));
        rows.clone().take(ROWS_PER_BLOCK).for_each(|row| entity_rows.prefetch_for_load(row));
        for start in rows.clone().step_by(ROWS_PER_BLOCK) {
            let block = start..(start + ROWS_PER_BLOCK).min(rows.end);
            for (i, row) in block.clone().enumerate() {
                workspace.e[i * padded_d..][..d].copy_from_slice(entity_rows.row(row));
            }
            fold_block(simd, &inputs, encoder, block.len(), &mut workspace);
            let positives = inputs.positives_of(&block);
            let mut row = block.start;
            for first in positives.clone().step_by(positives_per_group) {
                let group = first..(first + positives_per_group).min(positives.end);
                let group = Group { inputs: &inputs, encoder, block_start: block.start, positives: group };
                let pairs = group.pairs();
                let last_row = group.run(simd, row, &mut workspace, &mut sums);
                entity_rows.see_logits(pairs.start, &workspace.logits[..pairs.len()]);
                // While this block computes, its moments come, and the next one's rows.
                for row in row..last_row {
                    entity_rows.prefetch_for_store(row);
                    entity_rows.prefetch_for_load(row + ROWS_PER_BLOCK);
                }
                row = last_row;
            }
            entity_rows.prefetch_for_store(row);
            entity_rows.prefetch_for_load(row + ROWS_PER_BLOCK);
            unfold_block(simd, &inputs, encoder, block.len(), &mut workspace, &mut sums.gradients);
            for (i, row) in block.enumerate() {
                entity_rows.store(row, &workspace.de[i * padded_d..][..d]);
            }
        }
        SPARE_WORKSPACES.give(key, workspace);
        sums
    }
}

/// Of an encoder's shape and a number of pairs in a group.
static SPARE_WORKSPACES: Pool<(ModelShape, usize), Workspace> = Pool::new();

impl Workspace {
    fn new((shape, pairs_per_group): (ModelShape, usize)) -> Self {
        let (d, width) = (shape.vector_dim, padded(shape.output_width()));
        let of_block = |width: usize| AlignedVec::zeros(ROWS_PER_BLOCK * width);
        Self {
            e: of_block(padded(d)),
            de: of_block(padded(d)),
            q: AlignedVec::staggered(ROWS_PER_BLOCK * width, 2),
            s: AlignedVec::staggered(ROWS_PER_BLOCK * width, 1),
            c: vec![0.0; ROWS_PER_BLOCK],
            g: vec![0.0; ROWS_PER_BLOCK],
            hidden: (0..shape.num_hidden.max(1))
                .map(|_| AlignedVec::staggered(pairs_per_group * width, 0))
                .collect(),
            logits: vec![0.0; pairs_per_group],
            pair_gradients: vec![0.0; pairs_per_group],
        }
    }
}

/// Q and c of a block of rows, and zeros for S and G.
#[inline(always)]
fn fold_block<S: Simd>(
    simd: S,
    inputs: &FoldedInputs<'_>,
    encoder: &Encoder<'_>,
    rows: usize,
    workspace: &mut Workspace,
) {
    let (d, width) = (inputs.shape.vector_dim, encoder.tables.width());
    let Workspace { e, q, s, c, g, .. } = workspace;
    multiply(simd, e, padded(d), &encoder.output_transposed, &mut q[..rows * width]);
    for (c, e) in c.iter_mut().zip(e.chunks_exact(padded(d))).take(rows) {
        *c = dot(simd, &e[..d], encoder.output_bias);
    }
    s[..rows * width].fill(0.0);
    g[..rows].fill(0.0);
}

/// dE of a block of rows, and its part of dW_L and db_L.
#[inline(always)]
fn unfold_block<S: Simd>(
    simd: S,
    inputs: &FoldedInputs<'_>,
    encoder: &Encoder<'_>,
    rows: usize,
    workspace: &mut Workspace,
    gradients: &mut [f32],
) {
    let (shape, width) = (inputs.shape, encoder.tables.width());
    let (d, output_width) = (padded(shape.vector_dim), shape.output_width());
    let Workspace { e, de, s, g, .. } = workspace;
    multiply(simd, s, width, &encoder.output, &mut de[..rows * d]);
    let output = &mut gradients[PaddedShape(shape).rows(shape.num_hidden)];
    let (dw, db) = output.split_at_mut(output_width * d);
    add_transposed(simd, (s, width), (e, d), rows, output_width, dw);
    for ((e, de), g) in e.chunks_exact(d).zip(de.chunks_exact_mut(d)).zip(g).take(rows) {
        de.iter_mut().zip(encoder.output_bias).for_each(|(de, b)| *de += *g * b);
        db.iter_mut().zip(e).for_each(|(db, e)| *db += *g * e);
    }
}

/// Positives of one block whose pairs go through the encoder together.
struct Group<'a> {
    inputs: &'a FoldedInputs<'a>,
    encoder: &'a Encoder<'a>,
    block_start: usize,
    positives: Range<usize>,
}

impl Group<'_> {
    fn pairs(&self) -> Range<usize> {
        let num_pairs = self.inputs.num_pairs();
        self.positives.start * num_pairs..self.positives.end * num_pairs
    }

    /// Forward and backward; `row` is the unique row of the first positive or one before it, and the last
    /// positive's is returned.
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, row: usize, workspace: &mut Workspace, sums: &mut ChunkSums) -> usize {
        let num_hidden = self.inputs.shape.num_hidden;
        let len = self.encoder.tables.width() / S::F32_LANES;
        let ips = self.inputs.pair_ips.slice(self.pairs());
        let hidden = &mut workspace.hidden;
        for (ip, h) in ips.iter().zip(vectors_mut::<S>(&mut hidden[0]).chunks_exact_mut(len)) {
            self.encoder.tables.encode(simd, ip, h);
        }
        (1..num_hidden).for_each(|l| self.hidden_forward(simd, l, ips.len(), hidden));
        let last_row = self.losses(simd, row, workspace, sums);
        let hidden = &mut workspace.hidden;
        (1..num_hidden).rev().for_each(|l| self.hidden_backward(simd, l, ips.len(), hidden, sums));
        if num_hidden > 0 {
            let shape = self.inputs.shape;
            let buckets = &mut sums.gradients[PaddedShape(shape).buckets()];
            for (ip, gradient) in ips.iter().zip(vectors::<S>(&hidden[0]).chunks_exact(len)) {
                add_to_buckets::<S>(simd, buckets, shape.families, ip, gradient);
            }
        }
        last_row
    }

    /// The losses of the pairs and their gradients, which replace the last activations; rows as in `run`.
    #[inline(always)]
    fn losses<S: Simd>(
        &self,
        simd: S,
        mut row: usize,
        workspace: &mut Workspace,
        sums: &mut ChunkSums,
    ) -> usize {
        let (inputs, num_pairs) = (self.inputs, self.inputs.num_pairs());
        let len = self.encoder.tables.width() / S::F32_LANES;
        let mask = &inputs.mask[self.pairs()];
        let Workspace { q, s, c, g, hidden, logits, pair_gradients, .. } = workspace;
        let last = vectors_mut::<S>(hidden.last_mut().expect("one layer at least"));
        for (i, positive) in self.positives.clone().enumerate() {
            while inputs.segments[row + 1] as usize <= positive {
                row += 1;
            }
            let r = row - self.block_start;
            let of_positive = i * num_pairs..(i + 1) * num_pairs;
            let gradients = &mut pair_gradients[of_positive.clone()];
            let pairs = PositivePairs {
                q: &vectors::<S>(q)[r * len..][..len],
                c: c[r],
                mask: &mask[of_positive.clone()],
                scale: self.encoder.scale,
            };
            let out = PairGradients {
                hidden: &mut last[i * num_pairs * len..][..num_pairs * len],
                s: &mut vectors_mut::<S>(s)[r * len..][..len],
                logits: &mut logits[of_positive],
                gradients: &mut *gradients,
            };
            sums.loss.add(pair_loss(simd, pairs, out));
            g[r] += gradients.iter().sum::<f32>();
        }
        row
    }

    /// Layer `l`: from the activations `hidden[l - 1]` to `hidden[l]`.
    #[inline(always)]
    fn hidden_forward<S: Simd>(&self, simd: S, l: usize, num: usize, hidden: &mut [AlignedVec]) {
        let (shape, width) = (self.inputs.shape, self.encoder.tables.width());
        let (below, above) = hidden.split_at_mut(l);
        let (weight, bias) = (&self.encoder.hidden[l - 1].0, &self.inputs.parameters[shape.bias(l)]);
        hidden_layer(simd, &below[l - 1], weight, bias, &mut above[0][..num * width]);
    }

    /// Layer `l`: from the gradients in `hidden[l]` to those of the activations `hidden[l - 1]`, which they
    /// replace, and of the layer's parameters.
    #[inline(always)]
    fn hidden_backward<S: Simd>(
        &self,
        simd: S,
        l: usize,
        num: usize,
        hidden: &mut [AlignedVec],
        sums: &mut ChunkSums,
    ) {
        let (shape, width) = (self.inputs.shape, self.encoder.tables.width());
        let (below, above) = hidden.split_at_mut(l);
        let (activations, gradients) = (&mut below[l - 1][..num * width], &above[0][..num * width]);
        let (dw, db) = sums.gradients[PaddedShape(shape).rows(l)].split_at_mut(shape.vector_dim * width);
        add_transposed(simd, (activations, width), (gradients, width), num, shape.vector_dim, dw);
        for row in gradients.chunks_exact(width) {
            db.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
        }
        let mut gradients_below = AlignedVec::zeros(num * width);
        multiply(simd, gradients, width, &self.encoder.hidden[l - 1].1, &mut gradients_below);
        let activations = vectors_mut::<S>(activations);
        for (h, gradient) in activations.iter_mut().zip(vectors::<S>(&gradients_below)) {
            *h = masked(simd, *h, *gradient);
        }
    }
}
