//! The head's loss and its gradients on a mini-batch.
//!
//! The products are written out because autodiff of a network this small is mostly overhead, and because the order of
//! every sum must be fixed: a product is rounded, then added, pair after pair. So a seed gives the same bytes with any
//! number of threads and on any instruction set. Tests compare the gradients with central differences and with autograd.

use pulp::Simd;

use super::features::NUM_INPUTS;
use super::network::{HIDDEN_1, HIDDEN_2, NUM_FITTED, Part};

/// Floats of a pair's inputs: the inputs, then zeros.
pub const ROW: usize = NUM_INPUTS.next_multiple_of(16);

/// Pairs of one pass through the network: their activations fit the L1 cache.
const BLOCK: usize = 64;

/// Units of the first layer as they are computed: the hidden ones, then the linear part, then zeros.
const WIDTH_1: usize = (HIDDEN_1 + 1).next_multiple_of(16);

/// Units of the second layer as they are computed.
const WIDTH_2: usize = HIDDEN_2.next_multiple_of(16);

/// Rows of the first layer's weights as they are computed: the inputs, then zeros.
const PADDED_INPUTS: usize = NUM_INPUTS.next_multiple_of(TILE);

/// Rows of a product that are computed together.
const TILE: usize = 4;

/// Where the linear part is among the units of the first layer.
const LINEAR: usize = HIDDEN_1;

/// The pairs that a head is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct FitData<'a> {
    /// `[pairs, ROW]`: the inputs of each, then zeros.
    pub inputs: &'a [[f32; ROW]],
    /// `[pairs]`: 1 for pairs that occurred, 0 for others.
    pub labels: &'a [f32],
    /// `[pairs]`: weights in the loss.
    pub weights: &'a [f32],
}

/// The loss and its gradients; its buffers are used again for the next mini-batch.
pub struct GradientPass {
    weights: Box<Padded>,
    gradients: Box<Padded>,
    block: Block,
}

impl Default for GradientPass {
    fn default() -> Self {
        Self { weights: Box::new(Padded::ZEROS), gradients: Box::new(Padded::ZEROS), block: Block::new() }
    }
}

impl GradientPass {
    /// The mean over the pairs `rows` of weight times cross entropy, and its gradient with respect to `parameters`
    /// (`[NUM_FITTED]`).
    pub fn run(&mut self, parameters: &[f32], data: &FitData, rows: &[u32], gradient: &mut [f32]) -> f64 {
        self.weights.set(parameters);
        *self.gradients = Padded::ZEROS;
        let Self { weights, gradients, block } = self;
        let mut loss = 0.0;
        for part in rows.chunks(BLOCK) {
            let scale = 1.0 / rows.len() as f32;
            loss +=
                pulp::Arch::new().dispatch(BlockPass { weights, gradients, block, data, rows: part, scale });
        }
        gradients.get(&mut gradient[..NUM_FITTED]);
        loss
    }
}

/// Parameters, or gradients with respect to them, in padded rows.
#[derive(Clone)]
struct Padded {
    /// The linear part is one of the units of the first layer.
    first: [[f32; WIDTH_1]; PADDED_INPUTS],
    first_bias: [f32; WIDTH_1],
    second: [[f32; WIDTH_2]; HIDDEN_1],
    second_bias: [f32; WIDTH_2],
    output: [f32; WIDTH_2],
    output_bias: f32,
    /// The transpose of `second`; of parameters only.
    backward: [[f32; WIDTH_1]; HIDDEN_2],
}

impl Padded {
    const ZEROS: Self = Self {
        first: [[0.0; WIDTH_1]; PADDED_INPUTS],
        first_bias: [0.0; WIDTH_1],
        second: [[0.0; WIDTH_2]; HIDDEN_1],
        second_bias: [0.0; WIDTH_2],
        output: [0.0; WIDTH_2],
        output_bias: 0.0,
        backward: [[0.0; WIDTH_1]; HIDDEN_2],
    };

    fn set(&mut self, parameters: &[f32]) {
        let part = |part: Part| &parameters[part.range()];
        let first = part(Part::FirstWeight).as_chunks::<HIDDEN_1>().0;
        for (row, (weights, linear)) in self.first.iter_mut().zip(first.iter().zip(part(Part::SkipWeight))) {
            row[..HIDDEN_1].copy_from_slice(weights);
            row[LINEAR] = *linear;
        }
        self.first_bias[..HIDDEN_1].copy_from_slice(part(Part::FirstBias));
        self.first_bias[LINEAR] = part(Part::SkipBias)[0];
        let second = part(Part::SecondWeight).as_chunks::<HIDDEN_2>().0;
        for (j, (row, weights)) in self.second.iter_mut().zip(second).enumerate() {
            row[..HIDDEN_2].copy_from_slice(weights);
            for (backward, weight) in self.backward.iter_mut().zip(weights) {
                backward[j] = *weight;
            }
        }
        self.second_bias[..HIDDEN_2].copy_from_slice(part(Part::SecondBias));
        self.output[..HIDDEN_2].copy_from_slice(part(Part::OutputWeight));
        self.output_bias = part(Part::OutputBias)[0];
    }

