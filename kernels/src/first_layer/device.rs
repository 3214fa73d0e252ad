//! The first layer on a device, by nibbles.
//!
//! A unit owns a column, so units of a cube read the same row of a table, in cache: 8 loads and 8 additions an
//! activation. Backward there are no buckets: a unit keeps the sums of its column's 32 weights and its bias in
//! registers, and 32 additions of ±dh there cost less than 8 reads and writes of shared memory. An activation
//! is looked up again rather than kept where there is no other hidden layer, so nothing of [pairs, d] exists.
//! Slices of pairs, cut by shapes alone, are added in their order: 4 · 33 d bytes a slice, written and read.
//!
//! The kernels take the number of bits of an address at compile time, up to the 32 of one word.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::cpu::NIBBLE_VALUES;
use crate::device_pairs::{DevicePairs, RowLosses};
use crate::launch;
use crate::matrix::sums::{Part, Slices, sum_slices};
use crate::shape::{ModelShape, NUM_BITS};

/// Bits of an address as the kernels count them.
const BITS: u32 = NUM_BITS as u32;

/// The sign of a bit of an address, the most significant bit first.
#[cube]
fn sign(ip: u32, bit: u32) -> f32 {
    select((ip >> (31u32 - bit)) & 1u32 == 1u32, 1.0f32, -1.0f32)
}

/// One unit per element of `tables`, `[bits / 4, 16, d]`: the signs of the digit's bits times their weights, and
/// the biases in the first. The layer starts at `offset` of the parameters.
#[cube(launch_unchecked)]
fn tables_kernel(
    parameters: &[f32],
    tables: &mut [f32],
    offset: u32,
    vector_dim: u32,
    #[comptime] num_bits: u32,
) {
    let position = ABSOLUTE_POS;
    let d = vector_dim as usize;
    if position >= comptime!(num_bits as usize / 4 * NIBBLE_VALUES) * d {
        terminate!();
    }
    let column = position % d;
    let value = (position / d % NIBBLE_VALUES) as u32;
    let nibble = position / d / NIBBLE_VALUES;
    let mut sum = 0.0f32;
    if nibble == 0 {
        sum = parameters[offset as usize + comptime!(num_bits as usize) * d + column];
    }
    #[unroll]
    for i in 0..4u32 {
        // The nibble's bits are the last four of 32.
        let weight = parameters[offset as usize + (4 * nibble + i as usize) * d + column];
        sum += sign(value, 28u32 + i) * weight;
    }
    tables[position] = sum;
}

/// The digit's share of an activation.
#[cube]
fn entry(tables: &[f32], ip: u32, #[comptime] nibble: u32, column: usize, width: usize) -> f32 {
    let digit = (ip >> comptime!(28 - 4 * nibble)) & 15u32;
    tables[(digit as usize + comptime!(nibble as usize * NIBBLE_VALUES)) * width + column]
}

