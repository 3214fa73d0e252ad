//! The gradients of one mini-batch in the folded form.
//!
//! ```text
//! h_0 = bits(ip)        h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L       v = h_L W_L + b_L
//! logit = e · v = (W_L e) · h_L + e · b_L = q · h_L + c
//!
//! Q  = E W_Lᵀ,  c = E b_L                              E [U, d]: the mini-batch's unique entity rows
//! per row, over all its pairs p:  g_p, s, G as in `pair_loss`
//! dE = S W_L + G b_Lᵀ,   dW_L = Sᵀ E,   db_L = Eᵀ G
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

use crate::encoder::EncoderShape;
use crate::first_layer::{Buckets, NibbleTables};
use crate::matrix::{Matrix, Store, multiply};
use crate::pair_loss::{LossSums, pair_loss};
use crate::simd::{dot, padded, vectors, vectors_mut};

/// A mini-batch and the parameters that it meets, as slices.
#[derive(Clone, Copy)]
pub struct FoldedInputs<'a> {
    /// `[U, d]`: the unique entity rows.
    pub vectors: &'a [f32],
    /// `[U + 1]`: positives `segments[u]..segments[u + 1]` belong to unique row u.
    pub segments: &'a [i32],
    /// `[B, P]`: addresses, the positive's own first.
    pub pair_ips: &'a [u32],
    /// `[B, P]`: 0 where a pair does not count, else 1.
    pub mask: &'a [f32],
    /// `[num_parameters]`: the encoder, as [`EncoderShape`] lays it out.
    pub parameters: &'a [f32],
    /// The encoder's shape.
    pub shape: EncoderShape,
}

/// What a step needs of a mini-batch.
#[derive(Clone, Debug, Default)]
pub struct FoldedOutputs {
    /// `[B, P]`
    pub logits: Vec<f32>,
    /// The published sums.
    pub sums: LossSums,
    /// `[U, d]`: of the mean loss, for each unique row.
    pub vectors: Vec<f32>,
    /// `[num_parameters]`: of the mean loss.
    pub parameters: Vec<f32>,
}

/// Unique rows whose products are made at once: their operands stay in the second-level cache.
const ROWS_PER_BLOCK: usize = 128;

/// Pairs whose hidden activations are kept at once where there are products of hidden layers.
const PAIRS_PER_GROUP: usize = 512;

/// Positives of a chunk, at least: below it, adding up the chunks' sums costs more than it spreads.
const MIN_POSITIVES_PER_CHUNK: usize = 256;

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

    /// Ranges of unique rows with about as many positives each, a function of the mini-batch alone.
    fn chunks(&self) -> Vec<Range<usize>> {
        let num_rows = self.segments.len() - 1;
        let positives = self.num_positives();
        let per_chunk = positives.div_ceil(CHUNKS).clamp(MIN_POSITIVES_PER_CHUNK, 1024);
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < num_rows {
            let wanted = self.segments[start] as usize + per_chunk;
            let end = start + self.segments[start + 1..].partition_point(|end| (*end as usize) < wanted) + 1;
            let end = end.min(num_rows);
            chunks.push(start..end);
            start = end;
        }
        chunks
    }
}

/// The CPU twin.
pub fn folded_on_slices(inputs: FoldedInputs<'_>) -> FoldedOutputs {
    let d = inputs.shape.vector_dim;
    let encoder = Encoder::new(&inputs);
    let num_rows = inputs.segments.len() - 1;
    let mut outputs = FoldedOutputs {
        logits: vec![0.0; inputs.mask.len()],
        vectors: vec![0.0; num_rows * d],
        ..FoldedOutputs::default()
    };
    let num_pairs = inputs.num_pairs();
    let (mut logits, mut vectors) = (&mut *outputs.logits, &mut *outputs.vectors);
    let mut tasks = Vec::new();
    for rows in inputs.chunks() {
        let (l, v);
        (l, logits) = logits.split_at_mut(inputs.positives_of(&rows).len() * num_pairs);
        (v, vectors) = vectors.split_at_mut(rows.len() * d);
        tasks.push((rows, l, v));
    }
    let sums: Vec<ChunkSums> = tasks
        .into_par_iter()
        .map(|(rows, logits, vectors)| {
            let chunk = Chunk { inputs, encoder: &encoder, rows, logits, vectors };
            pulp::Arch::new().dispatch(chunk)
        })
        .collect();
    outputs.sums = sums.iter().fold(LossSums::default(), |mut total, chunk| {
        total.add(chunk.loss);
        total
    });
    outputs.parameters = add_up(&inputs.shape, sums);
    outputs
}

