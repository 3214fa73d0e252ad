//! The encoder's first layer, from an address to the activations of the first hidden layer, by lookup.
//!
//! ```text
//! a[k]  = b[k] + sum over i in 0..32 of bits(ip)[i] · W[i, k]           (bits: -1 or +1, as in `bits`)
//!       = sum over j of tables[j, digit_j(ip), k]                         digit_j: the j-th nibble or byte
//! h[k]  = relu(a[k])
//! dW[i] = sum over addresses of bits(ip)[i] · dh,  db = sum of dh          (dh: 0 where h is 0)
//!       = sums of buckets, where buckets[j, digit_j(ip)] += dh
//! ```
//!
//! The input is 32 signs, so a matrix product is waste: a table per digit holds the digit's share of the sum,
//! and no `[N, 32]` matrix exists. Gradients are gathered by digit too and folded back into weights at the
//! end. With 8 nibbles of 16 entries a step builds 128 rows; with 4 bytes of 256 a scorer, which builds them
//! once, adds half as many rows.
//!
//! Cost of an address at width d, nibbles: forward 8 d additions, 4 · 8 d bytes read from cache; backward the
//! same, written too.

use std::ops::Deref;

use pulp::Simd;

use crate::bits::NUM_BITS;
use crate::shape::ModelShape;
use crate::simd::{AlignedVec, padded, vectors, vectors_mut};

/// Lookup tables of a first layer: NUM digits of BITS bits, NUM · BITS = 32.
pub(crate) struct Tables<E, const BITS: usize, const NUM: usize> {
    /// `[NUM, 2^BITS, padded width]`
    entries: E,
    width: usize,
    /// What activations are cut off at: 0 for ReLU, minus infinity where there is no hidden layer.
    floor: f32,
}

/// Small tables, for a training step.
pub(crate) type NibbleTables = Tables<AlignedVec, 4, 8>;

/// Large tables, for scoring.
pub(crate) type ByteTables<E> = Tables<E, 8, 4>;

/// The digit's value.
#[inline(always)]
fn digit<const BITS: usize>(ip: u32, j: usize) -> usize {
    (ip >> (NUM_BITS - BITS * (j + 1))) as usize & ((1 << BITS) - 1)
}

impl<const BITS: usize, const NUM: usize> Tables<AlignedVec, BITS, NUM> {
    /// The tables of an encoder: of its first hidden layer, or where there is none of the identity, so that a
    /// lookup gives the 32 bits.
    pub fn new(shape: &ModelShape, parameters: &[f32]) -> Self {
        if shape.num_hidden == 0 {
            let mut identity = vec![0.0; NUM_BITS * NUM_BITS];
            identity.iter_mut().step_by(NUM_BITS + 1).for_each(|element| *element = 1.0);
            return Self::build(&identity, &[0.0; NUM_BITS], f32::NEG_INFINITY);
        }
        Self::build(&parameters[shape.weight(0)], &parameters[shape.bias(0)], 0.0)
    }

    fn build(weight: &[f32], bias: &[f32], floor: f32) -> Self {
        const { assert!(BITS * NUM == NUM_BITS) };
        let d = bias.len();
        let width = padded(d);
        let mut entries = AlignedVec::staggered(NUM * (1 << BITS) * width, 0);
        for (j, table) in entries.chunks_exact_mut(width << BITS).enumerate() {
            if j == 0 {
                table[..d].copy_from_slice(bias);
            }
            // All bits -1 first; then each entry differs from one before it by the sign of one bit.
            for row in weight[j * BITS * d..(j + 1) * BITS * d].chunks_exact(d) {
                table.iter_mut().zip(row).for_each(|(entry, w)| *entry -= w);
            }
            for value in 1..1usize << BITS {
                let lowest_bit = value.trailing_zeros() as usize;
                let row = &weight[((j + 1) * BITS - 1 - lowest_bit) * d..][..d];
                let (before, entry) = table.split_at_mut(value * width);
                let without = &before[(value & (value - 1)) * width..][..d];
                for ((entry, without), w) in entry.iter_mut().zip(without).zip(row) {
                    *entry = without + 2.0 * w;
                }
            }
        }
        Self { entries, width, floor }
    }
}