/// The activation of one column.
#[cube]
fn lookup(tables: &[f32], ip: u32, column: usize, width: usize) -> f32 {
    let a = entry(tables, ip, 0u32, column, width) + entry(tables, ip, 1u32, column, width);
    let b = entry(tables, ip, 2u32, column, width) + entry(tables, ip, 3u32, column, width);
    let c = entry(tables, ip, 4u32, column, width) + entry(tables, ip, 5u32, column, width);
    let e = entry(tables, ip, 6u32, column, width) + entry(tables, ip, 7u32, column, width);
    max((a + b) + (c + e), 0.0f32)
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

impl Activations {
    /// What the last layer of an encoder takes.
    pub fn of(shape: &ModelShape) -> Self {
        match shape.num_hidden {
            0 => Self::Bits,
            1 => Self::Tables,
            _ => Self::Kept,
        }
    }
}

/// One of a pair's activations. `source` holds the tables, or the activations that are kept, `[pairs, width]`.
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

/// One unit per activation.
#[cube(launch_unchecked)]
fn encode_kernel(tables: &[f32], ips: &[u32], hidden: &mut [f32], len: u32, vector_dim: u32) {
    let position = ABSOLUTE_POS;
    if position >= len as usize {
        terminate!();
    }
    let d = vector_dim as usize;
    hidden[position] = lookup(tables, ips[position / d], position % d, d);
}

/// Where the gradients of the first layer come from, pair by pair.
#[derive(CubeType, CubeLaunch)]
struct GradientInputs {
    /// The gradients of the activations, `[pairs, d]`, or where those are not kept the tables.
    sources: Box<[f32]>,
    /// `[pairs]`
    ips: Box<[u32]>,
    /// `[pairs]`: g
    pair_gradients: Box<[f32]>,
    /// `[B]`
    rows_of_positives: Box<[u32]>,
    /// `[U, d]`
    q: Box<[f32]>,
    num_pairs: u32,
    #[cube(comptime)]
    are_kept: bool,
}

/// Slices of pairs: how many pairs there are in all and in each slice, and how many slices.
#[derive(CubeType, CubeLaunch)]
struct PairSlices {
    all_pairs: u32,
    pairs_of_slice: u32,
    num_slices: u32,
}

/// One unit per column and slice of pairs.
#[cube(launch_unchecked)]
fn first_layer_gradients_kernel(
    inputs: &GradientInputs,
    out: &mut [f32],
    slices: &PairSlices,
    vector_dim: u32,
    #[comptime] units: u32,
    #[comptime] num_bits: u32,
) {
    let d = vector_dim as usize;
    let column_tiles = d.div_ceil(units as usize);
    let slice = CUBE_POS / column_tiles;
    let column = CUBE_POS % column_tiles * units as usize + UNIT_POS as usize;
    if slice >= slices.num_slices as usize || column >= d {
        terminate!();
    }
    let num_bits_and_bias = comptime!(num_bits as usize + 1);
    let mut sums = Array::<f32>::new(num_bits_and_bias);
    #[unroll]
    for i in 0..num_bits_and_bias {
        sums[i] = 0.0f32;
    }
    let start = slice * slices.pairs_of_slice as usize;
    for pair in start..min(start + slices.pairs_of_slice as usize, slices.all_pairs as usize) {
        let ip = inputs.ips[pair];
        let gradient = if comptime!(inputs.are_kept) {
            inputs.sources[pair * d + column]
        } else {
            let row = inputs.rows_of_positives[pair / inputs.num_pairs as usize] as usize;
            let through = inputs.pair_gradients[pair] * inputs.q[row * d + column];
            select(lookup(&inputs.sources, ip, column, d) > 0.0f32, through, 0.0f32)
        };
        #[unroll]
        for bit in 0..num_bits {
            sums[bit as usize] += sign(ip, bit) * gradient;
        }
        sums[comptime!(num_bits as usize)] += gradient;
    }
    #[unroll]
    for i in 0..num_bits_and_bias {
        out[(slice * num_bits_and_bias + i) * d + column] = sums[i];
    }
}

/// The tables of the first hidden layer, `[8, 16, d]`. One launch.
pub(crate) fn tables(parameters: &CubeTensor, shape: &ModelShape) -> CubeTensor {
    let d = shape.vector_dim;
    let num_rows = NUM_BITS / 4 * NIBBLE_VALUES;
    let tables = launch::empty_like(parameters, Shape::new([num_rows, d]), DType::F32);
    let (count, dim) = launch::one_unit_each(parameters, num_rows * d);
    launch::count_launch();
    // SAFETY: the kernel checks its position against the length of the output, 128 d; the parameters hold 32
    // rows of weights and one of biases from the offset on.
    unsafe {
        tables_kernel::launch_unchecked(
            &parameters.client.clone(),
            count,
            dim,
            parameters.clone().into_buffer_arg(),
            tables.clone().into_buffer_arg(),
            shape.layer(0).start as u32,
            d as u32,
            BITS,
        );
    }
    tables
}

/// The first hidden layer's activations of every pair, `[pairs, d]`. One launch.
pub(crate) fn encode(tables: &CubeTensor, pair_ips: &CubeTensor) -> CubeTensor {
    let (d, num_ips) = (tables.meta.shape()[1], pair_ips.meta.num_elements());
    let hidden = launch::empty_like(tables, Shape::new([num_ips, d]), DType::F32);
    let (count, dim) = launch::one_unit_each(tables, num_ips * d);
    launch::count_launch();
    // SAFETY: the kernel checks its position against the length of the output; there is an address for each
    // of its rows, and four bits stay below the 16 rows of a table.
    unsafe {
        encode_kernel::launch_unchecked(
            &tables.client.clone(),
            count,
            dim,
            tables.clone().into_buffer_arg(),
            pair_ips.clone().into_buffer_arg(),
            hidden.clone().into_buffer_arg(),
            (num_ips * d) as u32,
            d as u32,
        );
    }
    hidden
}

/// Where the gradients of the first hidden layer's activations come from.
pub(crate) enum Source<'a> {
    /// They are kept: `[pairs, d]`.
    Kept(&'a CubeTensor),
    /// `g q` of their pair where the activation, looked up in these tables, is above 0.
    Tables(&'a CubeTensor),
}

/// The mean gradients of the first layer's weights and biases, into the part of `out` that starts at `offset`.
/// Two launches.
pub(crate) fn first_layer_gradients(
    (out, offset): (&CubeTensor, usize),
    source: Source<'_>,
    pairs: &DevicePairs,
    losses: &RowLosses,
    loss_sums: &CubeTensor,
) {
    let (all_pairs, d) = (pairs.ips.meta.num_elements(), losses.q.meta.shape()[1]);
    let units = (d as u32).next_power_of_two().clamp(32, 128);
    let column_tiles = d.div_ceil(units as usize);
    let slices = Slices::new(all_pairs, (NUM_BITS + 1) * d, column_tiles * units as usize);
    let sums = launch::empty_like(out, Shape::new([slices.num, NUM_BITS + 1, d]), DType::F32);
    let (sources, are_kept) = match source {
        Source::Kept(gradients) => (gradients, true),
        Source::Tables(tables) => (tables, false),
    };
    let inputs = GradientInputsLaunch {
        sources: sources.clone().into_buffer_arg(),
        ips: pairs.ips.clone().into_buffer_arg(),
        pair_gradients: losses.pair_gradients.clone().into_buffer_arg(),
        rows_of_positives: losses.rows_of_positives.clone().into_buffer_arg(),
        q: losses.q.clone().into_buffer_arg(),
        num_pairs: pairs.num_pairs() as u32,
        are_kept,
    };
    let pair_slices = PairSlicesLaunch {
        all_pairs: all_pairs as u32,
        pairs_of_slice: slices.len as u32,
        num_slices: slices.num as u32,
    };
    launch::count_launch();
    // SAFETY: the kernel checks its column and slice and stays below the number of pairs, for each of which
    // there is an address, a gradient and, kept, a row of gradients; four bits stay below the 16 rows of a
    // table, and the row of a positive below those of q.
    unsafe {
        first_layer_gradients_kernel::launch_unchecked(
            &out.client.clone(),
            launch::cubes(out, slices.num * column_tiles),
            CubeDim::new_1d(units),
            inputs,
            sums.clone().into_buffer_arg(),
            pair_slices,
            d as u32,
            units,
            BITS,
        );
    }
    sum_slices(Part { tensor: out, offset, len: (NUM_BITS + 1) * d }, sums, Some(loss_sums));
}