/// Adds up the chunks' gradients in their order.
fn add_up(shape: &EncoderShape, chunks: Vec<ChunkSums>) -> Vec<f32> {
    let mut parameters = vec![0.0; shape.num_parameters()];
    const PER_TASK: usize = 2048;
    parameters.par_chunks_mut(PER_TASK).enumerate().for_each(|(i, sums)| {
        for chunk in &chunks {
            let part = &chunk.parameters[i * PER_TASK..][..sums.len()];
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
    });
    if shape.num_hidden > 0 {
        let mut buckets = Buckets::zeros(padded(shape.vector_dim));
        chunks.iter().for_each(|chunk| buckets.add_all(&chunk.buckets));
        let (weight, bias) = parameters[..shape.bias(0).end].split_at_mut(shape.weight(0).end);
        buckets.fold(weight, bias);
    }
    parameters
}

/// What every chunk needs of the encoder, made once a step.
struct Encoder<'a> {
    tables: NibbleTables,
    /// `[d, output width]`
    output_transposed: Vec<f32>,
    output_bias: &'a [f32],
    /// 1 / pairs that count
    scale: f32,
}

impl<'a> Encoder<'a> {
    fn new(inputs: &FoldedInputs<'a>) -> Self {
        let shape = inputs.shape;
        let (width, d) = (shape.output_width(), shape.vector_dim);
        let output = &inputs.parameters[shape.weight(shape.num_hidden)];
        let mut output_transposed = vec![0.0; output.len()];
        for (i, row) in output.chunks_exact(d).enumerate() {
            row.iter().enumerate().for_each(|(j, w)| output_transposed[j * width + i] = *w);
        }
        Self {
            tables: NibbleTables::new(&shape, inputs.parameters),
            output_transposed,
            output_bias: &inputs.parameters[shape.bias(shape.num_hidden)],
            scale: 1.0 / inputs.mask.iter().sum::<f32>(),
        }
    }
}

/// Gradients of the parameters, summed over a chunk.
struct ChunkSums {
    loss: LossSums,
    /// As the encoder's, but for the first layer of one with hidden layers, which is in `buckets`.
    parameters: Vec<f32>,
    buckets: Buckets,
}

/// Some unique rows, and the parts of the outputs that are theirs.
struct Chunk<'a> {
    inputs: FoldedInputs<'a>,
    encoder: &'a Encoder<'a>,
    rows: Range<usize>,
    logits: &'a mut [f32],
    vectors: &'a mut [f32],
}

/// Memory of a chunk's blocks, used again for each.
struct Workspace {
    /// `[rows of a block, padded width]` each
    q: Vec<f32>,
    s: Vec<f32>,
    /// `[rows of a block]` each: c and G
    c: Vec<f32>,
    g: Vec<f32>,
    /// For each hidden layer `[pairs of a group, padded width]`; backward, gradients replace activations.
    hidden: Vec<Vec<f32>>,
    /// `[pairs of a group]`
    pair_gradients: Vec<f32>,
}

impl pulp::WithSimd for Chunk<'_> {
    type Output = ChunkSums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> ChunkSums {
        let Self { inputs, encoder, rows, logits, vectors } = self;
        let shape = inputs.shape;
        let (d, width, num_pairs) = (shape.vector_dim, encoder.tables.width(), inputs.num_pairs());
        let num_buckets = if shape.num_hidden > 0 { width } else { 0 };
        let mut sums = ChunkSums {
            loss: LossSums::default(),
            parameters: vec![0.0; shape.num_parameters()],
            buckets: Buckets::zeros(num_buckets),
        };
        let positives_per_group = match shape.num_hidden {
            0 | 1 => 1,
            _ => (PAIRS_PER_GROUP / num_pairs).max(1),
        };
        let block_rows = rows.len().min(ROWS_PER_BLOCK);
        let mut workspace = Workspace {
            q: vec![0.0; block_rows * width],
            s: vec![0.0; block_rows * width],
            c: vec![0.0; block_rows],
            g: vec![0.0; block_rows],
            hidden: vec![vec![0.0; positives_per_group * num_pairs * width]; shape.num_hidden.max(1)],
            pair_gradients: vec![0.0; positives_per_group * num_pairs],
        };
        let first_positive = inputs.segments[rows.start] as usize;
        for start in rows.clone().step_by(ROWS_PER_BLOCK) {
            let block = start..(start + ROWS_PER_BLOCK).min(rows.end);
            let e = &inputs.vectors[block.start * d..block.end * d];
            fold_block(simd, &inputs, encoder, e, &mut workspace);
            let positives = inputs.positives_of(&block);
            let mut row = block.start;
            for first in positives.clone().step_by(positives_per_group) {
                let group = first..(first + positives_per_group).min(positives.end);
                let place =
                    (group.start - first_positive) * num_pairs..(group.end - first_positive) * num_pairs;
                let group = Group { inputs: &inputs, encoder, block_start: block.start, positives: group };
                row = group.run(simd, row, &mut workspace, &mut logits[place], &mut sums);
            }
            let gradients = &mut vectors[(block.start - rows.start) * d..(block.end - rows.start) * d];
            unfold_block(&inputs, encoder, e, &workspace, gradients, &mut sums.parameters);
        }
        sums
    }
}

