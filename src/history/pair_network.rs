//! The head's network for one pair, with a unit of a layer in each lane of a vector: a service scores one pair at a time,
//! and a block of pairs would be nearly empty.
//!
//! Every sum has the order that it has in a block, so that a pair has the same score alone and among others.

use pulp::Simd;

use super::features::NUM_INPUTS;
use super::network::{HIDDEN_1, HIDDEN_2, Part};

/// Lanes of the first layer: its units, then the linear part, then zeros.
const WIDTH_1: usize = (HIDDEN_1 + 1).next_multiple_of(16);

/// Lanes of the second layer: its units, then zeros.
const WIDTH_2: usize = HIDDEN_2.next_multiple_of(16);

/// Where the linear part is among the units of the first layer.
const LINEAR: usize = HIDDEN_1;

/// The network's parameters in padded rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PairNetwork {
    /// `[num_inputs, WIDTH_1]`.
    first: Vec<[f32; WIDTH_1]>,
    first_bias: [f32; WIDTH_1],
    second: [[f32; WIDTH_2]; HIDDEN_1],
    second_bias: [f32; WIDTH_2],
    output: [f32; HIDDEN_2],
}

impl PairNetwork {
    /// Takes a head's parameters, `[NUM_PARAMETERS]`, and the number of its inputs that have weights.
    pub(super) fn new(parameters: &[f32], num_inputs: usize) -> Self {
        let part = |part: Part| &parameters[part.range()];
        let mut network = Self {
            first: vec![[0.0; WIDTH_1]; num_inputs],
            first_bias: [0.0; WIDTH_1],
            second: [[0.0; WIDTH_2]; HIDDEN_1],
            second_bias: [0.0; WIDTH_2],
            output: [0.0; HIDDEN_2],
        };
        let first = part(Part::FirstWeight).as_chunks::<HIDDEN_1>().0;
        let rows = network.first.iter_mut().zip(first.iter().zip(part(Part::SkipWeight)));
        for (row, (weights, linear)) in rows {
            row[..HIDDEN_1].copy_from_slice(weights);
            row[LINEAR] = *linear;
        }
        network.first_bias[..HIDDEN_1].copy_from_slice(part(Part::FirstBias));
        network.first_bias[LINEAR] = part(Part::OutputBias)[0] + part(Part::SkipBias)[0];
        let second = part(Part::SecondWeight).as_chunks::<HIDDEN_2>().0;
        for (row, weights) in network.second.iter_mut().zip(second) {
            row[..HIDDEN_2].copy_from_slice(weights);
        }
        network.second_bias[..HIDDEN_2].copy_from_slice(part(Part::SecondBias));
        network.output.copy_from_slice(part(Part::OutputWeight));
        network
    }

    /// The network's part of the score of a pair with these inputs.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(&self, simd: S, inputs: &[[f32; 1]; NUM_INPUTS]) -> f32 {
        let mut hidden_1 = self.first_bias;
        add_rows(simd, inputs.as_flattened(), &self.first, &mut hidden_1);
        let linear = hidden_1[LINEAR];
        relu(&mut hidden_1);
        let mut hidden_2 = self.second_bias;
        add_rows(simd, &hidden_1[..HIDDEN_1], &self.second, &mut hidden_2);
        relu(&mut hidden_2);
        let mut sum = simd.splat_f32s(linear);
        for (unit, weight) in hidden_2.iter().zip(&self.output) {
            sum = simd.mul_add_e_f32s(simd.splat_f32s(*weight), simd.splat_f32s(*unit), sum);
        }
        let mut lanes = [0.0; WIDTH_2];
        S::as_mut_simd_f32s(&mut lanes).0[0] = sum;
        lanes[0]
    }
}

/// `sums += weights^T inputs`, one input after the other.
#[inline(always)]
fn add_rows<S: Simd, const WIDTH: usize>(
    simd: S,
    inputs: &[f32],
    weights: &[[f32; WIDTH]],
    sums: &mut [f32; WIDTH],
) {
    for (vector, sums) in S::as_mut_simd_f32s(sums).0.iter_mut().enumerate() {
        for (input, row) in inputs.iter().zip(weights) {
            let row = S::as_simd_f32s(row).0[vector];
            *sums = simd.mul_add_e_f32s(row, simd.splat_f32s(*input), *sums);
        }
    }
}

#[inline(always)]
fn relu<const WIDTH: usize>(units: &mut [f32; WIDTH]) {
    for unit in units {
        *unit = if *unit > 0.0 { *unit } else { 0.0 };
    }
}