    fn get(&self, parameters: &mut [f32]) {
        for (i, row) in self.first[..NUM_INPUTS].iter().enumerate() {
            parameters[Part::FirstWeight.range()][i * HIDDEN_1..][..HIDDEN_1]
                .copy_from_slice(&row[..HIDDEN_1]);
            parameters[Part::SkipWeight.range()][i] = row[LINEAR];
        }
        parameters[Part::FirstBias.range()].copy_from_slice(&self.first_bias[..HIDDEN_1]);
        parameters[Part::SkipBias.range()][0] = self.first_bias[LINEAR];
        for (j, row) in self.second.iter().enumerate() {
            parameters[Part::SecondWeight.range()][j * HIDDEN_2..][..HIDDEN_2]
                .copy_from_slice(&row[..HIDDEN_2]);
        }
        parameters[Part::SecondBias.range()].copy_from_slice(&self.second_bias[..HIDDEN_2]);
        parameters[Part::OutputWeight.range()].copy_from_slice(&self.output[..HIDDEN_2]);
        parameters[Part::OutputBias.range()][0] = self.output_bias;
    }
}

/// The inputs, activations and gradients of a block of pairs.
struct Block {
    inputs: Vec<[f32; ROW]>,
    hidden_1: Vec<[f32; WIDTH_1]>,
    hidden_2: Vec<[f32; WIDTH_2]>,
    of_hidden_1: Vec<[f32; WIDTH_1]>,
    of_hidden_2: Vec<[f32; WIDTH_2]>,
    logits: [f32; BLOCK],
    of_logits: [f32; BLOCK],
}

impl Block {
    fn new() -> Self {
        Self {
            inputs: vec![[0.0; ROW]; BLOCK],
            hidden_1: vec![[0.0; WIDTH_1]; BLOCK],
            hidden_2: vec![[0.0; WIDTH_2]; BLOCK],
            of_hidden_1: vec![[0.0; WIDTH_1]; BLOCK],
            of_hidden_2: vec![[0.0; WIDTH_2]; BLOCK],
            logits: [0.0; BLOCK],
            of_logits: [0.0; BLOCK],
        }
    }