/// Q, c of a block of rows, and zeros for S and G.
#[inline(always)]
fn fold_block<S: Simd>(
    simd: S,
    inputs: &FoldedInputs<'_>,
    encoder: &Encoder<'_>,
    e: &[f32],
    workspace: &mut Workspace,
) {
    let shape = inputs.shape;
    let (d, output_width, width) = (shape.vector_dim, shape.output_width(), encoder.tables.width());
    let rows = e.len() / d;
    let output = Matrix::new(&encoder.output_transposed, [d, output_width], output_width);
    multiply(&mut workspace.q, width, Store::Replace, Matrix::new(e, [rows, d], d), output);
    for (c, e) in workspace.c.iter_mut().zip(e.chunks_exact(d)) {
        *c = dot(simd, e, encoder.output_bias);
    }
    workspace.s[..rows * width].fill(0.0);
    workspace.g[..rows].fill(0.0);
}

/// dE of a block of rows, and its part of dW_L and db_L.
#[inline(always)]
fn unfold_block(
    inputs: &FoldedInputs<'_>,
    encoder: &Encoder<'_>,
    e: &[f32],
    workspace: &Workspace,
    gradients: &mut [f32],
    parameters: &mut [f32],
) {
    let shape = inputs.shape;
    let (d, output_width, width) = (shape.vector_dim, shape.output_width(), encoder.tables.width());
    let rows = e.len() / d;
    let (weight, bias) = (shape.weight(shape.num_hidden), shape.bias(shape.num_hidden));
    let s = Matrix::new(&workspace.s, [rows, output_width], width);
    let output = Matrix::new(&inputs.parameters[weight.clone()], [output_width, d], d);
    multiply(gradients, d, Store::Replace, s, output);
    let e_matrix = Matrix::new(e, [rows, d], d);
    multiply(&mut parameters[weight], d, Store::Add, s.transposed(), e_matrix);
    let db = &mut parameters[bias];
    for ((e, gradient), g) in e.chunks_exact(d).zip(gradients.chunks_exact_mut(d)).zip(&workspace.g) {
        for (((gradient, b), db), e) in gradient.iter_mut().zip(encoder.output_bias).zip(&mut *db).zip(e) {
            *gradient += g * b;
            *db += g * e;
        }
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
    /// Forward and backward; `row` is the unique row of the first positive or one before it, and the last
    /// positive's is returned.
    #[inline(always)]
    fn run<S: Simd>(
        &self,
        simd: S,
        mut row: usize,
        workspace: &mut Workspace,
        logits: &mut [f32],
        sums: &mut ChunkSums,
    ) -> usize {
        let (inputs, num_pairs) = (self.inputs, self.inputs.num_pairs());
        let num_hidden = inputs.shape.num_hidden;
        let width = self.encoder.tables.width();
        let len = width / S::F32_LANES;
        let pairs = self.positives.start * num_pairs..self.positives.end * num_pairs;
        let ips = &inputs.pair_ips[pairs.clone()];
        let Workspace { q, s, c, g, hidden, pair_gradients } = workspace;
        for (ip, h) in ips.iter().zip(vectors_mut::<S>(&mut hidden[0]).chunks_exact_mut(len)) {
            self.encoder.tables.encode(simd, *ip, h);
        }
        (1..num_hidden).for_each(|l| self.hidden_forward(l, ips.len(), hidden));

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
            let outputs = (&mut logits[of_positive.clone()], &mut *gradients);
            sums.loss.add(pair_loss(simd, (q, c[r]), h, mask, self.encoder.scale, s, outputs));
            g[r] += gradients.iter().sum::<f32>();
            for (g, h) in gradients.iter().zip(h.chunks_exact_mut(len)) {
                let g = simd.splat_f32s(*g);
                h.iter_mut().zip(q).for_each(|(h, q)| *h = masked(simd, *h, simd.mul_f32s(g, *q)));
            }
        }
        (1..num_hidden).rev().for_each(|l| self.hidden_backward(simd, l, ips.len(), hidden, sums));
        if num_hidden > 0 {
            for (ip, gradient) in ips.iter().zip(vectors::<S>(&hidden[0]).chunks_exact(len)) {
                sums.buckets.add(simd, *ip, gradient);
            }
        }
        row
    }

    /// Layer `l`: from the activations `hidden[l - 1]` to `hidden[l]`.
    fn hidden_forward(&self, l: usize, num: usize, hidden: &mut [Vec<f32>]) {
        let (shape, width) = (self.inputs.shape, self.encoder.tables.width());
        let d = shape.vector_dim;
        let (below, above) = hidden.split_at_mut(l);
        let weight = Matrix::new(&self.inputs.parameters[shape.weight(l)], [d, d], d);
        multiply(&mut above[0], width, Store::Replace, Matrix::new(&below[l - 1], [num, d], width), weight);
        let bias = &self.inputs.parameters[shape.bias(l)];
        for row in above[0].chunks_exact_mut(width).take(num) {
            row.iter_mut().zip(bias).for_each(|(h, b)| *h = (*h + b).max(0.0));
        }
    }

    /// Layer `l`: from the gradients in `hidden[l]` to those of the activations `hidden[l - 1]`, which they
    /// replace, and of the layer's parameters.
    #[inline(always)]
    fn hidden_backward<S: Simd>(
        &self,
        simd: S,
        l: usize,
        num: usize,
        hidden: &mut [Vec<f32>],
        sums: &mut ChunkSums,
    ) {
        let (shape, width) = (self.inputs.shape, self.encoder.tables.width());
        let d = shape.vector_dim;
        let (below, above) = hidden.split_at_mut(l);
        let gradients = Matrix::new(&above[0], [num, d], width);
        let activations = Matrix::new(&below[l - 1], [num, d], width);
        multiply(&mut sums.parameters[shape.weight(l)], d, Store::Add, activations.transposed(), gradients);
        let db = &mut sums.parameters[shape.bias(l)];
        for row in above[0].chunks_exact(width).take(num) {
            db.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
        }
        let weight = Matrix::new(&self.inputs.parameters[shape.weight(l)], [d, d], d);
        let mut gradients_below = vec![0.0; num * width];
        multiply(&mut gradients_below, width, Store::Replace, gradients, weight.transposed());
        let activations = vectors_mut::<S>(&mut below[l - 1][..num * width]);
        for (h, gradient) in activations.iter_mut().zip(vectors::<S>(&gradients_below)) {
            *h = masked(simd, *h, *gradient);
        }
    }
}

