//! Fits the head: weighted cross entropy over pairs that occurred and pairs that did not, by Adam.

use pulp::Simd;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::features::NUM_INPUTS;
use super::host_head::{HIDDEN_1, HIDDEN_2, NUM_FITTED, Part};

/// How a head is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FitOptions {
    /// Mini-batches.
    pub steps: usize,
    /// Pairs of a mini-batch, a multiple of [`BLOCK`].
    pub mini_batch_size: usize,
    /// The rate of the first step; it falls to 0 in a line.
    pub learning_rate: f64,
    /// Weight of the squares of the weights in the loss.
    pub weight_decay: f64,
    /// Seed of the initial weights and of the mini-batches.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { steps: 1500, mini_batch_size: 1024, learning_rate: 4e-3, weight_decay: 1e-5, seed: 0 }
    }
}

/// Pairs whose gradients are summed together.
pub const BLOCK: usize = 64;

/// Floats of a pair's row in [`FitData`].
pub const ROW: usize = NUM_INPUTS.next_multiple_of(16);

/// What is fitted on.
#[derive(Clone, Copy, Debug)]
pub struct FitData<'a> {
    /// `[pairs, ROW]`, with zeros behind the inputs.
    pub inputs: &'a [f32],
    /// `[pairs]`: 1 for pairs that occurred, else 0.
    pub labels: &'a [f32],
    /// `[pairs]`.
    pub weights: &'a [f32],
}

/// Units of the first layer as they are computed: the hidden ones, then the linear part, then zeros.
const WIDTH_1: usize = (HIDDEN_1 + 1).next_multiple_of(16);

/// Units of the second layer, then zeros.
const WIDTH_2: usize = HIDDEN_2.next_multiple_of(16);

/// Where the linear part is among the units of the first layer.
const LINEAR: usize = HIDDEN_1;

/// Parameters, or their gradients, in padded rows.
#[derive(Clone)]
struct Padded {
    first: [[f32; WIDTH_1]; NUM_INPUTS],
    first_bias: [f32; WIDTH_1],
    second: [[f32; WIDTH_2]; HIDDEN_1],
    second_bias: [f32; WIDTH_2],
    output: [f32; WIDTH_2],
    output_bias: f32,
    /// The transpose of `second`.
    backward: [[f32; WIDTH_1]; HIDDEN_2],
}

impl Padded {
    const ZEROS: Self = Self {
        first: [[0.0; WIDTH_1]; NUM_INPUTS],
        first_bias: [0.0; WIDTH_1],
        second: [[0.0; WIDTH_2]; HIDDEN_1],
        second_bias: [0.0; WIDTH_2],
        output: [0.0; WIDTH_2],
        output_bias: 0.0,
        backward: [[0.0; WIDTH_1]; HIDDEN_2],
    };

    fn set(&mut self, p: &[f32]) {
        for (row, w) in self.first.iter_mut().zip(p[Part::FirstWeight.range()].chunks_exact(HIDDEN_1)) {
            row[..HIDDEN_1].copy_from_slice(w);
        }
        for (row, w) in self.first.iter_mut().zip(&p[Part::SkipWeight.range()]) {
            row[LINEAR] = *w;
        }
        self.first_bias[..HIDDEN_1].copy_from_slice(&p[Part::FirstBias.range()]);
        self.first_bias[LINEAR] = p[Part::SkipBias.range().start];
        for (j, w) in p[Part::SecondWeight.range()].chunks_exact(HIDDEN_2).enumerate() {
            self.second[j][..HIDDEN_2].copy_from_slice(w);
            for (backward, w) in self.backward.iter_mut().zip(w) {
                backward[j] = *w;
            }
        }
        self.second_bias[..HIDDEN_2].copy_from_slice(&p[Part::SecondBias.range()]);
        self.output[..HIDDEN_2].copy_from_slice(&p[Part::OutputWeight.range()]);
        self.output_bias = p[Part::OutputBias.range().start];
    }

