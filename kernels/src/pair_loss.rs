//! Score, cross entropy and their gradients of one entity row against the hidden activations of one address
//! each of its pairs, in the folded form.
//!
//! ```text
//! z_p = q · h_p + c_p                        q = W_o e: the output layer, folded into the entity
//!                                            c_p = e · b_o, and what the memory adds
//! z_p = ln(exp(z_p) + exp(x_p))              where there is a part x_p, as in `elsewhere`
//! CE  = sum over p of m_p · ln(1 + exp(-y_p z_p))          y_0 = +1, the others -1; m_p: 0 where masked
//! g_p = m_p · (sigmoid(z_p) - [p = 0]) · scale             scale = 1 / sum of all m
//! s  += sum over p of g_p h_p,   G += sum over p of g_p    for the gradients of e, W_o and b_o
//! dh_p = g_p q where h_p > 0                               for the gradients of the layers below
//! x_p takes its share of g_p, and what is left of it goes into s, G and dh_p
//! ```
//!
//! `ln(1 + exp(-m)) = relu(-m) + ln(1 + exp(-|m|))` without overflow. Cost of a row at width d and P pairs:
//! 4 P d FLOP and, with everything in cache, 8 P d bytes read.

use pulp::Simd;

use crate::elsewhere::mix;
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
/// - `q`, `s`: a padded row; `c`: `[P]` at least
/// - `elsewhere`: `[P]`: x, replaced by its gradients; or empty
/// - `hidden`: P padded rows: h, replaced by dh
/// - `logits`, `mask`: `[P]`; `logits` is written
/// - `gradients`: `[P]`, written: g
#[inline(always)]
pub(crate) fn pair_loss<S: Simd>(
    simd: S,
    (q, c, elsewhere): (&[S::f32s], &[f32], &mut [f32]),
    hidden: &mut [S::f32s],
    mask: &[f32],
    scale: f32,
    s: &mut [S::f32s],
    (logits, gradients): (&mut [f32], &mut [f32]),
) -> LossSums {
    let len = q.len();
    for ((logit, h), c) in logits.iter_mut().zip(hidden.chunks_exact(len)).zip(c) {
        *logit = dot_vectors(simd, q, h) + c;
    }
    for (logit, x) in logits.iter_mut().zip(&mut *elsewhere) {
        // x has done its work: what stays is the share of the gradient that is its.
        let share;
        (*logit, share) = mix(*logit, *x);
        *x = 1.0 - share;
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
    for (gradient, x) in gradients.iter_mut().zip(elsewhere) {
        *x *= *gradient;
        *gradient -= *x;
    }
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
    /// `[P]`
    pub c: &'a [f32],
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
        let (hidden, s) = (vectors_mut::<S>(self.hidden), vectors_mut::<S>(self.s));
        pair_loss(simd, (vectors::<S>(q), c, &mut []), hidden, mask, scale, s, (self.logits, self.gradients))
    }
}

/// The reference: logit, cross entropy and gradient of one pair.
pub fn pair_reference(q: &[f32], c: f32, h: &[f32], is_positive: bool) -> (f64, f64, f64) {
    let logit = q.iter().zip(h).map(|(q, h)| *q as f64 * *h as f64).sum::<f64>() + c as f64;
    let margin = if is_positive { logit } else { -logit };
    let cross_entropy = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    let sigmoid = 1.0 / (1.0 + (-logit).exp());
    (logit, cross_entropy, sigmoid - f64::from(is_positive))
}

