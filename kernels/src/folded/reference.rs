//! The reference: the same loss and gradients in the plain form, pair by pair, in float64.
//!
//! ```text
//! logit = e · v,  v = h_L W_L + b_L    dv = g e,  de += g v        and down the layers from dv as usual
//! ```

use std::ops::Range;

use super::inputs::{FoldedInputs, FoldedOutputs};
use crate::bits::bits_of;
use crate::pair_loss::LossSums;
use crate::shape::ModelShape;

/// The logits, `[B, P]`, the gradients of the entity rows, `[U, d]`, and the rest.
pub fn folded_reference(inputs: FoldedInputs<'_>, rows: &[f32]) -> (Vec<f32>, Vec<f32>, FoldedOutputs) {
    let d = inputs.shape.vector_dim;
    let num_pairs = inputs.num_pairs();
    let num_counting: f64 = inputs.mask.iter().map(|counts| *counts as f64).sum();
    let mut of_rows = vec![0.0f64; rows.len()];
    let mut of_parameters = vec![0.0f64; inputs.parameters.len()];
    let (mut logits, mut sums) = (Vec::new(), LossSums::default());
    for (u, (e, of_row)) in rows.chunks_exact(d).zip(of_rows.chunks_exact_mut(d)).enumerate() {
        let pairs: Range<usize> =
            inputs.segments[u] as usize * num_pairs..inputs.segments[u + 1] as usize * num_pairs;
        for pair in pairs {
            let layers = forward(&inputs.shape, inputs.parameters, inputs.pair_ips.get(pair));
            let v = &layers[layers.len() - 1];
            let logit = e.iter().zip(v).map(|(e, v)| *e as f64 * v).sum::<f64>();
            logits.push(logit as f32);
            let (is_positive, counts) = (pair % num_pairs == 0, inputs.mask[pair] as f64);
            let margin = if is_positive { logit } else { -logit };
            sums.cross_entropy += counts * ((-margin).max(0.0) + (-margin.abs()).exp().ln_1p());
            sums.num_correct += counts * f64::from((logit > 0.0) == is_positive);
            sums.num_pairs += counts;
            let g = counts * (1.0 / (1.0 + (-logit).exp()) - f64::from(is_positive)) / num_counting;
            of_row.iter_mut().zip(v).for_each(|(sum, v)| *sum += g * v);
            let dv = e.iter().map(|e| g * *e as f64).collect();
            backward(&inputs.shape, inputs.parameters, &layers, dv, &mut of_parameters);
        }
    }
    let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (logits, single(of_rows), FoldedOutputs { sums, parameters: single(of_parameters) })
}

/// The bits, every hidden layer's activations, and the output of one address.
fn forward(shape: &ModelShape, parameters: &[f32], ip: u64) -> Vec<Vec<f64>> {
    let mut layers = vec![bits_of(ip, shape.families).into_iter().map(f64::from).collect::<Vec<_>>()];
    for l in 0..=shape.num_hidden {
        let (weight, bias) = (&parameters[shape.weight(l)], &parameters[shape.bias(l)]);
        let below = &layers[l];
        let output = |k: usize| {
            let product = |i: usize| below[i] * weight[i * shape.vector_dim + k] as f64;
            let sum = (0..below.len()).map(product).sum::<f64>() + bias[k] as f64;
            if l < shape.num_hidden { sum.max(0.0) } else { sum }
        };
        layers.push((0..shape.vector_dim).map(output).collect());
    }
    layers
}

/// Adds the gradients of the parameters, from the gradient of the output.
fn backward(
    shape: &ModelShape,
    parameters: &[f32],
    layers: &[Vec<f64>],
    mut gradient: Vec<f64>,
    sums: &mut [f64],
) {
    let d = shape.vector_dim;
    for l in (0..=shape.num_hidden).rev() {
        let (weight, below) = (&parameters[shape.weight(l)], &layers[l]);
        for (i, h) in below.iter().enumerate() {
            let row = &mut sums[shape.weight(l)][i * d..(i + 1) * d];
            row.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += h * g);
        }
        sums[shape.bias(l)].iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
        let of_below = |i: usize| {
            let through = (0..d).map(|k| weight[i * d + k] as f64 * gradient[k]).sum::<f64>();
            if below[i] > 0.0 { through } else { 0.0 }
        };
        gradient = (0..below.len()).map(of_below).collect();
    }
}