    fn get(&self, p: &mut [f32]) {
        for (row, w) in self.first.iter().zip(p[Part::FirstWeight.range()].chunks_exact_mut(HIDDEN_1)) {
            w.copy_from_slice(&row[..HIDDEN_1]);
        }
        for (row, w) in self.first.iter().zip(&mut p[Part::SkipWeight.range()]) {
            *w = row[LINEAR];
        }
        p[Part::FirstBias.range()].copy_from_slice(&self.first_bias[..HIDDEN_1]);
        p[Part::SkipBias.range().start] = self.first_bias[LINEAR];
        for (row, w) in self.second.iter().zip(p[Part::SecondWeight.range()].chunks_exact_mut(HIDDEN_2)) {
            w.copy_from_slice(&row[..HIDDEN_2]);
        }
        p[Part::SecondBias.range()].copy_from_slice(&self.second_bias[..HIDDEN_2]);
        p[Part::OutputWeight.range()].copy_from_slice(&self.output[..HIDDEN_2]);
        p[Part::OutputBias.range().start] = self.output_bias;
    }
}

/// A matrix as it is read: element (row, column) is at `row * stride[0] + column * stride[1]`.
#[derive(Clone, Copy)]
struct Strided<'a> {
    values: &'a [f32],
    stride: [usize; 2],
}

/// `sums [rows, N] += a [rows, inner] b [inner, N]`. An element's products are added one after the other, multiplied and
/// rounded, then added and rounded, so that they are the same with any instruction set.
#[inline(always)]
fn add_product<S: Simd, const N: usize>(simd: S, a: Strided, b: &[[f32; N]], sums: &mut [[f32; N]]) {
    const TILE: usize = 4;
    const { assert!(N.is_multiple_of(16)) };
    let [row_stride, column_stride] = a.stride;
    let last = (sums.len() - 1) * row_stride + (b.len() - 1) * column_stride;
    let values = &a.values[..last + 1];
    for (tile, sums) in sums.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
        let start = tile * TILE * row_stride;
        for vector in 0..N / S::F32_LANES {
            let mut tile: [S::f32s; TILE] = std::array::from_fn(|row| vectors::<S>(&sums[row])[vector]);
            for (inner, b) in b.iter().enumerate() {
                let b = vectors::<S>(b)[vector];
                for row in 0..TILE {
                    let a = simd.splat_f32s(values[start + row * row_stride + inner * column_stride]);
                    tile[row] = simd.add_f32s(tile[row], simd.mul_f32s(a, b));
                }
            }
            for row in 0..TILE {
                S::as_mut_simd_f32s(&mut sums[row]).0[vector] = tile[row];
            }
        }
    }
}

#[inline(always)]
fn vectors<S: Simd>(row: &[f32]) -> &[S::f32s] {
    S::as_simd_f32s(row).0
}

#[inline(always)]
fn relu<const N: usize>(rows: &mut [[f32; N]]) {
    for unit in rows.as_flattened_mut() {
        *unit = if *unit > 0.0 { *unit } else { 0.0 };
    }
}

/// Sums of the columns, added to `sums`.
#[inline(always)]
fn add_rows<const N: usize>(rows: &[[f32; N]], sums: &mut [f32; N]) {
    for row in rows {
        for i in 0..N {
            sums[i] += row[i];
        }
    }
}

/// A block of pairs on its way through the network.
struct Block {
    inputs: Vec<[f32; ROW]>,
    hidden_1: Vec<[f32; WIDTH_1]>,
    hidden_2: Vec<[f32; WIDTH_2]>,
    of_hidden_1: Vec<[f32; WIDTH_1]>,
    of_hidden_2: Vec<[f32; WIDTH_2]>,
    /// Logits, then the loss's gradients with respect to them.
    logits: Vec<f32>,
}

