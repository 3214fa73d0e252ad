//! The references of folding and scoring.

use crate::bits::bits_of;
use crate::shape::ModelShape;

/// The reference of folding: element `column` of an entity's folded row, from its vector.
pub fn fold_reference(shape: &ModelShape, parameters: &[f32], vector: &[f32], column: usize) -> f64 {
    // The bias is the row behind the weights.
    let start = shape.layer(shape.num_hidden).start + column * shape.vector_dim;
    let row = &parameters[start..start + shape.vector_dim];
    row.iter().zip(vector).map(|(w, e)| *w as f64 * *e as f64).sum()
}

/// The reference of scoring: from an entity's folded row.
pub fn score_reference(shape: &ModelShape, parameters: &[f32], folded: &[f32], ip: u64) -> f64 {
    let mut hidden: Vec<f64> = bits_of(ip, shape.families).into_iter().map(f64::from).collect();
    for l in 0..shape.num_hidden {
        let (weight, bias) = (&parameters[shape.weight(l)], &parameters[shape.bias(l)]);
        let activation = |k: usize| {
            let product = |i: usize| hidden[i] * weight[i * shape.vector_dim + k] as f64;
            ((0..hidden.len()).map(product).sum::<f64>() + bias[k] as f64).max(0.0)
        };
        hidden = (0..shape.vector_dim).map(activation).collect();
    }
    let (q, c) = (&folded[..hidden.len()], folded[hidden.len()]);
    hidden.iter().zip(q).map(|(h, q)| h * *q as f64).sum::<f64>() + c as f64
}
