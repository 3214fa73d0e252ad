//! The references of the first layer: one activation, one gradient.

use super::cpu::FirstLayer;
use crate::addresses::Addresses;
use crate::bits::bits_of;

/// The reference of the forward pass: activation `k` of an address.
pub fn first_layer_reference(layer: FirstLayer<'_>, ip: u64, k: usize) -> f64 {
    let FirstLayer { weight, bias, families } = layer;
    let product = |(bit, row): (f32, &[f32])| (bit * row[k]) as f64;
    let products = bits_of(ip, families).into_iter().zip(weight.chunks_exact(bias.len())).map(product);
    (products.sum::<f64>() + bias[k] as f64).max(0.0)
}

/// The reference of the backward pass: the gradients of the weights, `[n, d]`, and of the biases, `[d]`, from those
/// of the activations, `[N, d]`.
pub fn first_layer_gradients_reference(
    layer: FirstLayer<'_>,
    ips: Addresses<'_>,
    gradients: &[f32],
) -> (Vec<f64>, Vec<f64>) {
    let d = layer.bias.len();
    let (mut weight, mut bias) = (vec![0.0; layer.weight.len()], vec![0.0; d]);
    for (ip, gradient) in ips.iter().zip(gradients.chunks_exact(d)) {
        for (bit, row) in bits_of(ip, layer.families).into_iter().zip(weight.chunks_exact_mut(d)) {
            row.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += (bit * g) as f64);
        }
        bias.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += *g as f64);
    }
    (weight, bias)
}
