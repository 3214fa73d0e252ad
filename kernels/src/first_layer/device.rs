//! The first layer on a device, by nibbles.
//!
//! A unit owns a column, so units of a cube read the same row of a table, in cache: 8 loads and 8 additions an
//! activation of an IPv4 address, 16 of an IPv6 address. Backward there are no buckets: a unit keeps the sums of its
//! column's n weights and its bias in registers, and 32 additions of ±dh there cost less than 8 reads and writes of
//! shared memory. All units of a cube look at the same address, so they agree on its family. An activation
//! is looked up again rather than kept where there is no other hidden layer, so nothing of [pairs, d] exists.
//! Slices of pairs, cut by shapes alone, are added in their order: 4 (n + 1) d bytes a slice, written and read.

#![allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment of each")]

use burn::tensor::{DType, Shape};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use crate::bits::device::{bit, sign};
use crate::device_pairs::{DevicePairs, RowLosses};
use crate::launch;
use crate::matrix::sums::{Part, Slices, sum_slices};
use crate::shape::{Families, ModelShape, NIBBLE_BITS, NIBBLE_VALUES, NUM_IPV4_BITS, NUM_IPV6_BITS};

/// Bits of an IPv4 address, and of each word of an IPv6 address, as the kernels count them.
const IPV4_BITS: u32 = NUM_IPV4_BITS as u32;
const HALF_OF_IPV6: u32 = NUM_IPV6_BITS as u32 / 2;

/// Nibbles of an IPv4 address, whose tables come first.
const IPV4_NIBBLES: usize = NUM_IPV4_BITS / NIBBLE_BITS;

/// One unit per element of `tables`, `[n / 4, 16, d]`: the signs of the digit's bits times their weights, and
/// the biases in the first of each family. The layer starts at `offset` of the parameters.
#[cube(launch_unchecked)]
fn tables_kernel(
    parameters: &[f32],
    tables: &mut [f32],
    offset: u32,
    vector_dim: u32,
    #[comptime] families: Families,
) {
    let position = ABSOLUTE_POS;
    let d = vector_dim as usize;
    if position >= comptime!(families.num_nibble_rows()) * d {
        terminate!();
    }
    let column = position % d;
    let value = (position / d % NIBBLE_VALUES) as u32;
    let nibble = position / d / NIBBLE_VALUES;
    let mut sum = 0.0f32;
    if nibble == 0 || nibble == IPV4_NIBBLES {
        sum = parameters[offset as usize + comptime!(families.num_bits()) * d + column];
    }
    #[unroll]
    for i in 0..4u32 {
        // The nibble's bits are the last four of 32.
        let weight = parameters[offset as usize + (4 * nibble + i as usize) * d + column];
        sum += sign(value, 28u32 + i) * weight;
    }
    tables[position] = sum;
}

/// The share of an activation that a word's nibble has, from the table of this number.
#[cube]
fn entry(tables: &[f32], word: u32, #[comptime] table: u32, column: usize, width: usize) -> f32 {
    // Tables of words follow each other, so a table's number says which nibble of its word it is of.
    let digit = (word >> comptime!(28 - 4 * (table % 8))) & 15u32;
    tables[(digit as usize + comptime!(table as usize * NIBBLE_VALUES)) * width + column]
}

/// A word's share of an activation; its nibbles have the tables from `first` on.
#[cube]
fn share(tables: &[f32], word: u32, #[comptime] first: u32, column: usize, width: usize) -> f32 {
    let a =
        entry(tables, word, first, column, width) + entry(tables, word, comptime!(first + 1), column, width);
    let b = entry(tables, word, comptime!(first + 2), column, width)
        + entry(tables, word, comptime!(first + 3), column, width);
    let c = entry(tables, word, comptime!(first + 4), column, width)
        + entry(tables, word, comptime!(first + 5), column, width);
    let e = entry(tables, word, comptime!(first + 6), column, width)
        + entry(tables, word, comptime!(first + 7), column, width);
    (a + b) + (c + e)
}

/// The activation of one column of an address.
#[cube]
fn lookup(
    tables: &[f32],
    ips: &[u32],
    address: usize,
    column: usize,
    width: usize,
    #[comptime] families: Families,
) -> f32 {
    match comptime!(families) {
        Families::Ipv4 => max(share(tables, ips[address], 0u32, column, width), 0.0f32),
        Families::Both => {
            let low = ips[2 * address];
            let high = ips[2 * address + 1];
            let sum = if high == 0u32 {
                share(tables, low, 0u32, column, width)
            } else {
                share(tables, high, 8u32, column, width) + share(tables, low, 16u32, column, width)
            };
            max(sum, 0.0f32)
        }
    }
}

/// What the last layer takes of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Activations {
    /// Its bits.
    Bits(Families),
    /// The first hidden layer's activations, by lookup.
    Tables(Families),
    /// Activations that are kept.
    Kept,
}