impl Block {
    fn new() -> Self {
        Self {
            inputs: vec![[0.0; ROW]; BLOCK],
            hidden_1: vec![[0.0; WIDTH_1]; BLOCK],
            hidden_2: vec![[0.0; WIDTH_2]; BLOCK],
            of_hidden_1: vec![[0.0; WIDTH_1]; BLOCK],
            of_hidden_2: vec![[0.0; WIDTH_2]; BLOCK],
            logits: vec![0.0; BLOCK],
        }
    }

    #[inline(always)]
    fn forward<S: Simd>(&mut self, simd: S, p: &Padded) {
        self.hidden_1.fill(p.first_bias);
        let inputs = Strided { values: self.inputs.as_flattened(), stride: [ROW, 1] };
        add_product(simd, inputs, &p.first, &mut self.hidden_1);
        for (logit, hidden) in self.logits.iter_mut().zip(&self.hidden_1) {
            *logit = hidden[LINEAR] + p.output_bias;
        }
        relu(&mut self.hidden_1);
        self.hidden_2.fill(p.second_bias);
        let hidden = Strided { values: self.hidden_1.as_flattened(), stride: [WIDTH_1, 1] };
        add_product(simd, hidden, &p.second, &mut self.hidden_2);
        relu(&mut self.hidden_2);
        for (logit, hidden) in self.logits.iter_mut().zip(&self.hidden_2) {
            for (hidden, w) in hidden[..HIDDEN_2].iter().zip(&p.output) {
                *logit += hidden * w;
            }
        }
    }

    /// Adds the gradients of the block.
    #[inline(always)]
    fn backward<S: Simd>(&mut self, simd: S, p: &Padded, g: &mut Padded) {
        for ((d, h), dz) in self.of_hidden_2.iter_mut().zip(&self.hidden_2).zip(&self.logits) {
            for k in 0..WIDTH_2 {
                g.output[k] += dz * h[k];
                d[k] = if h[k] > 0.0 { dz * p.output[k] } else { 0.0 };
            }
            g.output_bias += dz;
        }
        add_rows(&self.of_hidden_2, &mut g.second_bias);
        let hidden = Strided { values: self.hidden_1.as_flattened(), stride: [1, WIDTH_1] };
        add_product(simd, hidden, &self.of_hidden_2, &mut g.second);
        self.of_hidden_1.fill([0.0; WIDTH_1]);
        let of_hidden_2 = Strided { values: self.of_hidden_2.as_flattened(), stride: [WIDTH_2, 1] };
        add_product(simd, of_hidden_2, &p.backward, &mut self.of_hidden_1);
        for ((d, h), dz) in self.of_hidden_1.iter_mut().zip(&self.hidden_1).zip(&self.logits) {
            for j in 0..WIDTH_1 {
                d[j] = if h[j] > 0.0 { d[j] } else { 0.0 };
            }
            d[LINEAR] = *dz;
        }
        add_rows(&self.of_hidden_1, &mut g.first_bias);
        let inputs = Strided { values: self.inputs.as_flattened(), stride: [1, ROW] };
        add_product(simd, inputs, &self.of_hidden_1, &mut g.first);
    }
}

/// Weights as PyTorch's `nn.Linear` draws them; the linear part begins as the closed form.
pub fn initial(seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut p = vec![0.0f32; NUM_FITTED];
    for (part, fan_in, scale) in [
        (Part::FirstWeight, NUM_INPUTS, 1.0),
        (Part::FirstBias, NUM_INPUTS, 1.0),
        (Part::SecondWeight, HIDDEN_1, 1.0),
        (Part::SecondBias, HIDDEN_1, 1.0),
        (Part::OutputWeight, HIDDEN_2, 0.1),
        (Part::OutputBias, HIDDEN_2, 1.0),
    ] {
        let bound = 1.0 / (fan_in as f32).sqrt();
        for w in &mut p[part.range()] {
            *w = rng.random_range(-bound..bound) * scale;
        }
    }
    for w in &mut p[Part::SkipWeight.range()][..7] {
        *w = 3.0;
    }
    p
}