/// The gradient of a ReLU's input: that of its output where the output is above 0.
#[inline(always)]
fn masked<S: Simd>(simd: S, activation: S::f32s, gradient: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.greater_than_f32s(activation, zero), gradient, zero)
}

/// Gradients of a mini-batch on its device.
pub struct Folded {
    /// `[B, P]`
    pub logits: Tensor<2>,
    /// `[3]`: cross entropy, correct pairs, pairs, each summed over pairs that count.
    pub sums: Tensor<1>,
    /// `[U, d]`: of the mean loss, for each unique row.
    pub vectors: Tensor<2>,
    /// `[1, num_parameters]`: of the mean loss.
    pub parameters: Tensor<2>,
}

/// Computes loss and gradients of a mini-batch on the device of its tensors.
///
/// # Shapes
///
/// - `vectors`: `[U, d]`, the unique entity rows
/// - `segments`: `[U + 1]`, ascending: positives `segments[u]..segments[u + 1]` are of row u
/// - `pair_ips`: `[B, P]`, unsigned 32-bit integers; `mask`: `[B, P]`, 0.0 or 1.0
/// - `parameters`: `[1, num_parameters]`, laid out as [`EncoderShape`] says
pub fn folded(
    vectors: Tensor<2>,
    segments: Tensor<1, Int>,
    (pair_ips, mask): (Tensor<2, Int>, Tensor<2>),
    parameters: Tensor<2>,
    shape: EncoderShape,
) -> Folded {
    let (logits, sums, vectors, parameters) = Dispatch::folded(
        vectors.into_dispatch(),
        segments.into_dispatch(),
        pair_ips.into_dispatch(),
        mask.into_dispatch(),
        parameters.into_dispatch(),
        shape,
    );
    Folded {
        logits: Tensor::from_dispatch(logits),
        sums: Tensor::from_dispatch(sums),
        vectors: Tensor::from_dispatch(vectors),
        parameters: Tensor::from_dispatch(parameters),
    }
}

