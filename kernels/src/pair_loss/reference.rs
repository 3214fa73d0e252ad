//! The reference of the pass over a row's pairs: one pair.

/// Logit, cross entropy and gradient of one pair, from its row's q and c and its address's activations.
pub fn pair_reference(q: &[f32], c: f32, h: &[f32], is_positive: bool) -> (f64, f64, f64) {
    let logit = q.iter().zip(h).map(|(q, h)| *q as f64 * *h as f64).sum::<f64>() + c as f64;
    let margin = if is_positive { logit } else { -logit };
    let cross_entropy = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    let sigmoid = 1.0 / (1.0 + (-logit).exp());
    (logit, cross_entropy, sigmoid - f64::from(is_positive))
}
