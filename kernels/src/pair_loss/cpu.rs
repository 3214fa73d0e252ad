//! The CPU twin of the pass over a row's pairs.

use pulp::Simd;

use crate::simd::{dot_vectors, padded, vectors, vectors_mut};

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

    /// Counts a pair; what is left to add is `ln(1 + exp(-|logit|))`.
    #[inline(always)]
    fn count(&mut self, logit: f32, is_positive: bool) {
        let margin = if is_positive { logit } else { -logit };
        self.cross_entropy += (-margin).max(0.0) as f64;
        // A logit of 0 says no.
        let is_right = if is_positive { logit > 0.0 } else { logit <= 0.0 };
        self.num_correct += f64::from(is_right);
        self.num_pairs += 1.0;
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

/// One positive's P pairs.
pub(crate) struct PositivePairs<'a, V> {
    /// A padded row.
    pub q: &'a [V],
    pub c: f32,
    /// `[P]`
    pub mask: &'a [f32],
    /// What gradients are multiplied by.
    pub scale: f32,
}

/// What the pass over one positive's pairs writes.
pub(crate) struct PairGradients<'a, V> {
    /// P padded rows: h, replaced by dh.
    pub hidden: &'a mut [V],
    /// A padded row that is added to.
    pub s: &'a mut [V],
    /// `[P]`, written.
    pub logits: &'a mut [f32],
    /// `[P]`, written: g.
    pub gradients: &'a mut [f32],
}

/// The CPU twin, for the pairs of one positive.
#[inline(always)]
pub(crate) fn pair_loss<S: Simd>(
    simd: S,
    pairs: PositivePairs<'_, S::f32s>,
    out: PairGradients<'_, S::f32s>,
) -> LossSums {
    let PositivePairs { q, c, mask, scale } = pairs;
    let PairGradients { hidden, s, logits, gradients } = out;
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
        if *mask != 0.0 {
            product *= 1.0 + small as f64;
            sums.count(*logit, p == 0);
        }
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

/// One positive's pairs as slices, for [`RowLoss::run`].
pub struct RowLoss<'a> {
    /// `[width]`, width being a multiple of 16
    pub q: &'a [f32],
    /// Added to every logit.
    pub c: f32,
    /// `[P]`
    pub mask: &'a [f32],
    /// What gradients are multiplied by.
    pub scale: f32,
}

impl RowLoss<'_> {
    /// The CPU twin: replaces the activations `hidden`, `[P, width]`, by their gradients, adds to `s`,
    /// `[width]`, and fills `logits` and `gradients`, `[P]` each.
    ///
    /// # Panics
    ///
    /// Where the width is not a multiple of 16: rows are padded by the caller.
    pub fn run(
        &self,
        hidden: &mut [f32],
        s: &mut [f32],
        logits: &mut [f32],
        gradients: &mut [f32],
    ) -> LossSums {
        assert!(padded(self.q.len()) == self.q.len() && s.len() == self.q.len());
        pulp::Arch::new().dispatch(RunRowLoss { row: self, hidden, s, logits, gradients })
    }
}

struct RunRowLoss<'a> {
    row: &'a RowLoss<'a>,
    hidden: &'a mut [f32],
    s: &'a mut [f32],
    logits: &'a mut [f32],
    gradients: &'a mut [f32],
}

impl pulp::WithSimd for RunRowLoss<'_> {
    type Output = LossSums;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> LossSums {
        let RowLoss { q, c, mask, scale } = *self.row;
        let pairs = PositivePairs { q: vectors::<S>(q), c, mask, scale };
        let out = PairGradients {
            hidden: vectors_mut::<S>(self.hidden),
            s: vectors_mut::<S>(self.s),
            logits: self.logits,
            gradients: self.gradients,
        };
        pair_loss(simd, pairs, out)
    }
}