    #[inline(always)]
    fn forward<S: Simd>(&mut self, simd: S, weights: &Padded) {
        self.hidden_1.fill(weights.first_bias);
        let inputs = Strided { values: self.inputs.as_flattened(), stride: [ROW, 1] };
        add_product(simd, inputs, &weights.first, &mut self.hidden_1);
        for (logit, hidden) in self.logits.iter_mut().zip(&self.hidden_1) {
            *logit = hidden[LINEAR] + weights.output_bias;
        }
        relu(&mut self.hidden_1);
        self.hidden_2.fill(weights.second_bias);
        let hidden = Strided { values: self.hidden_1.as_flattened(), stride: [WIDTH_1, 1] };
        add_product(simd, hidden, &weights.second, &mut self.hidden_2);
        relu(&mut self.hidden_2);
        for (logit, hidden) in self.logits.iter_mut().zip(&self.hidden_2) {
            for (unit, weight) in hidden.iter().zip(&weights.output).take(HIDDEN_2) {
                *logit += unit * weight;
            }
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(&mut self, simd: S, weights: &Padded, gradients: &mut Padded) {
        for (i, of_hidden) in self.of_hidden_2.iter_mut().enumerate() {
            let (hidden, of_logit) = (&self.hidden_2[i], self.of_logits[i]);
            for k in 0..WIDTH_2 {
                gradients.output[k] += of_logit * hidden[k];
                of_hidden[k] = if hidden[k] > 0.0 { of_logit * weights.output[k] } else { 0.0 };
            }
            gradients.output_bias += of_logit;
        }
        add_rows(&self.of_hidden_2, &mut gradients.second_bias);
        let hidden = Strided { values: self.hidden_1.as_flattened(), stride: [1, WIDTH_1] };
        add_product(simd, hidden, &self.of_hidden_2, &mut gradients.second);

        self.of_hidden_1.fill([0.0; WIDTH_1]);
        let of_hidden_2 = Strided { values: self.of_hidden_2.as_flattened(), stride: [WIDTH_2, 1] };
        add_product(simd, of_hidden_2, &weights.backward, &mut self.of_hidden_1);
        for (i, of_hidden) in self.of_hidden_1.iter_mut().enumerate() {
            for (of_unit, unit) in of_hidden.iter_mut().zip(&self.hidden_1[i]).take(HIDDEN_1) {
                *of_unit = if *unit > 0.0 { *of_unit } else { 0.0 };
            }
            of_hidden[LINEAR] = self.of_logits[i];
        }
        add_rows(&self.of_hidden_1, &mut gradients.first_bias);
        let inputs = Strided { values: self.inputs.as_flattened(), stride: [1, ROW] };
        add_product(simd, inputs, &self.of_hidden_1, &mut gradients.first);
    }
}

struct BlockPass<'a, 'b> {
    weights: &'a Padded,
    gradients: &'a mut Padded,
    block: &'a mut Block,
    data: &'a FitData<'b>,
    rows: &'a [u32],
    scale: f32,
}

impl pulp::WithSimd for BlockPass<'_, '_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self { weights, gradients, block, data, rows, scale } = self;
        for (inputs, row) in block.inputs.iter_mut().zip(rows) {
            *inputs = data.inputs[*row as usize];
        }
        block.forward(simd, weights);
        // Pairs behind the last row have no gradient.
        block.of_logits = [0.0; BLOCK];
        let mut loss = 0.0;
        for (i, row) in rows.iter().map(|row| *row as usize).enumerate() {
            let (label, weight) = (data.labels[row], data.weights[row] * scale);
            let logit = block.logits[i];
            block.of_logits[i] = (1.0 / (1.0 + exp(-logit)) - label) * weight;
            let logit = f64::from(logit);
            // ln(1 + exp(z)) - y z, where neither sign of z overflows.
            let entropy = logit.max(0.0) - logit * f64::from(label) + (-logit.abs()).exp().ln_1p();
            loss += entropy * f64::from(weight);
        }
        block.backward(simd, weights, gradients);
        loss
    }
}

/// The exponential by single operations, to a relative error of 2e-7; arguments beyond ±87 count as ±87.
///
/// Cephes' `expf` (Moshier): exp(x) = 2^n exp(r) with |r| <= ln(2) / 2, and a polynomial in r.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    let n = (x * std::f32::consts::LOG2_E + 0.5).floor();
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p * r + coefficient;
    }
    let of_rest = p * r * r + r + 1.0;
    of_rest * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// A matrix as it is read: element (row, column) is at `row * stride[0] + column * stride[1]`.
#[derive(Clone, Copy)]
struct Strided<'a> {
    values: &'a [f32],
    stride: [usize; 2],
}

/// `sums += a b`: `[rows, N]`, `[rows, inner]` and `[inner, N]`, with `rows` a multiple of [`TILE`].
#[inline(always)]
fn add_product<S: Simd, const N: usize>(simd: S, a: Strided, b: &[[f32; N]], sums: &mut [[f32; N]]) {
    const { assert!(N.is_multiple_of(16)) };
    assert!(sums.len().is_multiple_of(TILE), "{} rows", sums.len());
    let [row_stride, column_stride] = a.stride;
    let values = &a.values[..(sums.len() - 1) * row_stride + (b.len() - 1) * column_stride + 1];
    for (tile, sums) in sums.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
        let start = tile * TILE * row_stride;
        for vector in 0..N / S::F32_LANES {
            let mut tile: [S::f32s; TILE] = std::array::from_fn(|row| S::as_simd_f32s(&sums[row]).0[vector]);
            for (inner, b) in b.iter().enumerate() {
                let b = S::as_simd_f32s(b).0[vector];
                for (row, sum) in tile.iter_mut().enumerate() {
                    let a = simd.splat_f32s(values[start + row * row_stride + inner * column_stride]);
                    *sum = simd.add_f32s(*sum, simd.mul_f32s(a, b));
                }
            }
            for (sums, sum) in sums.iter_mut().zip(tile) {
                S::as_mut_simd_f32s(sums).0[vector] = sum;
            }
        }
    }
}

#[inline(always)]
fn relu<const N: usize>(rows: &mut [[f32; N]]) {
    for unit in rows.as_flattened_mut() {
        *unit = if *unit > 0.0 { *unit } else { 0.0 };
    }
}

/// Adds the rows to `sums`, one after the other.
#[inline(always)]
fn add_rows<const N: usize>(rows: &[[f32; N]], sums: &mut [f32; N]) {
    for row in rows {
        for i in 0..N {
            sums[i] += row[i];
        }
    }
}

#[cfg(test)]
mod tests;
