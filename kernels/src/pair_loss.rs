//! Score, cross entropy and their gradients of one entity row against the hidden activations of one address
//! each of its pairs, in the folded form.
//!
//! ```text
//! z_p = q · h_p + c                          q = W_o e,  c = e · b_o: the output layer, folded into the entity
//! CE  = sum over p of m_p · ln(1 + exp(-y_p z_p))          y_0 = +1, the others -1; m_p: 0 where masked
//! g_p = m_p · (sigmoid(z_p) - [p = 0]) · scale             scale = 1 / sum of all m
//! s  += sum over p of g_p h_p,   G += sum over p of g_p    for the gradients of e, W_o and b_o
//! dh_p = g_p q where h_p > 0                               for the gradients of the layers below
//! ```
//!
//! `ln(1 + exp(-m)) = relu(-m) + ln(1 + exp(-|m|))` without overflow. Cost of a row at width d and P pairs:
//! 4 P d FLOP and, with everything in cache, 8 P d bytes read.

use pulp::Simd;

use crate::simd::dot_vectors;

/// What is published of the loss, summed over pairs that are not masked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// Cross entropy.
    pub cross_entropy: f64,
    /// Pairs on the right side of 0.
    pub num_correct: f64,
    /// Pairs.
    pub num_pairs: f64,
}

impl LossSums {
    /// As they are published.
    pub(crate) fn to_vec(self) -> Vec<f32> {
        [self.cross_entropy, self.num_correct, self.num_pairs].map(|sum| sum as f32).to_vec()
    }

    pub(crate) fn add(&mut self, other: LossSums) {
        self.cross_entropy += other.cross_entropy;
        self.num_correct += other.num_correct;
        self.num_pairs += other.num_pairs;
    }
}

/// The derivative of a pair's cross entropy by its logit, and `exp(-|logit|)`.
#[inline(always)]
fn derivative(logit: f32, is_positive: bool) -> (f32, f32) {
    let small = (-logit.abs()).exp();
    let (near, far) = (1.0 / (1.0 + small), small / (1.0 + small));
    // sigmoid(z) - 1 = -sigmoid(-z): no difference of near numbers.
    let gradient = match is_positive {
        true => -(if logit >= 0.0 { far } else { near }),
        false => {
            if logit >= 0.0 {
                near
            } else {
                far
            }
        }
    };
    (gradient, small)
}

/// The CPU twin, for the pairs of one positive.
///
/// # Shapes
///
/// - `q`, `s`: a padded row
/// - `hidden`: P padded rows: h, replaced by dh
/// - `logits`, `mask`: `[P]`; `logits` is written
/// - `gradients`: `[P]`, written: g
#[inline(always)]
pub(crate) fn pair_loss<S: Simd>(
    simd: S,
    (q, c): (&[S::f32s], f32),
    hidden: &mut [S::f32s],
    mask: &[f32],
    scale: f32,
    s: &mut [S::f32s],
    (logits, gradients): (&mut [f32], &mut [f32]),
) -> LossSums {
    let len = q.len();
    for (logit, h) in logits.iter_mut().zip(hidden.chunks_exact(len)) {
        *logit = dot_vectors(simd, q, h) + c;
    }
    let mut sums = LossSums::default();
    // One logarithm a row: P factors of 1..=2 stay below 2^1001, within a double.
    let mut product = 1.0f64;
    for (p, ((logit, mask), gradient)) in logits.iter().zip(mask).zip(gradients.iter_mut()).enumerate() {
        let (derivative, small) = derivative(*logit, p == 0);
        *gradient = derivative * mask * scale;
        if *mask == 0.0 {
            continue;
        }
        let margin = if p == 0 { *logit } else { -*logit };
        product *= 1.0 + small as f64;
        sums.cross_entropy += (-margin).max(0.0) as f64;
        let is_right = if p == 0 { *logit > 0.0 } else { *logit <= 0.0 };
        sums.num_correct += f64::from(is_right);
        sums.num_pairs += 1.0;
    }
    sums.cross_entropy += product.ln();
    for (h, gradient) in hidden.chunks_exact_mut(len).zip(gradients.iter()) {
        let g = simd.splat_f32s(*gradient);
        for ((h, s), q) in h.iter_mut().zip(&mut *s).zip(q) {
            *s = simd.mul_add_e_f32s(g, *h, *s);
            *h = masked(simd, *h, simd.mul_f32s(g, *q));
        }
    }
    sums
}

/// The gradient of a ReLU's input: that of its output where the output is above 0.
#[inline(always)]
pub(crate) fn masked<S: Simd>(simd: S, activation: S::f32s, gradient: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.greater_than_f32s(activation, zero), gradient, zero)
}

/// The reference: logit, cross entropy and gradient of one pair.
pub fn pair_reference(q: &[f32], c: f32, h: &[f32], is_positive: bool) -> (f64, f64, f64) {
    let logit = q.iter().zip(h).map(|(q, h)| *q as f64 * *h as f64).sum::<f64>() + c as f64;
    let margin = if is_positive { logit } else { -logit };
    let cross_entropy = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    let sigmoid = 1.0 / (1.0 + (-logit).exp());
    (logit, cross_entropy, sigmoid - f64::from(is_positive))
}