impl<E: Deref<Target = [f32]>, const BITS: usize, const NUM: usize> Tables<E, BITS, NUM> {
    /// The tables of an encoder from [`Tables::entries`].
    pub fn from_entries(shape: &ModelShape, entries: E) -> Self {
        let floor = if shape.num_hidden == 0 { f32::NEG_INFINITY } else { 0.0 };
        Self { entries, width: padded(shape.output_width()), floor }
    }

    /// All entries, `[NUM, 2^BITS, padded width]`.
    pub fn entries(&self) -> &[f32] {
        &self.entries
    }

    /// Floats of a padded row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The address's row of each table.
    #[inline(always)]
    fn rows(&self, ip: u32) -> [&[f32]; NUM] {
        let mut rows: [&[f32]; NUM] = [&[]; NUM];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = &self.entries[((j << BITS) + digit::<BITS>(ip, j)) * self.width..][..self.width];
        }
        rows
    }

    /// Writes the activations of one address.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, simd: S, ip: u32, out: &mut [S::f32s]) {
        let rows = self.rows(ip).map(vectors::<S>);
        let floor = simd.splat_f32s(self.floor);
        for (k, out) in out[..rows[0].len()].iter_mut().enumerate() {
            *out = simd.max_f32s(sum_of_rows::<S, NUM>(simd, &rows, k), floor);
        }
    }

    /// The dot product of a row, which need not be padded, and the activations of one address, which are not
    /// kept.
    #[inline(always)]
    pub fn dot<S: Simd>(&self, simd: S, q: &[f32], ip: u32) -> f32 {
        let rows = self.rows(ip);
        let (q, q_tail) = S::as_simd_f32s(q);
        let mut tail = 0.0;
        for (i, element) in q_tail.iter().enumerate() {
            let column = q.len() * S::F32_LANES + i;
            let activation = rows.iter().fold(0.0, |sum, row| sum + row[column]);
            tail += element * activation.max(self.floor);
        }
        let rows = rows.map(|row| &vectors::<S>(row)[..q.len()]);
        let floor = simd.splat_f32s(self.floor);
        let mut sums = [simd.splat_f32s(0.0); 2];
        for (k, q) in q.iter().enumerate() {
            let h = simd.max_f32s(sum_of_rows::<S, NUM>(simd, &rows, k), floor);
            sums[k % 2] = simd.mul_add_e_f32s(*q, h, sums[k % 2]);
        }
        simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1])) + tail
    }
}

/// The sum of the k-th vectors of rows, pairs of pairs: a chain of additions would wait for each.
#[inline(always)]
fn sum_of_rows<S: Simd, const NUM: usize>(simd: S, rows: &[&[S::f32s]; NUM], k: usize) -> S::f32s {
    let mut sums = [rows[0][k]; NUM];
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = row[k];
    }
    let mut num = NUM;
    while num > 1 {
        num /= 2;
        for j in 0..num {
            sums[j] = simd.add_f32s(sums[2 * j], sums[2 * j + 1]);
        }
    }
    sums[0]
}

const NUM_NIBBLES: usize = 8;
const NIBBLE_VALUES: usize = 16;

/// Buckets of an address's gradients: one for each value of each nibble.
pub const NUM_BUCKETS: usize = NUM_NIBBLES * NIBBLE_VALUES;

/// Floats of the buckets of a first layer, `[8, 16, padded width]`: its gradients, gathered by nibble.
pub(crate) fn num_buckets(width: usize) -> usize {
    NUM_BUCKETS * width
}