/// The backend extension behind [`folded()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait FoldedBackend: Backend {
    /// See [`folded()`].
    fn folded(
        vectors: FloatTensor<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl FoldedBackend for burn_ndarray::NdArray {
    fn folded(
        vectors: FloatTensor<Self>,
        segments: IntTensor<Self>,
        pair_ips: IntTensor<Self>,
        mask: FloatTensor<Self>,
        parameters: FloatTensor<Self>,
        shape: EncoderShape,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        use crate::host::{f32_array, i32_array, slice, tensor, u32_array};
        let (vectors, segments, parameters) =
            (f32_array(vectors), i32_array(segments), f32_array(parameters));
        let (pair_ips, mask) = (u32_array(pair_ips), f32_array(mask));
        let outputs = folded_on_slices(FoldedInputs {
            vectors: slice(&vectors),
            segments: slice(&segments),
            pair_ips: slice(&pair_ips),
            mask: slice(&mask),
            parameters: slice(&parameters),
            shape,
        });
        let LossSums { cross_entropy, num_correct, num_pairs } = outputs.sums;
        let sums = [cross_entropy, num_correct, num_pairs].map(|sum| sum as f32).to_vec();
        (
            tensor(outputs.logits, mask.shape()),
            tensor(sums, &[3]),
            tensor(outputs.vectors, vectors.shape()),
            tensor(outputs.parameters, parameters.shape()),
        )
    }
}

/// The composition on a device. Nothing is read back: gradients are summed first and divided by the number of
/// pairs that count where they are stored. At L = 1 ten launches: tables, Q, the pass over the pairs, its sums,
/// dE, three for dW_L and db_L, two for the first layer. Another hidden layer adds one forward, four backward,
/// and the first of them two, because its activations are kept, 4 d bytes a pair and layer.
#[cfg(feature = "wgpu")]
mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;

    use super::*;
    use crate::first_layer::device::{Source, encode, first_layer_gradients, tables};
    use crate::launch::{contiguous, empty_like};
    use crate::matrix::device::{DeviceMatrix, Epilogue, layer_gradients, multiply};
    use crate::pair_loss::device::{Pairs, row_losses};

    impl FoldedBackend for CubeBackend {
        fn folded(
            vectors: FloatTensor<Self>,
            segments: IntTensor<Self>,
            pair_ips: IntTensor<Self>,
            mask: FloatTensor<Self>,
            parameters: FloatTensor<Self>,
            shape: EncoderShape,
        ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
            let (vectors, parameters) = (contiguous(vectors), contiguous(parameters));
            let pairs =
                Pairs { segments: contiguous(segments), ips: contiguous(pair_ips), mask: contiguous(mask) };
            let (d, width, last) = (shape.vector_dim, shape.output_width(), shape.num_hidden);
            let num_rows = vectors.meta.shape()[0];
            let num_activations = pairs.ips.meta.num_elements();
            let empty = |shape| empty_like(&vectors, shape, DType::F32);
            let weight =
                |l: usize| DeviceMatrix::new(&parameters, shape.weight(l).start, shape.layer_shape(l), d);
            let kept = |hidden: &_| DeviceMatrix::new(hidden, 0, [num_activations, d], d);
            let e = DeviceMatrix::new(&vectors, 0, [num_rows, d], d);

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
                row_losses((&vectors, &parameters), q, hidden.last().or(tables.as_ref()), &pairs, &shape);
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
            (losses.logits, sums, vector_gradients, gradients)
        }
    }
}
