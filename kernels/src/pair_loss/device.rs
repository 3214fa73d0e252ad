//! The pass over the pairs of each unique row on a device.
//!
//! One cube per row, one unit per column and column + units and so on. Four or eight pairs at a time have their
//! dot products summed through 4.5 KiB of shared memory, their losses computed by a unit each, and are added to
//! s with activations that are looked up again, which costs less than to keep them. q, e and s move once, 12 d
//! bytes a row, and tables and b_o come from cache; FLOP as on the CPU, and 16 d additions a pair for lookups.
//! g is not scaled: the products and sums that follow divide by the pairs that count, which this kernel sums.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::device_pairs::{DevicePairs, RowLosses};
use crate::first_layer::device::{Activations, activation};
use crate::launch;
use crate::matrix::sums::{Part, sum_slices};
use crate::shape::ModelShape;

/// What the pass reads.
#[derive(CubeType, CubeLaunch)]
struct PassInputs {
    /// `[U, d]`: entity rows
    rows: Box<[f32]>,
    /// `[num_parameters]`
    parameters: Box<[f32]>,
    /// `[U, width]`
    q: Box<[f32]>,
    /// What [`activation`] takes.
    source: Box<[f32]>,
    /// `[U + 1]`
    segments: Box<[i32]>,
    /// `[B, P · words]`
    ips: Box<[u32]>,
    /// `[B, P]`
    mask: Box<[f32]>,
}

/// What the pass writes, as in [`RowLosses`].
#[derive(CubeType, CubeLaunch)]
struct PassOutputs {
    logits: Box<[f32]>,
    pair_gradients: Box<[f32]>,
    s: Box<[f32]>,
    rows_of_positives: Box<[u32]>,
    row_sums: Box<[f32]>,
}

/// The sizes of the pass, and where the output layer's biases are among the parameters.
#[derive(CubeType, CubeLaunch)]
struct PassSizes {
    num_rows: u32,
    num_pairs: u32,
    vector_dim: u32,
    width: u32,
    output_bias: u32,
}

/// How a cube works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PassPlan {
    units: u32,
    pairs_at_once: usize,
    activations: Activations,
}

/// A unit's sums over the pairs whose losses it computes.
#[derive(CubeType)]
struct UnitSums {
    loss: f32,
    num_correct: f32,
    num_counting: f32,
    gradient: f32,
}

