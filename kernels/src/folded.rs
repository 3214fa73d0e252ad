//! The gradients of one mini-batch in the folded form.
//!
//! ```text
//! h_0 = bits(ip)        h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L       v = h_L W_L + b_L
//! usual = e · v + m = (W_L e) · h_L + e · b_L + m = q · h_L + c + m         m: as in `memory`
//! logit = usual, or common + ln(exp(usual) + exp(elsewhere))              as in `elsewhere`
//!
//! Q  = E W_Lᵀ,  c = E b_L                              E [U, d]: the mini-batch's unique entity rows
//! per row, over all its pairs p:  g_p, s, G as in `pair_loss`
//! dE = S W_L + G b_Lᵀ,   dW_L = Sᵀ E,   db_L = Eᵀ G,   dcells: g_p in each cell of its pair
//! dh_L = g_p q where h_L > 0, and down the hidden layers as usual; the first layer as in `first_layer`
//! ```
//!
//! The output layer is linear, so it is folded into the entity instead of being applied to every address: the
//! three products with W_L are of U rows, however many pairs there are. 6 d² FLOP a positive for them, against
//! 6 d² P for the encoder's output layer alone in the plain form.
//!
//! On the CPU a mini-batch is cut into chunks of rows by its contents alone, each chunk sums its gradients of
//! the parameters in its own memory, and the chunks' sums are added in order: the result does not depend on
//! the number of threads. Within a chunk the products are of blocks of rows that stay in the cache, and an
//! address's activations live for one positive's pairs only. A shuffled negative is encoded anew: eight
//! cached rows are added faster than the row of another thread's positive is fetched.

use std::ops::Range;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use pulp::Simd;
use rayon::prelude::*;

use crate::elsewhere::{elsewhere, row_cell};
use crate::first_layer::{NibbleTables, add_to_buckets, fold_buckets, num_buckets};
use crate::matrix::{Panels, add_transposed, hidden_layer, multiply};
use crate::pair_loss::{LossSums, masked, pair_loss};
use crate::pool::Pool;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, dot, padded, vectors, vectors_mut};

/// A mini-batch's pairs and the encoder that they meet, as slices.
#[derive(Clone, Copy)]
pub struct FoldedInputs<'a> {
    /// `[U + 1]`: positives `segments[u]..segments[u + 1]` belong to unique row u.
    pub segments: &'a [i32],
    /// `[B]`: the tags of the positives' entities.
    pub tags: &'a [u32],
    /// `[B, P]`: addresses, the positive's own first.
    pub pair_ips: &'a [u32],
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

/// The entity rows of a chunk: where they come from, and where their gradients go.
pub(crate) trait ChunkRows: Send {
    /// A unique row of the mini-batch: its vector, and its cells behind it.
    fn row(&self, row: usize) -> &[f32];

    /// Fetches a unique row, which may be past the chunk's last.
    fn prefetch_for_load(&self, row: usize);

    /// Fetches what `store` will need of a unique row beside it.
    fn prefetch_for_store(&self, row: usize);

    /// Sees the logits of pairs from `first_pair` on.
    fn see_logits(&mut self, first_pair: usize, logits: &[f32]);

    /// Takes a row's gradients of the mean loss: of its vector and of its cells.
    fn store(&mut self, row: usize, vector: &[f32], cells: &[f32]);
}

/// Rows that were gathered; their gradients are kept.
struct GatheredRows<'a> {
    /// `[U, d + cells]`
    rows: &'a [f32],
    first_row: usize,
    /// `[rows of the chunk, d + cells]`
    gradients: &'a mut [f32],
    first_pair: usize,
    /// `[positives of the chunk, P]`
    logits: &'a mut [f32],
    shape: ModelShape,
}

impl ChunkRows for GatheredRows<'_> {
    #[inline(always)]
    fn row(&self, row: usize) -> &[f32] {
        let width = self.shape.row_width();
        &self.rows[row * width..][..width]
    }

    /// They are neighbours: the hardware sees it.
    #[inline(always)]
    fn prefetch_for_load(&self, _: usize) {}

    #[inline(always)]
    fn prefetch_for_store(&self, _: usize) {}

    #[inline(always)]
    fn see_logits(&mut self, first_pair: usize, logits: &[f32]) {
        self.logits[first_pair - self.first_pair..][..logits.len()].copy_from_slice(logits);
    }

    #[inline(always)]
    fn store(&mut self, row: usize, vector: &[f32], cells: &[f32]) {
        let width = self.shape.row_width();
        let gradients = &mut self.gradients[(row - self.first_row) * width..][..width];
        let (of_vector, of_cells) = gradients.split_at_mut(self.shape.vector_dim);
        of_vector.copy_from_slice(vector);
        of_cells.copy_from_slice(cells);
    }
}