/// Adds the gradient of one address's activations to its buckets.
#[inline(always)]
pub(crate) fn add_to_buckets<S: Simd>(simd: S, buckets: &mut [f32], ip: u32, gradient: &[S::f32s]) {
    let len = gradient.len();
    let tables = vectors_mut::<S>(buckets).chunks_exact_mut(NIBBLE_VALUES * len);
    let mut rows: [&mut [S::f32s]; NUM_NIBBLES] = Default::default();
    for (j, (row, table)) in rows.iter_mut().zip(tables).enumerate() {
        *row = &mut table[digit::<4>(ip, j) * len..][..len];
    }
    let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
    let low = r0.iter_mut().zip(r1).zip(r2.iter_mut().zip(r3));
    let high = r4.iter_mut().zip(r5).zip(r6.iter_mut().zip(r7));
    for ((((s0, s1), (s2, s3)), ((s4, s5), (s6, s7))), gradient) in low.zip(high).zip(gradient) {
        // All loads before any store: rows lie at the same place in their pages, and a load that follows such a
        // store waits for it.
        let sums = [*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7];
        for (place, sum) in [s0, s1, s2, s3, s4, s5, s6, s7].into_iter().zip(sums) {
            *place = simd.add_f32s(sum, *gradient);
        }
    }
}

/// Folds buckets back into the gradients of weights `[32, d]` and biases `[d]`.
pub(crate) fn fold_buckets(buckets: &[f32], weight: &mut [f32], bias: &mut [f32]) {
    let (d, width) = (bias.len(), padded(bias.len()));
    weight.fill(0.0);
    bias.fill(0.0);
    for (j, table) in buckets.chunks_exact(NIBBLE_VALUES * width).enumerate() {
        for (value, bucket) in table.chunks_exact(width).enumerate() {
            if j == 0 {
                bias.iter_mut().zip(bucket).for_each(|(sum, g)| *sum += g);
            }
            for (i, row) in weight[4 * j * d..4 * (j + 1) * d].chunks_exact_mut(d).enumerate() {
                let sign = if (value >> (3 - i)) & 1 == 1 { 1.0 } else { -1.0 };
                row.iter_mut().zip(bucket).for_each(|(sum, g)| *sum += sign * g);
            }
        }
    }
}

/// The reference of the forward pass: activation `k` of an address.
pub fn first_layer_reference(weight: &[f32], bias: &[f32], ip: u32, k: usize) -> f64 {
    let d = bias.len();
    let mut bits = [0.0; NUM_BITS];
    crate::bits::bits_on_slices(&[ip], &mut bits);
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

/// The CPU twin on one thread: the activations `[N, d]` of addresses, and given the gradients of activations
/// those of the weights and biases.
///
/// # Panics
///
/// Where there is no hidden layer, or d is not a multiple of 16: rows are padded by the caller.
pub struct FirstLayer<'a> {
    /// The encoder's shape.
    pub shape: ModelShape,
    /// `[num_parameters]`
    pub parameters: &'a [f32],
    /// `[N]`
    pub ips: &'a [u32],
}

impl FirstLayer<'_> {
    /// Fills the activations, `[N, d]`.
    pub fn encode(&self, activations: &mut [f32]) {
        self.check();
        let tables = NibbleTables::new(&self.shape, self.parameters);
        pulp::Arch::new().dispatch(Encode { tables: &tables, ips: self.ips, activations });
    }

    /// The gradients of weights `[32, d]` and biases `[d]` from those of the activations, `[N, d]`, which are 0
    /// where the activation is.
    pub fn gradients(&self, gradients: &[f32]) -> (Vec<f32>, Vec<f32>) {
        self.check();
        let d = self.shape.vector_dim;
        let mut buckets = AlignedVec::zeros(num_buckets(d));
        pulp::Arch::new().dispatch(AddToBuckets { buckets: &mut buckets, ips: self.ips, gradients });
        let (mut weight, mut bias) = (vec![0.0; NUM_BITS * d], vec![0.0; d]);
        fold_buckets(&buckets, &mut weight, &mut bias);
        (weight, bias)
    }

    fn check(&self) {
        assert!(self.shape.num_hidden > 0 && padded(self.shape.vector_dim) == self.shape.vector_dim);
    }
}

struct Encode<'a> {
    tables: &'a NibbleTables,
    ips: &'a [u32],
    activations: &'a mut [f32],
}