#[cube(launch_unchecked)]
fn row_losses_kernel(
    inputs: &PassInputs,
    outputs: &mut PassOutputs,
    sizes: &PassSizes,
    #[comptime] plan: PassPlan,
) {
    let row = CUBE_POS;
    if row >= sizes.num_rows as usize {
        terminate!();
    }
    let pairs_at_once = comptime!(plan.pairs_at_once);
    let unit = UNIT_POS as usize;
    let units = comptime!(plan.units as usize);
    let width = sizes.width as usize;
    let num_pairs = sizes.num_pairs as usize;
    let first_positive = inputs.segments[row] as usize;
    let end_positive = inputs.segments[row + 1] as usize;
    let start = first_positive * num_pairs;
    let end = end_positive * num_pairs;
    let last = max(end, 1) - 1;

    let mut positive = first_positive + unit;
    while positive < end_positive {
        outputs.rows_of_positives[positive] = row as u32;
        positive += units;
    }
    let share_of_c = share_of_c(inputs, sizes, row, units);

    let mut shares = Shared::<[f32]>::new_slice(comptime!(pairs_at_once * units));
    let mut partial_sums = Shared::<[f32]>::new_slice(units);
    let mut g = Shared::<[f32]>::new_slice(pairs_at_once);
    let mut sums = UnitSums { loss: 0.0f32, num_correct: 0.0f32, num_counting: 0.0f32, gradient: 0.0f32 };
    let mut first = start;
    let mut is_more = true;
    while is_more {
        let mut dots = Array::<f32>::new(pairs_at_once);
        #[unroll]
        for i in 0..pairs_at_once {
            dots[i] = share_of_c;
        }
        let mut column = unit;
        while column < width {
            let q_value = inputs.q[row * width + column];
            #[unroll]
            for i in 0..pairs_at_once {
                // Behind the row's pairs the last one again: without a branch, loads do not wait.
                let pair = min(first + i, last);
                dots[i] +=
                    q_value * activation(&inputs.source, &inputs.ips, pair, column, width, plan.activations);
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
                let place = pair % num_pairs;
                gradient = pair_loss(&mut sums, logit, inputs.mask[pair], place == 0);
                outputs.logits[pair] = logit;
                outputs.pair_gradients[pair] = gradient;
            }
            g[unit] = gradient;
        }
        sync_cube();
        column = unit;
        while column < width {
            let at = row * (width + 1) + column;
            let mut sum = 0.0f32;
            if first > start {
                sum = outputs.s[at];
            }
            #[unroll]
            for i in 0..pairs_at_once {
                let pair = min(first + i, last);
                sum += g[i] * activation(&inputs.source, &inputs.ips, pair, column, width, plan.activations);
            }
            outputs.s[at] = sum;
            column += units;
        }
        first += pairs_at_once;
        is_more = first < end;
    }

    if unit < pairs_at_once {
        shares[unit] = sums.loss;
        shares[pairs_at_once + unit] = sums.num_correct;
        shares[2 * pairs_at_once + unit] = sums.num_counting;
        shares[3 * pairs_at_once + unit] = sums.gradient;
    }
    sync_cube();
    if unit < 4 {
        let mut total = 0.0f32;
        #[unroll]
        for i in 0..pairs_at_once {
            total += shares[unit * pairs_at_once + i];
        }
        if unit < 3 {
            outputs.row_sums[row * 3 + unit] = total;
        } else {
            outputs.s[row * (width + 1) + width] = total;
        }
    }
}

/// This unit's share of c, which every dot product of the row starts with.
#[cube]
fn share_of_c(inputs: &PassInputs, sizes: &PassSizes, row: usize, #[comptime] units: usize) -> f32 {
    let d = sizes.vector_dim as usize;
    let mut share = 0.0f32;
    let mut column = UNIT_POS as usize;
    while column < d {
        share += inputs.rows[row * d + column] * inputs.parameters[sizes.output_bias as usize + column];
        column += units;
    }
    share
}

/// Adds one pair's loss to the unit's sums and returns its gradient g.
#[cube]
fn pair_loss(sums: &mut UnitSums, logit: f32, counts: f32, is_positive: bool) -> f32 {
    let margin = select(is_positive, logit, -logit);
    // sigmoid(-|z|) and sigmoid(|z|); -sigmoid(-margin) has no difference of near numbers.
    let small = f32::exp(-f32::abs(logit));
    let far = small / (1.0f32 + small);
    let near = 1.0f32 / (1.0f32 + small);
    let slope = select(margin >= 0.0f32, far, near);
    let gradient = select(is_positive, -slope, slope) * counts;
    sums.loss += counts * (max(-margin, 0.0f32) + f32::log1p(small));
    // A logit of 0 says no.
    let is_right = (logit > 0.0f32) == is_positive;
    sums.num_correct += select(is_right, counts, 0.0f32);
    sums.num_counting += counts;
    sums.gradient += gradient;
    gradient
}

/// One unit per element of `hidden`, `[pairs, width]`: activations become their gradients.
#[cube(launch_unchecked)]
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

/// The encoder as the pass over the pairs takes it.
pub(crate) struct PassEncoder<'a> {
    /// `[1, num_parameters]`
    pub parameters: &'a CubeTensor,
    /// The last hidden layer's activations where they are kept, else the tables of the only hidden layer, or
    /// nothing where there is none.
    pub source: Option<&'a CubeTensor>,
    pub shape: &'a ModelShape,
}