/// Fits a head.
pub fn fit(data: &FitData, options: &FitOptions) -> Vec<f32> {
    let mut p = initial(options.seed);
    let anchor = vec![0.0; p.len()];
    fit_from(&mut p, &anchor, data, options);
    p
}

pub fn fit_from(p: &mut [f32], anchor: &[f32], data: &FitData, options: &FitOptions) {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(1);
    let (mut m, mut v) = (vec![0.0f32; p.len()], vec![0.0f32; p.len()]);
    let mut g = vec![0.0f32; p.len()];
    let (mut weights, mut gradients) = (Box::new(Padded::ZEROS), Box::new(Padded::ZEROS));
    let mut block = Block::new();
    let n = data.labels.len();
    let decays: Vec<bool> = {
        let mut d = vec![false; p.len()];
        for part in [Part::FirstWeight, Part::SecondWeight, Part::OutputWeight, Part::SkipWeight] {
            d[part.range()].fill(true);
        }
        d
    };
    for step in 0..options.steps {
        weights.set(p);
        *gradients = Padded::ZEROS;
        for _ in 0..options.mini_batch_size / BLOCK {
            let rows: Vec<usize> = (0..BLOCK).map(|_| rng.random_range(0..n)).collect();
            pulp::Arch::new().dispatch(BlockStep {
                p: &weights,
                data,
                rows: &rows,
                scale: 1.0 / options.mini_batch_size as f32,
                block: &mut block,
                gradients: &mut gradients,
            });
        }
        gradients.get(&mut g);
        let rate = options.learning_rate * ((1.0 - step as f64 / options.steps as f64) + 0.001);
        let (c1, c2) = (1.0 - 0.9f64.powi(step as i32 + 1), 1.0 - 0.999f64.powi(step as i32 + 1));
        for i in 0..p.len() {
            let mut gi = g[i];
            if decays[i] {
                gi += 2.0 * options.weight_decay as f32 * (p[i] - anchor[i]);
            }
            m[i] = 0.9 * m[i] + 0.1 * gi;
            v[i] = 0.999 * v[i] + 0.001 * gi * gi;
            let den = (v[i] as f64 / c2).sqrt() + 1e-8;
            p[i] -= (rate * m[i] as f64 / c1 / den) as f32;
        }
    }
}

/// Logits of rows.
pub fn logits(p: &[f32], inputs: &[f32]) -> Vec<f32> {
    use rayon::prelude::*;
    let mut w = Box::new(Padded::ZEROS);
    w.set(p);
    inputs
        .par_chunks(ROW * 256)
        .flat_map_iter(|rows| {
            let mut out = vec![];
            pulp::Arch::new().dispatch(Fwd { p: &w, rows, out: &mut out });
            out
        })
        .collect()
}

struct Fwd<'a> {
    p: &'a Padded,
    rows: &'a [f32],
    out: &'a mut Vec<f32>,
}
impl pulp::WithSimd for Fwd<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let mut block = Block::new();
        for x in self.rows.as_chunks::<ROW>().0.chunks(BLOCK) {
            block.inputs[..x.len()].copy_from_slice(x);
            block.forward(simd, self.p);
            self.out.extend(&block.logits[..x.len()]);
        }
    }
}

struct BlockStep<'a, 'b> {
    p: &'a Padded,
    data: &'a FitData<'b>,
    rows: &'a [usize],
    scale: f32,
    block: &'a mut Block,
    gradients: &'a mut Padded,
}

impl pulp::WithSimd for BlockStep<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Self { p, data, rows, scale, block, gradients } = self;
        let all = data.inputs.as_chunks::<ROW>().0;
        for (l, r) in rows.iter().enumerate() {
            block.inputs[l] = all[*r];
        }
        block.forward(simd, p);
        for (l, r) in rows.iter().enumerate() {
            let z = &mut block.logits[l];
            let s = 1.0 / (1.0 + (-*z).exp());
            *z = (s - data.labels[*r]) * data.weights[*r] * scale;
        }
        block.backward(simd, p, gradients);
    }
}