impl Activations {
    /// What the last layer of an encoder takes.
    pub fn of(shape: &ModelShape) -> Self {
        match shape.num_hidden {
            0 => Self::Bits(shape.families),
            1 => Self::Tables(shape.families),
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
        Activations::Bits(families) => bit(ips, pair, column as u32, families),
        Activations::Tables(families) => lookup(source, ips, pair, column, width, families),
        Activations::Kept => source[pair * width + column],
    }
}

/// One unit per activation.
#[cube(launch_unchecked)]
fn encode_kernel(
    tables: &[f32],
    ips: &[u32],
    hidden: &mut [f32],
    len: u32,
    vector_dim: u32,
    #[comptime] families: Families,
) {
    let position = ABSOLUTE_POS;
    if position >= len as usize {
        terminate!();
    }
    let d = vector_dim as usize;
    hidden[position] = lookup(tables, ips, position / d, position % d, d, families);
}

/// Where the gradients of the first layer come from, pair by pair.
#[derive(CubeType, CubeLaunch)]
struct GradientInputs {
    /// The gradients of the activations, `[pairs, d]`, or where those are not kept the tables.
    sources: Box<[f32]>,
    /// `[pairs · words]`
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

/// Adds a gradient to the sums of an address's weights, with the sign of each bit.
#[cube]
fn add_signs(
    sums: &mut Array<f32>,
    ips: &[u32],
    address: usize,
    gradient: f32,
    #[comptime] families: Families,
) {
    match comptime!(families) {
        Families::Ipv4 => {
            let ip = ips[address];
            #[unroll]
            for bit in 0..IPV4_BITS {
                sums[bit as usize] += sign(ip, bit) * gradient;
            }
        }
        Families::Both => {
            let low = ips[2 * address];
            let high = ips[2 * address + 1];
            if high == 0u32 {
                #[unroll]
                for bit in 0..IPV4_BITS {
                    sums[bit as usize] += sign(low, bit) * gradient;
                }
            } else {
                #[unroll]
                for bit in 0..HALF_OF_IPV6 {
                    sums[(IPV4_BITS + bit) as usize] += sign(high, bit) * gradient;
                    sums[(IPV4_BITS + HALF_OF_IPV6 + bit) as usize] += sign(low, bit) * gradient;
                }
            }
        }
    }
}

/// One unit per column and slice of pairs.
#[cube(launch_unchecked)]
fn first_layer_gradients_kernel(
    inputs: &GradientInputs,
    out: &mut [f32],
    slices: &PairSlices,
    vector_dim: u32,
    #[comptime] units: u32,
    #[comptime] families: Families,
) {
    let d = vector_dim as usize;
    let column_tiles = d.div_ceil(units as usize);
    let slice = CUBE_POS / column_tiles;
    let column = CUBE_POS % column_tiles * units as usize + UNIT_POS as usize;
    if slice >= slices.num_slices as usize || column >= d {
        terminate!();
    }
    let num_bits_and_bias = comptime!(families.num_bits() + 1);
    let mut sums = Array::<f32>::new(num_bits_and_bias);
    #[unroll]
    for i in 0..num_bits_and_bias {
        sums[i] = 0.0f32;
    }
    let start = slice * slices.pairs_of_slice as usize;
    for pair in start..min(start + slices.pairs_of_slice as usize, slices.all_pairs as usize) {
        let gradient = if comptime!(inputs.are_kept) {
            inputs.sources[pair * d + column]
        } else {
            let row = inputs.rows_of_positives[pair / inputs.num_pairs as usize] as usize;
            let through = inputs.pair_gradients[pair] * inputs.q[row * d + column];
            let activation = lookup(&inputs.sources, &inputs.ips, pair, column, d, families);
            select(activation > 0.0f32, through, 0.0f32)
        };
        add_signs(&mut sums, &inputs.ips, pair, gradient, families);
        sums[comptime!(families.num_bits())] += gradient;
    }
    #[unroll]
    for i in 0..num_bits_and_bias {
        out[(slice * num_bits_and_bias + i) * d + column] = sums[i];
    }
}

/// The tables of the first hidden layer, `[n / 4, 16, d]`. One launch.
pub(crate) fn tables(parameters: &CubeTensor, shape: &ModelShape) -> CubeTensor {
    let d = shape.vector_dim;
    let num_rows = shape.families.num_nibble_rows();
    let tables = launch::empty_like(parameters, Shape::new([num_rows, d]), DType::F32);
    let (count, dim) = launch::one_unit_each(parameters, num_rows * d);
    launch::count_launch();
    // SAFETY: the kernel checks its position against the length of the output; the parameters hold n
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
            shape.families,
        );
    }
    tables
}

/// The first hidden layer's activations of every pair, `[pairs, d]`. One launch.
pub(crate) fn encode(tables: &CubeTensor, pair_ips: &CubeTensor, families: Families) -> CubeTensor {
    let (d, num_ips) = (tables.meta.shape()[1], pair_ips.meta.num_elements() / families.num_words());
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
            families,
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
    families: Families,
) {
    let (all_pairs, d) = (pairs.mask.meta.num_elements(), losses.q.meta.shape()[1]);
    let num_rows = families.num_bits() + 1;
    let units = (d as u32).next_power_of_two().clamp(32, 128);
    let column_tiles = d.div_ceil(units as usize);
    let slices = Slices::new(all_pairs, num_rows * d, column_tiles * units as usize);
    let sums = launch::empty_like(out, Shape::new([slices.num, num_rows, d]), DType::F32);
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
            families,
        );
    }
    sum_slices(Part { tensor: out, offset, len: num_rows * d }, sums, Some(loss_sums));
}