/// Scores all pairs against their rows, `[U, d]`, and their q, `[U, width]`. One launch.
pub(crate) fn row_losses(
    rows: &CubeTensor,
    q: CubeTensor,
    pairs: &DevicePairs,
    encoder: PassEncoder<'_>,
) -> RowLosses {
    let PassEncoder { parameters, source, shape } = encoder;
    let (num_rows, width) = (q.meta.shape()[0], shape.output_width());
    let positives_and_pairs = pairs.mask.meta.shape().clone();
    let empty = |shape: Shape, dtype| launch::empty_like(&q, shape, dtype);
    let losses = RowLosses {
        logits: empty(positives_and_pairs.clone(), DType::F32),
        pair_gradients: empty(positives_and_pairs.clone(), DType::F32),
        s: empty(Shape::new([num_rows, width + 1]), DType::F32),
        rows_of_positives: empty(Shape::new([positives_and_pairs[0]]), DType::U32),
        row_sums: empty(Shape::new([num_rows, 3]), DType::F32),
        q: q.clone(),
    };
    let inputs = PassInputsLaunch {
        rows: rows.clone().into_buffer_arg(),
        parameters: parameters.clone().into_buffer_arg(),
        q: q.clone().into_buffer_arg(),
        source: source.unwrap_or(parameters).clone().into_buffer_arg(),
        segments: pairs.segments.clone().into_buffer_arg(),
        ips: pairs.ips.clone().into_buffer_arg(),
        mask: pairs.mask.clone().into_buffer_arg(),
    };
    let outputs = PassOutputsLaunch {
        logits: losses.logits.clone().into_buffer_arg(),
        pair_gradients: losses.pair_gradients.clone().into_buffer_arg(),
        s: losses.s.clone().into_buffer_arg(),
        rows_of_positives: losses.rows_of_positives.clone().into_buffer_arg(),
        row_sums: losses.row_sums.clone().into_buffer_arg(),
    };
    let sizes = PassSizesLaunch {
        num_rows: num_rows as u32,
        num_pairs: pairs.num_pairs() as u32,
        vector_dim: shape.vector_dim as u32,
        width: width as u32,
        output_bias: shape.bias(shape.num_hidden).start as u32,
    };
    let units = (width as u32).next_power_of_two().clamp(32, 128);
    let pairs_at_once = if pairs.mask.meta.num_elements() > 4 * num_rows { 8 } else { 4 };
    let plan = PassPlan { units, pairs_at_once, activations: Activations::of(shape) };
    launch::count_launch();
    // SAFETY: the kernel checks its row against U and its columns against the width of q and of the output
    // layer; the segments of all rows are the B positives, each with P addresses, mask, logits and gradients,
    // and P rows of activations where they are kept.
    unsafe {
        row_losses_kernel::launch_unchecked(
            &q.client.clone(),
            launch::cubes(&q, num_rows),
            CubeDim::new_1d(units),
            inputs,
            outputs,
            sizes,
            plan,
        );
    }
    losses
}

/// The published sums, `[3]`. One launch.
pub(crate) fn loss_sums(losses: &RowLosses) -> CubeTensor {
    let sums = launch::empty_like(&losses.q, Shape::new([3]), DType::F32);
    sum_slices(Part { tensor: &sums, offset: 0, len: 3 }, losses.row_sums.clone(), None);
    sums
}

/// Turns the last hidden layer's activations, `[pairs, d]`, into their gradients. One launch.
pub(crate) fn hidden_gradients(losses: &RowLosses, hidden: &CubeTensor) {
    let len = hidden.meta.num_elements();
    let (count, dim) = launch::one_unit_each(hidden, len);
    launch::count_launch();
    // SAFETY: the kernel checks its position against the length of `hidden`, which has a row of q's width for
    // each pair; the row of a positive is one of q's.
    unsafe {
        hidden_gradients_kernel::launch_unchecked(
            &hidden.client.clone(),
            count,
            dim,
            losses.q.clone().into_buffer_arg(),
            losses.pair_gradients.clone().into_buffer_arg(),
            losses.rows_of_positives.clone().into_buffer_arg(),
            hidden.clone().into_buffer_arg(),
            len as u32,
            losses.logits.meta.shape()[1] as u32,
            losses.q.meta.shape()[1] as u32,
        );
    }
}