/// Unique rows whose products are made at once: a multiple of a tile's, whose operands stay in the cache.
pub const ROWS_PER_BLOCK: usize = 90;

/// Pairs whose hidden activations are kept at once where there are products of hidden layers.
const PAIRS_PER_GROUP: usize = 512;

/// Positives of a chunk, at least: below it, adding up the chunks' sums costs more than it spreads.
pub const MIN_POSITIVES_PER_CHUNK: usize = 256;

/// Chunks whose sums are held at once, each as large as the encoder's gradient.
pub const CHUNKS_AT_ONCE: usize = 32;

/// Chunks that a mini-batch is cut into while their number of positives is not above 1024.
const CHUNKS: usize = 16;

impl FoldedInputs<'_> {
    fn num_positives(&self) -> usize {
        self.segments.last().map_or(0, |end| *end as usize)
    }

    fn num_pairs(&self) -> usize {
        self.mask.len() / self.num_positives().max(1)
    }

    fn positives_of(&self, rows: &Range<usize>) -> Range<usize> {
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

/// The CPU twin, from gathered rows `[U, d + cells]`: the logits, `[B, P]`, the gradients of the rows, `[U, d + cells]`,
/// and the rest.
pub fn folded_on_slices(inputs: FoldedInputs<'_>, rows: &[f32]) -> (Vec<f32>, Vec<f32>, FoldedOutputs) {
    let width = inputs.shape.row_width();
    let (mut logits, mut gradients) = (vec![0.0; inputs.mask.len()], vec![0.0; rows.len()]);
    let (mut rest_of_logits, mut rest) = (&mut *logits, &mut *gradients);
    let mut tasks = Vec::new();
    for chunk in inputs.chunks(&[inputs.segments.len() - 1]) {
        let positives = inputs.positives_of(&chunk);
        let (of_pairs, of_rows);
        (of_pairs, rest_of_logits) = rest_of_logits.split_at_mut(positives.len() * inputs.num_pairs());
        (of_rows, rest) = rest.split_at_mut(chunk.len() * width);
        let gathered = GatheredRows {
            rows,
            first_row: chunk.start,
            gradients: of_rows,
            first_pair: positives.start * inputs.num_pairs(),
            logits: of_pairs,
            shape: inputs.shape,
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
    let tasks =
        chunks.into_iter().map(|(rows, entity_rows)| Chunk { inputs, encoder: &encoder, rows, entity_rows });
    let mut totals = AlignedVec::zeros(PaddedShape(inputs.shape).len());
    let mut sums = LossSums::default();
    let mut elsewhere = Vec::new();
    let mut tasks = tasks;
    loop {
        let wave: Vec<_> = tasks.by_ref().take(CHUNKS_AT_ONCE).collect();
        if wave.is_empty() {
            break;
        }
        let mut chunks: Vec<ChunkSums> =
            wave.into_par_iter().with_max_len(1).map(|chunk| pulp::Arch::new().dispatch(chunk)).collect();
        chunks.iter().for_each(|chunk| sums.add(chunk.loss));
        elsewhere.extend(chunks.iter_mut().map(|chunk| std::mem::take(&mut chunk.elsewhere)));
        add_up(&inputs.shape, chunks, &mut totals);
    }
    let mut parameters = unpadded(&inputs.shape, &totals);
    // Chunks follow each other, so theirs are the gradients of all pairs in order.
    let pairs = inputs.pair_ips.iter().copied().zip(elsewhere.iter().flatten().copied());
    inputs.shape.elsewhere.add_gradients(pairs, &mut parameters[inputs.shape.prefix_weights()]);
    FoldedOutputs { sums, parameters }
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
    chunks.into_iter().for_each(|chunk| SPARE_GRADIENTS.give(*shape, chunk.gradients));
}

/// The parameters' gradients as the encoder lays them out.
fn unpadded(shape: &ModelShape, totals: &[f32]) -> Vec<f32> {
    let padded_shape = PaddedShape(*shape);
    let mut parameters = vec![0.0; shape.num_parameters()];
    for l in padded_shape.products() {
        // Weights and biases are rows of one matrix.
        let rows = &mut parameters[shape.weight(l).start..shape.bias(l).end];
        let padded_rows = totals[padded_shape.rows(l)].chunks_exact(padded(shape.vector_dim));
        for (row, padded_row) in rows.chunks_exact_mut(shape.vector_dim).zip(padded_rows) {
            row.copy_from_slice(&padded_row[..shape.vector_dim]);
        }
    }
    if shape.num_hidden > 0 {
        let (weight, bias) = parameters[..shape.bias(0).end].split_at_mut(shape.weight(0).end);
        fold_buckets(&totals[padded_shape.buckets()], weight, bias);
    }
    parameters
}

/// How a chunk's gradients of the parameters lie: rows padded to whole vectors; the first layer's, where it has
/// ReLUs behind it, as buckets.
struct PaddedShape(ModelShape);

impl PaddedShape {
    /// The layers whose gradients are products.
    fn products(&self) -> Range<usize> {
        self.0.num_hidden.min(1)..self.0.num_hidden + 1
    }

    fn buckets(&self) -> Range<usize> {
        0..if self.0.num_hidden > 0 { num_buckets(padded(self.0.vector_dim)) } else { 0 }
    }

    /// Weights and, behind them, biases of layer `l`.
    fn rows(&self, l: usize) -> Range<usize> {
        let len = (self.0.layer_shape(l)[0] + 1) * padded(self.0.vector_dim);
        let start = self.buckets().end + (l - self.products().start) * len;
        start..start + len
    }

    fn len(&self) -> usize {
        self.rows(self.0.num_hidden).end
    }
}

/// What every chunk needs of the encoder, made once a step.
struct Encoder<'a> {
    tables: NibbleTables,
    /// W_L, to go from S to dE, and its transpose, to go from E to Q.
    output: Panels,
    output_transposed: Panels,
    output_bias: &'a [f32],
    /// Of `elsewhere`.
    prefix_weights: &'a [f32],
    /// W_l and its transpose of the hidden layers past the first.
    hidden: Vec<(Panels, Panels)>,
    /// 1 / pairs that count
    scale: f32,
}

impl<'a> Encoder<'a> {
    fn new(inputs: &FoldedInputs<'a>) -> Self {
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
            prefix_weights: &parameters[shape.prefix_weights()],
            hidden: hidden.collect(),
            scale: 1.0 / inputs.mask.iter().filter(|counts| **counts != 0.0).count() as f32,
        }
    }
}

/// Loss and gradients of the parameters, summed over a chunk.
struct ChunkSums {
    loss: LossSums,
    /// As [`PaddedShape`] says.
    gradients: AlignedVec,
    /// `[pairs of the chunk]`, where prefixes are learned: `elsewhere`, and then the gradients of `common`.
    elsewhere: Vec<f32>,
}

static SPARE_GRADIENTS: Pool<ModelShape, AlignedVec> = Pool::new();

impl ChunkSums {
    fn zeros(shape: &ModelShape) -> Self {
        let mut gradients =
            SPARE_GRADIENTS.take(shape, || AlignedVec::staggered(PaddedShape(*shape).len(), 0));
        gradients.fill(0.0);
        Self { loss: LossSums::default(), gradients, elsewhere: Vec::new() }
    }
}

/// Some unique rows, and the part of the outputs that is theirs.
struct Chunk<'a, R> {
    inputs: FoldedInputs<'a>,
    encoder: &'a Encoder<'a>,
    rows: Range<usize>,
    entity_rows: R,
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
    /// `[rows of a block, cells]` each: cells and their gradients
    cells: Vec<f32>,
    cell_gradients: Vec<f32>,
    /// `[pairs of a group]`: c, the memory's sum, and how common the address is
    biases: Vec<f32>,
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
        let (shape, num_pairs, num_cells) = (inputs.shape, inputs.num_pairs(), inputs.shape.num_cells());
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
                let (vector, cells) = entity_rows.row(row).split_at(shape.vector_dim);
                workspace.e[i * padded(shape.vector_dim)..][..shape.vector_dim].copy_from_slice(vector);
                workspace.cells[i * num_cells..][..num_cells].copy_from_slice(cells);
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
                let de = &workspace.de[i * padded(shape.vector_dim)..][..shape.vector_dim];
                entity_rows.store(row, de, &workspace.cell_gradients[i * num_cells..][..num_cells]);
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
            cells: vec![0.0; ROWS_PER_BLOCK * shape.num_cells()],
            cell_gradients: vec![0.0; ROWS_PER_BLOCK * shape.num_cells()],
            biases: vec![0.0; pairs_per_group],
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
    let Workspace { e, q, s, c, g, cell_gradients, .. } = workspace;
    multiply(simd, e, padded(d), &encoder.output_transposed, &mut q[..rows * width]);
    for (c, e) in c.iter_mut().zip(e.chunks_exact(padded(d))).take(rows) {
        *c = dot(simd, &e[..d], encoder.output_bias);
    }
    s[..rows * width].fill(0.0);
    g[..rows].fill(0.0);
    cell_gradients[..rows * inputs.shape.num_cells()].fill(0.0);
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
    fn run<S: Simd>(
        &self,
        simd: S,
        mut row: usize,
        workspace: &mut Workspace,
        sums: &mut ChunkSums,
    ) -> usize {
        let (inputs, num_pairs) = (self.inputs, self.inputs.num_pairs());
        let num_hidden = inputs.shape.num_hidden;
        let width = self.encoder.tables.width();
        let len = width / S::F32_LANES;
        let pairs = self.pairs();
        let ips = &inputs.pair_ips[pairs.clone()];
        let Workspace { q, s, c, g, cells, cell_gradients, biases, hidden, logits, pair_gradients, .. } =
            workspace;
        let ModelShape { memory, elsewhere: prefixes, .. } = inputs.shape;
        let (num_cells, num_row_cells) = (inputs.shape.num_cells(), prefixes.num_row_cells());
        for (ip, h) in ips.iter().zip(vectors_mut::<S>(&mut hidden[0]).chunks_exact_mut(len)) {
            self.encoder.tables.encode(simd, *ip, h);
        }
        (1..num_hidden).for_each(|l| self.hidden_forward(simd, l, ips.len(), hidden));

        let last = vectors_mut::<S>(hidden.last_mut().expect("one layer at least"));
        for (i, positive) in self.positives.clone().enumerate() {
            while inputs.segments[row + 1] as usize <= positive {
                row += 1;
            }
            let r = row - self.block_start;
            let q = &vectors::<S>(q)[r * len..][..len];
            let s = &mut vectors_mut::<S>(s)[r * len..][..len];
            let of_positive = i * num_pairs..(i + 1) * num_pairs;
            let h = &mut last[i * num_pairs * len..][..num_pairs * len];
            let gradients = &mut pair_gradients[of_positive.clone()];
            let mask = &inputs.mask[pairs.clone()][of_positive.clone()];
            let (tag, ips) = (inputs.tags[positive], &ips[of_positive.clone()]);
            let (row_cells, memory_cells) = cells[r * num_cells..][..num_cells].split_at(num_row_cells);
            let first = sums.elsewhere.len();
            for (bias, ip) in biases.iter_mut().zip(ips) {
                *bias = c[r] + memory.sum(memory_cells, tag, *ip);
                if prefixes.exists() {
                    // ln(exp(usual + common) + exp(elsewhere + common)) is the logit, too.
                    let common = prefixes.common(self.encoder.prefix_weights, *ip);
                    *bias += common;
                    sums.elsewhere.push(common + elsewhere(row_cells, tag));
                }
            }
            let outputs = (&mut logits[of_positive], &mut *gradients);
            let x = &mut sums.elsewhere[first..];
            sums.loss.add(pair_loss(simd, (q, biases, x), h, mask, self.encoder.scale, s, outputs));
            g[r] += gradients.iter().sum::<f32>();
            let cell_gradients = &mut cell_gradients[r * num_cells..][..num_cells];
            let (of_row_cells, of_memory) = cell_gradients.split_at_mut(num_row_cells);
            for (gradient, ip) in gradients.iter().zip(ips) {
                memory.add(of_memory, tag, *ip, *gradient);
            }
            if prefixes.exists() {
                of_row_cells[row_cell(tag)] += x.iter().sum::<f32>();
                x.iter_mut().zip(gradients.iter()).for_each(|(x, gradient)| *x += *gradient);
            }
        }
        (1..num_hidden).rev().for_each(|l| self.hidden_backward(simd, l, ips.len(), hidden, sums));
        if num_hidden > 0 {
            let buckets = &mut sums.gradients[PaddedShape(inputs.shape).buckets()];
            for (ip, gradient) in ips.iter().zip(vectors::<S>(&hidden[0]).chunks_exact(len)) {
                add_to_buckets(simd, buckets, *ip, gradient);
            }
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

/// A mini-batch's pairs on its device.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// `[U + 1]`, ascending: positives `segments[u]..segments[u + 1]` are of unique row u.
    pub segments: Tensor<1, Int>,
    /// `[B]`, unsigned 32-bit integers: the tags of the positives' entities, as [`crate::memory`] says.
    pub tags: Tensor<1, Int>,
    /// `[B, P]`, unsigned 32-bit integers: addresses, the positive's own first.
    pub ips: Tensor<2, Int>,
    /// `[B, P]`: 0.0 where a pair does not count, else 1.0.
    pub mask: Tensor<2>,
}

impl Pairs {
    /// # Panics
    ///
    /// Where the shapes do not fit each other and a number of unique rows.
    pub(crate) fn check(&self, num_rows: usize) {
        assert_eq!(self.ips.dims(), self.mask.dims(), "every pair has a mask");
        assert_eq!(self.tags.dims()[0], self.ips.dims()[0], "every positive has a tag");
        assert_eq!(self.segments.dims()[0], num_rows + 1, "every row has a segment");
    }
}

/// Gradients of a mini-batch on its device.
pub struct Folded {
    /// `[B, P]`
    pub logits: Tensor<2>,
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that count.
    pub sums: Tensor<1>,
    /// `[U, d + cells]`: of the mean loss, for each unique row.
    pub rows: Tensor<2>,
    /// `[1, num_parameters]`: of the mean loss.
    pub parameters: Tensor<2>,
}

/// Computes loss and gradients of a mini-batch on the device of its tensors.
///
/// # Shapes
///
/// - `rows`: `[U, d + cells]`, the unique rows of the table
/// - `pairs`: of these rows
/// - `parameters`: `[1, num_parameters]`, laid out as [`ModelShape`] says
pub fn folded(rows: Tensor<2>, pairs: Pairs, parameters: Tensor<2>, shape: ModelShape) -> Folded {
    pairs.check(rows.dims()[0]);
    assert_eq!(rows.dims()[1], shape.row_width());
    assert_eq!(parameters.dims(), [1, shape.num_parameters()]);
    let (logits, sums, rows, parameters) = Dispatch::folded(
        rows.into_dispatch(),
        pairs.segments.into_dispatch(),
        pairs.tags.into_dispatch(),
        pairs.ips.into_dispatch(),
        pairs.mask.into_dispatch(),
        parameters.into_dispatch(),
        shape,
    );
    Folded {
        logits: Tensor::from_dispatch(logits),
        sums: Tensor::from_dispatch(sums),
        rows: Tensor::from_dispatch(rows),
        parameters: Tensor::from_dispatch(parameters),
    }
}

/// The backend extension behind [`folded()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait FoldedBackend: Backend {
    /// See [`folded()`].
    fn folded(
        rows: FloatTensor<Self>,
        segments: IntTensor<Self>,
        tags: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl FoldedBackend for burn_ndarray::NdArray {
    fn folded(
        rows: FloatTensor<Self>,
        segments: IntTensor<Self>,
        tags: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: ModelShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        use crate::host::{f32_array, i32_array, slice, tensor, u32_array};
        let (rows, segments, parameters) = (f32_array(rows), i32_array(segments), f32_array(parameters));
        let (tags, pair_ips, mask) = (u32_array(tags), u32_array(pair_ips), f32_array(mask));
        let inputs = FoldedInputs {
            segments: slice(&segments),
            tags: slice(&tags),
            pair_ips: slice(&pair_ips),
            mask: slice(&mask),
            parameters: slice(&parameters),
            shape,
        };
        let (logits, gradients, outputs) = folded_on_slices(inputs, slice(&rows));
        (
            tensor(logits, mask.shape()),
            tensor(outputs.sums.to_vec(), &[3]),
            tensor(gradients, rows.shape()),
            tensor(outputs.parameters, parameters.shape()),
        )
    }
}

/// The composition on a device. Nothing is read back: gradients are summed first and divided by the number of
/// pairs that count where they are stored. At L = 1 ten launches: tables, Q, the pass over the pairs, its sums,
/// dE, three for dW_L and db_L, two for the first layer. Another hidden layer adds one forward, four backward,
/// and the first of them two, because its activations are kept, 4 d bytes a pair and layer. Rows with cells add one,
/// learned prefixes three.
#[cfg(feature = "wgpu")]
mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::elsewhere::device::weight_gradients;
    use crate::first_layer::device::{Source, encode, first_layer_gradients, tables};
    use crate::launch::{contiguous, empty_like};
    use crate::matrix::device::{DeviceMatrix, Epilogue, layer_gradients, multiply};
    use crate::memory::device::row_gradients;
    use crate::pair_loss::device::{Pairs, row_losses};

    impl FoldedBackend for CubeBackend {
        fn folded(
            rows: FloatTensor<Self>,
            segments: IntTensor<Self>,
            tags: IntTensor<Self>,
            pair_ips: IntTensor<Self>,
            mask: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: ModelShape,
        ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
            let (rows, parameters) = (contiguous(rows), contiguous(parameters));
            let pairs = Pairs {
                segments: contiguous(segments),
                tags: contiguous(tags),
                ips: contiguous(pair_ips),
                mask: contiguous(mask),
            };
            let (d, width, last) = (shape.vector_dim, shape.output_width(), shape.num_hidden);
            let num_rows = rows.meta.shape()[0];
            let num_activations = pairs.ips.meta.num_elements();
            let empty = |shape| empty_like(&rows, shape, DType::F32);
            let weight =
                |l: usize| DeviceMatrix::new(&parameters, shape.weight(l).start, shape.layer_shape(l), d);
            let kept = |hidden: &_| DeviceMatrix::new(hidden, 0, [num_activations, d], d);
            let e = DeviceMatrix::new(&rows, 0, [num_rows, d], shape.row_width());

            let q = empty(Shape::new([num_rows, width]));
            multiply(&q, Epilogue::nothing(&parameters), e.clone(), weight(last).transposed());
            let tables = (last > 0).then(|| tables(&parameters, &shape));
            let mut hidden = Vec::new();
            if let Some(tables) = tables.as_ref().filter(|_| last > 1) {
                hidden.push(encode(tables, &pairs.ips));
            }
            for l in 1..last {
                let activations = empty(Shape::new([num_activations, d]));
                let epilogue = Epilogue::bias_relu(&parameters, shape.bias(l).start);
                multiply(&activations, epilogue, kept(&hidden[l - 1]), weight(l));
                hidden.push(activations);
            }
            let losses =
                row_losses((&rows, &parameters), q, hidden.last().or(tables.as_ref()), &pairs, &shape);
            let sums = losses.sums();

            // s and G, like W_L and b_L, are one matrix.
            let s_and_g = DeviceMatrix::new(&losses.s, 0, [num_rows, width + 1], width + 1);
            let output_layer = DeviceMatrix::new(&parameters, shape.weight(last).start, [width + 1, d], d);
            let vector_gradients = empty(Shape::new([num_rows, d]));
            multiply(&vector_gradients, Epilogue::mean(&sums), s_and_g, output_layer);
            let gradients = empty(Shape::new([1, shape.num_parameters()]));
            let of_layer = |l: usize| (&gradients, shape.weight(l).start);
            let s = DeviceMatrix::new(&losses.s, 0, [num_rows, width], width + 1);
            let g = DeviceMatrix::new(&losses.s, width, [num_rows, 1], width + 1);
            layer_gradients(of_layer(last), s, e, Some(g), &sums);

            if let Some(activations) = hidden.last() {
                losses.hidden_gradients(activations);
            }
            for l in (1..last).rev() {
                let (below, above) = (&hidden[l - 1], &hidden[l]);
                layer_gradients(of_layer(l), kept(below), kept(above), None, &sums);
                multiply(below, Epilogue::mask(&parameters), kept(above), weight(l).transposed());
            }
            if let Some(tables) = &tables {
                let source = hidden.first().map_or(Source::Tables(tables), Source::Kept);
                first_layer_gradients(&gradients, source, &pairs, &losses, &sums);
            }
            let row_gradients = match shape.num_cells() {
                0 => vector_gradients,
                _ => row_gradients(vector_gradients, &pairs, &losses, &sums, &shape),
            };
            if shape.elsewhere.exists() {
                weight_gradients(&gradients, &pairs, &losses, &sums, &shape);
            }
            (losses.logits, sums, row_gradients, gradients)
        }
    }
}