/// The same on a device: one pass over the pairs of each unique row.
///
/// One cube per row, one unit per column and column + units and so on. Four or eight pairs at a time have their
/// dot products summed through 4.5 KiB of shared memory, their losses made by a unit each, and are added to s
/// with activations that are looked up again, which costs less than to keep them. q, e and s move once, 12 d
/// bytes a row, and tables and b_o come from cache; FLOP as on the CPU, and 16 d additions a pair for lookups.
/// g is not scaled: the products and sums that follow divide by the pairs that count, which this kernel sums.
#[cfg(feature = "wgpu")]
pub(crate) mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::prelude::*;

    use crate::elsewhere::device::{common, elsewhere, smaller_part};
    use crate::first_layer::device::{lookup, sign};
    use crate::launch;
    use crate::matrix::device::{Part, sum_slices};
    use crate::memory::PrefixLengths;
    use crate::memory::device::memory_sum;
    use crate::shape::ModelShape;

    /// The pairs of a mini-batch.
    pub(crate) struct Pairs {
        /// `[U + 1]`
        pub segments: CubeTensor,
        /// `[B]`
        pub tags: CubeTensor,
        /// `[B, P]`
        pub ips: CubeTensor,
        /// `[B, P]`
        pub mask: CubeTensor,
    }

    impl Pairs {
        /// P
        pub fn num_pairs(&self) -> usize {
            self.mask.meta.shape()[1]
        }
    }

    /// What one pass over the pairs of every unique row gives; of the summed, not of the mean loss.
    pub(crate) struct RowLosses {
        /// `[U, output width]`
        pub q: CubeTensor,
        /// `[B, P]`
        pub logits: CubeTensor,
        /// `[B, P]`: g, and behind it as much again of `elsewhere` where there is this part
        pub pair_gradients: CubeTensor,
        /// `[U, output width + 1]`: s and G
        pub s: CubeTensor,
        /// `[B]`: the unique row of each positive
        pub rows_of_positives: CubeTensor,
        /// `[U, 3]`: cross entropy, correct pairs, pairs
        row_sums: CubeTensor,
    }

    /// What the last layer takes of an address.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) enum Activations {
        /// Its bits.
        Bits,
        /// The first hidden layer's activations, by lookup.
        Tables,
        /// Activations that are kept.
        Kept,
    }

    #[cube]
    pub(crate) fn activation(
        source: &[f32],
        ips: &[u32],
        pair: usize,
        column: usize,
        width: usize,
        #[comptime] activations: Activations,
    ) -> f32 {
        match comptime!(activations) {
            Activations::Bits => sign(ips[pair], column as u32),
            Activations::Tables => lookup(source, ips[pair], column, width),
            Activations::Kept => source[pair * width + column],
        }
    }

    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn row_losses_kernel(
        rows: &[f32],
        parameters: &[f32],
        q: &[f32],
        source: &[f32],
        segments: &[i32],
        tags: &[u32],
        ips: &[u32],
        mask: &[f32],
        logits: &mut [f32],
        pair_gradients: &mut [f32],
        s: &mut [f32],
        rows_of_positives: &mut [u32],
        row_sums: &mut [f32],
        num_rows: u32,
        num_pairs: u32,
        vector_dim: u32,
        width: u32,
        output_bias: u32,
        prefix_weights: u32,
        row_width: u32,
        num_row_cells: u32,
        num_cells: u32,
        all_pairs: u32,
        #[comptime] memory: PrefixLengths,
        #[comptime] prefixes: PrefixLengths,
        #[comptime] units: u32,
        #[comptime] pairs_at_once: usize,
        #[comptime] activations: Activations,
    ) {
        let row = CUBE_POS;
        if row >= num_rows as usize {
            terminate!();
        }
        let unit = UNIT_POS as usize;
        let units = comptime!(units as usize);
        let width = width as usize;
        let d = vector_dim as usize;
        let first_positive = segments[row] as usize;
        let end_positive = segments[row + 1] as usize;
        let start = first_positive * num_pairs as usize;
        let end = end_positive * num_pairs as usize;
        let last = max(end, 1) - 1;

        let mut positive = first_positive + unit;
        while positive < end_positive {
            rows_of_positives[positive] = row as u32;
            positive += units;
        }
        // This unit's share of c, which every dot product of the row starts with.
        let mut share_of_c = 0.0f32;
        let mut column = unit;
        while column < d {
            share_of_c += rows[row * row_width as usize + column] * parameters[output_bias as usize + column];
            column += units;
        }

        let mut shares = Shared::<[f32]>::new_slice(comptime!(pairs_at_once * units));
        let mut partial_sums = Shared::<[f32]>::new_slice(units);
        let mut g = Shared::<[f32]>::new_slice(pairs_at_once);
        let mut loss = 0.0f32;
        let mut num_correct = 0.0f32;
        let mut num_counting = 0.0f32;
        let mut sum_of_g = 0.0f32;
        let mut first = start;
        let mut is_more = true;
        while is_more {
            let mut dots = Array::<f32>::new(pairs_at_once);
            #[unroll]
            for i in 0..pairs_at_once {
                dots[i] = share_of_c;
            }
            column = unit;
            while column < width {
                let q_value = q[row * width + column];
                #[unroll]
                for i in 0..pairs_at_once {
                    // Behind the row's pairs the last one again: without a branch, loads do not wait.
                    let pair = min(first + i, last);
                    dots[i] += q_value * activation(source, ips, pair, column, width, activations);
                }
                column += units;
            }
            #[unroll]
            for i in 0..pairs_at_once {
                shares[i * units + unit] = dots[i];
            }
            sync_cube();
            // First each unit sums as many shares of one pair as there are pairs, then one unit a pair sums those.
            let lanes = comptime!(units / pairs_at_once);
            let mut partial_sum = 0.0f32;
            #[unroll]
            for i in 0..pairs_at_once {
                partial_sum += shares[unit / lanes * units + i * lanes + unit % lanes];
            }
            partial_sums[unit] = partial_sum;
            sync_cube();
            if unit < pairs_at_once {
                let pair = first + unit;
                let mut gradient = 0.0f32;
                if pair < end {
                    let mut logit = 0.0f32;
                    #[unroll]
                    for i in 0..lanes {
                        logit += partial_sums[unit * lanes + i];
                    }
                    let cells = row * row_width as usize + d;
                    if comptime!(!memory.is_empty()) {
                        let start = cells + num_row_cells as usize;
                        let tag = tags[pair / num_pairs as usize];
                        logit += memory_sum(rows, start, tag, ips[pair], num_cells, memory);
                    }
                    let mut share = 1.0f32;
                    if comptime!(!prefixes.is_empty()) {
                        let x = elsewhere(rows, cells, tags[pair / num_pairs as usize]);
                        let smaller = smaller_part(logit, x);
                        share = select(logit >= x, 1.0f32, smaller) / (1.0f32 + smaller);
                        logit = max(logit, x) + f32::log1p(smaller);
                        logit += common(parameters, prefix_weights as usize, ips[pair], prefixes);
                    }
                    let counts = mask[pair];
                    let place = pair % num_pairs as usize;
                    let is_positive = place == 0;
                    let margin = select(is_positive, logit, -logit);
                    // sigmoid(-|z|) and sigmoid(|z|); -sigmoid(-margin) has no difference of near numbers.
                    let small = f32::exp(-f32::abs(logit));
                    let far = small / (1.0f32 + small);
                    let near = 1.0f32 / (1.0f32 + small);
                    let slope = select(margin >= 0.0f32, far, near);
                    gradient = select(is_positive, -slope, slope) * counts;
                    loss += counts * (max(-margin, 0.0f32) + f32::log1p(small));
                    // A logit of 0 says no.
                    let is_right = (logit > 0.0f32) == is_positive;
                    num_correct += select(is_right, counts, 0.0f32);
                    num_counting += counts;
                    logits[pair] = logit;
                    if comptime!(!prefixes.is_empty()) {
                        pair_gradients[all_pairs as usize + pair] = (1.0f32 - share) * gradient;
                        gradient *= share;
                    }
                    pair_gradients[pair] = gradient;
                }
                g[unit] = gradient;
                sum_of_g += gradient;
            }
            sync_cube();
            column = unit;
            while column < width {
                let at = row * (width + 1) + column;
                let mut sum = 0.0f32;
                if first > start {
                    sum = s[at];
                }
                #[unroll]
                for i in 0..pairs_at_once {
                    let pair = min(first + i, last);
                    sum += g[i] * activation(source, ips, pair, column, width, activations);
                }
                s[at] = sum;
                column += units;
            }
            first += pairs_at_once;
            is_more = first < end;
        }

        if unit < pairs_at_once {
            shares[unit] = loss;
            shares[pairs_at_once + unit] = num_correct;
            shares[2 * pairs_at_once + unit] = num_counting;
            shares[3 * pairs_at_once + unit] = sum_of_g;
        }
        sync_cube();
        if unit < 4 {
            let mut total = 0.0f32;
            #[unroll]
            for i in 0..pairs_at_once {
                total += shares[unit * pairs_at_once + i];
            }
            if unit < 3 {
                row_sums[row * 3 + unit] = total;
            } else {
                s[row * (width + 1) + width] = total;
            }
        }
    }

    /// One unit per element of `hidden`, `[pairs, width]`: activations become their gradients.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn hidden_gradients_kernel(
        q: &[f32],
        pair_gradients: &[f32],
        rows_of_positives: &[u32],
        hidden: &mut [f32],
        len: u32,
        num_pairs: u32,
        width: u32,
    ) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let width = width as usize;
        let pair = position / width;
        let mut gradient = 0.0f32;
        if hidden[position] > 0.0f32 {
            let row = rows_of_positives[pair / num_pairs as usize] as usize;
            gradient = pair_gradients[pair] * q[row * width + position % width];
        }
        hidden[position] = gradient;
    }

    /// Scores all pairs against their rows. `hidden` are the last hidden layer's activations where they are
    /// kept, else the tables of the only hidden layer, or nothing where there is none. One launch.
    pub(crate) fn row_losses(
        (rows, parameters): (&CubeTensor, &CubeTensor),
        q: CubeTensor,
        hidden: Option<&CubeTensor>,
        pairs: &Pairs,
        shape: &ModelShape,
    ) -> RowLosses {
        let (num_rows, width) = (q.meta.shape()[0], shape.output_width());
        let positives_and_pairs = pairs.mask.meta.shape().clone();
        let all_pairs = pairs.ips.meta.num_elements();
        let num_parts = if shape.elsewhere.exists() { 2 } else { 1 };
        let empty = |shape: Shape, dtype| launch::empty_like(&q, shape, dtype);
        let losses = RowLosses {
            logits: empty(positives_and_pairs.clone(), DType::F32),
            pair_gradients: empty(Shape::new([num_parts, all_pairs]), DType::F32),
            s: empty(Shape::new([num_rows, width + 1]), DType::F32),
            rows_of_positives: empty(Shape::new([positives_and_pairs[0]]), DType::U32),
            row_sums: empty(Shape::new([num_rows, 3]), DType::F32),
            q: q.clone(),
        };
        let activations = match shape.num_hidden {
            0 => Activations::Bits,
            1 => Activations::Tables,
            _ => Activations::Kept,
        };
        let units = (width as u32).next_power_of_two().clamp(32, 128);
        let pairs_at_once = if pairs.mask.meta.num_elements() > 4 * num_rows { 8 } else { 4 };
        launch::count_launch();
        // SAFETY: the kernel checks its row against U and its columns against the width of q and of the output
        // layer; the segments of all rows are the B positives, each with P addresses, mask, logits and
        // gradients, and P rows of activations where they are kept. Cells are those of the row, prefixes have their
        // weights among the parameters, and gradients of two parts are twice as many.
        unsafe {
            row_losses_kernel::launch_unchecked(
                &q.client.clone(),
                launch::cubes(&q, num_rows),
                CubeDim::new_1d(units),
                rows.clone().into_buffer_arg(),
                parameters.clone().into_buffer_arg(),
                q.clone().into_buffer_arg(),
                hidden.unwrap_or(parameters).clone().into_buffer_arg(),
                pairs.segments.clone().into_buffer_arg(),
                pairs.tags.clone().into_buffer_arg(),
                pairs.ips.clone().into_buffer_arg(),
                pairs.mask.clone().into_buffer_arg(),
                losses.logits.clone().into_buffer_arg(),
                losses.pair_gradients.clone().into_buffer_arg(),
                losses.s.clone().into_buffer_arg(),
                losses.rows_of_positives.clone().into_buffer_arg(),
                losses.row_sums.clone().into_buffer_arg(),
                num_rows as u32,
                pairs.num_pairs() as u32,
                shape.vector_dim as u32,
                width as u32,
                shape.bias(shape.num_hidden).start as u32,
                shape.prefix_weights().start as u32,
                shape.row_width() as u32,
                shape.elsewhere.num_row_cells() as u32,
                shape.memory.num_cells as u32,
                all_pairs as u32,
                shape.memory.lengths,
                shape.elsewhere.lengths,
                units,
                pairs_at_once,
                activations,
            );
        }
        losses
    }

    impl RowLosses {
        /// The published sums, `[3]`. One launch.
        pub fn sums(&self) -> CubeTensor {
            let sums = launch::empty_like(&self.q, Shape::new([3]), DType::F32);
            sum_slices(Part { tensor: &sums, offset: 0, len: 3 }, self.row_sums.clone(), None);
            sums
        }

        /// Turns the last hidden layer's activations, `[pairs, d]`, into their gradients. One launch.
        pub fn hidden_gradients(&self, hidden: &CubeTensor) {
            let len = hidden.meta.num_elements();
            let (count, dim) = launch::one_unit_each(hidden, len);
            launch::count_launch();
            // SAFETY: the kernel checks its position against the length of `hidden`, which has a row of q's
            // width for each pair; the row of a positive is one of q's.
            unsafe {
                hidden_gradients_kernel::launch_unchecked(
                    &hidden.client.clone(),
                    count,
                    dim,
                    self.q.clone().into_buffer_arg(),
                    self.pair_gradients.clone().into_buffer_arg(),
                    self.rows_of_positives.clone().into_buffer_arg(),
                    hidden.clone().into_buffer_arg(),
                    len as u32,
                    self.logits.meta.shape()[1] as u32,
                    self.q.meta.shape()[1] as u32,
                );
            }
        }
    }
}