impl pulp::WithSimd for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.activations.chunks_exact_mut(self.tables.width());
        self.ips.iter().zip(rows).for_each(|(ip, row)| self.tables.encode(simd, *ip, vectors_mut::<S>(row)));
    }
}

struct AddToBuckets<'a> {
    buckets: &'a mut [f32],
    ips: &'a [u32],
    gradients: &'a [f32],
}

impl pulp::WithSimd for AddToBuckets<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.gradients.chunks_exact(self.gradients.len() / self.ips.len());
        for (ip, row) in self.ips.iter().zip(rows) {
            add_to_buckets(simd, self.buckets, *ip, vectors::<S>(row));
        }
    }
}

/// The first layer on a device, by nibbles.
///
/// A unit owns a column, so units of a cube read the same row of a table, in cache: 8 loads and 8 additions an
/// activation. Backward there are no buckets: a unit keeps the sums of its column's 32 weights and its bias in
/// registers, and 32 additions of ±dh there cost less than 8 reads and writes of shared memory. An activation
/// is looked up again rather than kept where there is no other hidden layer, so nothing of [pairs, d] exists.
/// Slices of pairs, cut by shapes alone, are added in their order: 4 · 33 d bytes a slice, written and read.
#[cfg(feature = "wgpu")]
pub(crate) mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::tensor::CubeTensor;
    use cubecl::prelude::*;

    use super::{NIBBLE_VALUES, NUM_NIBBLES};
    use crate::bits::NUM_BITS;
    use crate::launch;
    use crate::matrix::device::{Part, Slices, sum_slices};
    use crate::pair_loss::device::{Pairs, RowLosses};
    use crate::shape::ModelShape;

    /// The sign of a bit of an address, the most significant bit first.
    #[cube]
    pub(crate) fn sign(ip: u32, bit: u32) -> f32 {
        select((ip >> (31u32 - bit)) & 1u32 == 1u32, 1.0f32, -1.0f32)
    }

    /// One unit per element of `tables`, `[8, 16, d]`: the signs of the digit's bits times their weights.
    #[cube(launch_unchecked)]
    fn tables_kernel(parameters: &[f32], tables: &mut [f32], vector_dim: u32) {
        let position = ABSOLUTE_POS;
        let d = vector_dim as usize;
        if position >= comptime!(NUM_NIBBLES * NIBBLE_VALUES) * d {
            terminate!();
        }
        let column = position % d;
        let value = (position / d % NIBBLE_VALUES) as u32;
        let nibble = position / d / NIBBLE_VALUES;
        let mut sum = 0.0f32;
        if nibble == 0 {
            sum = parameters[NUM_BITS * d + column];
        }
        #[unroll]
        for i in 0..4u32 {
            // The nibble's bits are the last four of 32.
            sum += sign(value, 28u32 + i) * parameters[(4 * nibble + i as usize) * d + column];
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
    pub(crate) fn lookup(tables: &[f32], ip: u32, column: usize, width: usize) -> f32 {
        let a = entry(tables, ip, 0u32, column, width) + entry(tables, ip, 1u32, column, width);
        let b = entry(tables, ip, 2u32, column, width) + entry(tables, ip, 3u32, column, width);
        let c = entry(tables, ip, 4u32, column, width) + entry(tables, ip, 5u32, column, width);
        let e = entry(tables, ip, 6u32, column, width) + entry(tables, ip, 7u32, column, width);
        max((a + b) + (c + e), 0.0f32)
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

    /// One unit per column and slice of pairs. `sources` are the gradients of the activations, or where those
    /// are not kept the tables.
    #[cube(launch_unchecked)]
    #[allow(clippy::too_many_arguments)] // a kernel takes its scalars one by one
    fn first_layer_gradients_kernel(
        sources: &[f32],
        pair_ips: &[u32],
        pair_gradients: &[f32],
        rows_of_positives: &[u32],
        q: &[f32],
        out: &mut [f32],
        len: u32,
        num_pairs: u32,
        pairs_of_slice: u32,
        num_slices: u32,
        vector_dim: u32,
        #[comptime] units: u32,
        #[comptime] are_kept: bool,
    ) {
        let d = vector_dim as usize;
        let column_tiles = d.div_ceil(units as usize);
        let slice = CUBE_POS / column_tiles;
        let column = CUBE_POS % column_tiles * units as usize + UNIT_POS as usize;
        if slice >= num_slices as usize || column >= d {
            terminate!();
        }
        let mut sums = Array::<f32>::new(comptime!(NUM_BITS + 1));
        #[unroll]
        for i in 0..comptime!(NUM_BITS + 1) {
            sums[i] = 0.0f32;
        }
        let start = slice * pairs_of_slice as usize;
        for pair in start..min(start + pairs_of_slice as usize, len as usize) {
            let ip = pair_ips[pair];
            let gradient = if comptime!(are_kept) {
                sources[pair * d + column]
            } else {
                let row = rows_of_positives[pair / num_pairs as usize] as usize;
                let through = pair_gradients[pair] * q[row * d + column];
                select(lookup(sources, ip, column, d) > 0.0f32, through, 0.0f32)
            };
            #[unroll]
            for bit in 0..comptime!(NUM_BITS as u32) {
                sums[bit as usize] += sign(ip, bit) * gradient;
            }
            sums[NUM_BITS] += gradient;
        }
        #[unroll]
        for i in 0..comptime!(NUM_BITS + 1) {
            out[(slice * comptime!(NUM_BITS + 1) + i) * d + column] = sums[i];
        }
    }

    /// The tables of the first hidden layer, `[8, 16, d]`.
    pub(crate) fn tables(parameters: &CubeTensor, shape: &ModelShape) -> CubeTensor {
        let d = shape.vector_dim;
        let tables = launch::empty_like(parameters, Shape::new([NUM_NIBBLES * NIBBLE_VALUES, d]), DType::F32);
        let (count, dim) = launch::one_unit_each(parameters, tables.meta.num_elements());
        launch::count_launch();
        // SAFETY: the kernel checks its position against the length of the output, 128 d; the parameters start
        // with 32 rows of weights and one of biases.
        unsafe {
            tables_kernel::launch_unchecked(
                &parameters.client.clone(),
                count,
                dim,
                parameters.clone().into_buffer_arg(),
                tables.clone().into_buffer_arg(),
                d as u32,
            );
        }
        tables
    }

    /// The first hidden layer's activations of every pair, `[pairs, d]`.
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

    /// The mean gradients of the first layer's weights and biases, into the start of `out`. Two launches.
    pub(crate) fn first_layer_gradients(
        out: &CubeTensor,
        source: Source<'_>,
        pairs: &Pairs,
        losses: &RowLosses,
        loss_sums: &CubeTensor,
    ) {
        let (len, d) = (pairs.ips.meta.num_elements(), losses.q.meta.shape()[1]);
        let units = (d as u32).next_power_of_two().clamp(32, 128);
        let column_tiles = d.div_ceil(units as usize);
        let slices = Slices::new(len, (NUM_BITS + 1) * d, column_tiles * units as usize);
        let sums = launch::empty_like(out, Shape::new([slices.num, NUM_BITS + 1, d]), DType::F32);
        let (sources, are_kept) = match source {
            Source::Kept(gradients) => (gradients, true),
            Source::Tables(tables) => (tables, false),
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
                sources.clone().into_buffer_arg(),
                pairs.ips.clone().into_buffer_arg(),
                losses.pair_gradients.clone().into_buffer_arg(),
                losses.rows_of_positives.clone().into_buffer_arg(),
                losses.q.clone().into_buffer_arg(),
                sums.clone().into_buffer_arg(),
                len as u32,
                pairs.num_pairs() as u32,
                slices.len as u32,
                slices.num as u32,
                d as u32,
                units,
                are_kept,
            );
        }
        sum_slices(Part { tensor: out, offset: 0, len: (NUM_BITS + 1) * d }, sums, Some(loss_sums));
    }
}
