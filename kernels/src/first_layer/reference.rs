//! The references of the first layer: one activation, one gradient.

use crate::bits::bits_on_slices;
use crate::shape::NUM_BITS;

/// The reference of the forward pass: activation `k` of an address, from weights `[32, d]` and biases `[d]`.
pub fn first_layer_reference(weight: &[f32], bias: &[f32], ip: u32, k: usize) -> f64 {
    let d = bias.len();
    let mut bits = [0.0; NUM_BITS];
    bits_on_slices(&[ip], &mut bits);
    let product = |i: usize| (bits[i] * weight[i * d + k]) as f64;
    ((0..NUM_BITS).map(product).sum::<f64>() + bias[k] as f64).max(0.0)
}

/// The reference of the backward pass: the gradient of weight (`bit`, `k`), or of bias `k` without a bit, from
/// the gradients `[N, d]` of the activations.
pub fn first_layer_gradient_reference(ips: &[u32], gradients: &[f32], bit: Option<usize>, k: usize) -> f64 {
    let d = gradients.len() / ips.len();
    let sign = |ip: u32| match bit {
        Some(bit) if (ip >> (NUM_BITS - 1 - bit)) & 1 == 0 => -1.0,
        _ => 1.0,
    };
    ips.iter().zip(gradients.chunks_exact(d)).map(|(ip, gradient)| sign(*ip) * gradient[k] as f64).sum()
}
