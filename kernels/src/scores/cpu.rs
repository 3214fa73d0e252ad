//! The CPU twins of folding and scoring.

use pulp::Simd;
use rayon::prelude::*;

use crate::addresses::Addresses;
use crate::first_layer::ByteTables;
use crate::matrix::{Panels, hidden_layer, multiply};
use crate::prefetch::prefetch;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, dot, padded, vectors_mut};

/// Pairs of one task: their activations stay in the cache.
const PAIRS_PER_TASK: usize = 512;

/// The CPU twin of folding: from rows of a table, `[N, d]`, to `[N, width + 1]`.
pub fn fold_on_slices(shape: &ModelShape, parameters: &[f32], rows: &[f32]) -> Vec<f32> {
    const ROWS_PER_TASK: usize = 64;
    let (d, columns) = (shape.vector_dim, shape.folded_width());
    let output = Panels::transposed(&parameters[shape.layer(shape.num_hidden)], [d, columns]);
    let mut folded = vec![0.0; rows.len() / d * columns];
    let tasks = folded.par_chunks_mut(ROWS_PER_TASK * columns).zip(rows.par_chunks(ROWS_PER_TASK * d));
    tasks.for_each(|(folded, rows)| {
        pulp::Arch::new().dispatch(Fold { rows, output: &output, folded, shape });
    });
    folded
}

struct Fold<'a> {
    rows: &'a [f32],
    output: &'a Panels,
    folded: &'a mut [f32],
    shape: &'a ModelShape,
}

impl pulp::WithSimd for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (d, columns) = (self.shape.vector_dim, self.shape.folded_width());
        let width = padded(columns);
        let mut products = AlignedVec::zeros(self.rows.len() / d * width);
        multiply(simd, self.rows, d, self.output, &mut products);
        for (folded, product) in self.folded.chunks_exact_mut(columns).zip(products.chunks_exact(width)) {
            folded.copy_from_slice(&product[..columns]);
        }
    }
}

/// What the CPU twin scores with.
#[derive(Clone, Copy)]
pub struct ScoreInputs<'a> {
    /// `[N, width + 1]`: folded rows.
    pub folded: &'a [f32],
    /// Of [`tables_on_slices`].
    pub tables: &'a [f32],
    /// `[num_parameters]`: the encoder.
    pub parameters: &'a [f32],
    /// The encoder's shape.
    pub shape: ModelShape,
}

/// The lookup tables of an encoder's first layer, for [`scores_on_slices`].
pub fn tables_on_slices(shape: &ModelShape, parameters: &[f32]) -> Vec<f32> {
    ByteTables::<AlignedVec>::new(shape, parameters).entries()
}

/// Pairs to score, as slices of one length.
#[derive(Clone, Copy)]
pub struct PairsToScore<'a> {
    /// Rows of the folded table.
    pub rows: &'a [i32],
    /// Addresses.
    pub ips: Addresses<'a>,
}

/// The CPU twin of scoring: `out[i]` is the score of the i-th pair.
pub fn scores_on_slices(inputs: ScoreInputs<'_>, pairs: PairsToScore<'_>, out: &mut [f32]) {
    let (shape, d) = (inputs.shape, inputs.shape.vector_dim);
    let hidden: Vec<Panels> =
        (1..shape.num_hidden).map(|l| Panels::new(&inputs.parameters[shape.weight(l)], [d, d])).collect();
    let score = |pairs: PairsToScore<'_>, out: &mut [f32]| {
        pulp::Arch::new().dispatch(Score { inputs, hidden: &hidden, pairs, out });
    };
    if out.len() <= PAIRS_PER_TASK {
        return score(pairs, out); // handing it to another thread would take longer
    }
    out.par_chunks_mut(PAIRS_PER_TASK).enumerate().for_each(|(i, out)| {
        let range = i * PAIRS_PER_TASK..i * PAIRS_PER_TASK + out.len();
        score(PairsToScore { rows: &pairs.rows[range.clone()], ips: pairs.ips.slice(range) }, out);
    });
}

/// Pairs of one task.
struct Score<'a> {
    inputs: ScoreInputs<'a>,
    hidden: &'a [Panels],
    pairs: PairsToScore<'a>,
    out: &'a mut [f32],
}

impl pulp::WithSimd for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        const ROWS_AHEAD: usize = 12;
        let ScoreInputs { folded, tables, shape, .. } = self.inputs;
        let PairsToScore { rows, ips } = self.pairs;
        let tables = ByteTables::from_entries(&shape, tables);
        let (width, columns) = (shape.output_width(), shape.folded_width());
        let folded_row = |i: usize| &folded[rows[i] as usize * columns..][..columns];
        (0..rows.len().min(ROWS_AHEAD)).for_each(|i| prefetch(folded_row(i)));
        let activations = (!self.hidden.is_empty()).then(|| self.activations(simd, &tables));
        for (i, ip) in ips.iter().enumerate() {
            if i + ROWS_AHEAD < rows.len() {
                prefetch(folded_row(i + ROWS_AHEAD));
            }
            let (q, c) = folded_row(i).split_at(width);
            let product = match &activations {
                None => tables.dot(simd, q, ip),
                Some(activations) => dot(simd, q, &activations[i * tables.width()..][..width]),
            };
            self.out[i] = product + c[0];
        }
    }
}

impl Score<'_> {
    /// The activations of the last of several hidden layers, `[pairs, padded width]`.
    #[inline(always)]
    fn activations<S: Simd>(&self, simd: S, tables: &ByteTables<&[f32]>) -> AlignedVec {
        let (shape, width) = (self.inputs.shape, tables.width());
        let mut activations = AlignedVec::zeros(self.pairs.ips.len() * width);
        let mut above = AlignedVec::zeros(activations.len());
        let rows = vectors_mut::<S>(&mut activations).chunks_exact_mut(width / S::F32_LANES);
        self.pairs.ips.iter().zip(rows).for_each(|(ip, h)| tables.encode(simd, ip, h));
        for (l, weight) in self.hidden.iter().enumerate() {
            let bias = &self.inputs.parameters[shape.bias(l + 1)];
            hidden_layer(simd, &activations, weight, bias, &mut above);
            std::mem::swap(&mut activations, &mut above);
        }
        activations
    }
}
