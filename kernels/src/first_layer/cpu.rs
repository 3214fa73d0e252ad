//! The CPU twin of the first layer.

use std::ops::Deref;

use pulp::Simd;

use crate::shape::{ModelShape, NUM_BITS};
use crate::simd::{AlignedVec, padded, vectors, vectors_mut};

/// The parameters of a first layer. The rows of its weights say how many bits an address has.
#[derive(Clone, Copy)]
pub struct FirstLayer<'a> {
    /// `[bits, d]`
    pub weight: &'a [f32],
    /// `[d]`
    pub bias: &'a [f32],
}

impl<'a> FirstLayer<'a> {
    /// The first layer of an encoder, whose parameters are laid out as [`ModelShape`] says.
    pub fn of_encoder(shape: &ModelShape, parameters: &'a [f32]) -> Self {
        Self { weight: &parameters[shape.weight(0)], bias: &parameters[shape.bias(0)] }
    }
}

/// Lookup tables of a first layer: NUM digits of BITS bits, which are the lowest of an address's 64.
pub(crate) struct Tables<E, const BITS: usize, const NUM: usize> {
    /// `[NUM, 2^BITS, padded width]`
    entries: E,
    width: usize,
    /// What activations are cut off at: 0 for ReLU, minus infinity where there is no hidden layer.
    floor: f32,
}

/// Nibbles of an IPv4 address.
pub(crate) const NUM_NIBBLES: usize = NUM_BITS / 4;

/// Small tables, for a training step.
pub(crate) type NibbleTables = Tables<AlignedVec, 4, NUM_NIBBLES>;

/// Large tables, for scoring.
pub(crate) type ByteTables<E> = Tables<E, 8, { NUM_BITS / 8 }>;

/// The value of digit `j`, the most significant one first.
#[inline(always)]
fn digit<const BITS: usize, const NUM: usize>(address: u64, j: usize) -> usize {
    (address >> (BITS * (NUM - 1 - j))) as usize & ((1 << BITS) - 1)
}

impl<const BITS: usize, const NUM: usize> Tables<AlignedVec, BITS, NUM> {
    /// The tables of an encoder: of its first hidden layer, or where there is none of the identity, so that a
    /// lookup gives the bits.
    pub fn new(shape: &ModelShape, parameters: &[f32]) -> Self {
        match shape.num_hidden {
            0 => Self::of_identity(),
            _ => Self::of_layer(FirstLayer::of_encoder(shape, parameters), 0.0),
        }
    }

    fn of_identity() -> Self {
        let num_bits = BITS * NUM;
        let mut identity = vec![0.0; num_bits * num_bits];
        identity.iter_mut().step_by(num_bits + 1).for_each(|element| *element = 1.0);
        Self::of_layer(FirstLayer { weight: &identity, bias: &vec![0.0; num_bits] }, f32::NEG_INFINITY)
    }

    /// # Panics
    ///
    /// Where the layer is for addresses of another number of bits than BITS · NUM.
    fn of_layer(FirstLayer { weight, bias }: FirstLayer<'_>, floor: f32) -> Self {
        let d = bias.len();
        assert_eq!(weight.len(), BITS * NUM * d, "the layer has a row of weights for each bit");
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
    fn rows(&self, address: u64) -> [&[f32]; NUM] {
        let mut rows: [&[f32]; NUM] = [&[]; NUM];
        for (j, row) in rows.iter_mut().enumerate() {
            let place = (j << BITS) + digit::<BITS, NUM>(address, j);
            *row = &self.entries[place * self.width..][..self.width];
        }
        rows
    }

    /// Writes the activations of one address.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, simd: S, address: u64, out: &mut [S::f32s]) {
        let rows = self.rows(address).map(vectors::<S>);
        let floor = simd.splat_f32s(self.floor);
        for (k, out) in out[..rows[0].len()].iter_mut().enumerate() {
            *out = simd.max_f32s(sum_of_rows::<S, NUM>(simd, &rows, k), floor);
        }
    }

    /// The dot product of a row, which need not be padded, and the activations of one address, which are not
    /// kept.
    #[inline(always)]
    pub fn dot<S: Simd>(&self, simd: S, q: &[f32], address: u64) -> f32 {
        let rows = self.rows(address);
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

/// Values of a nibble.
pub(crate) const NIBBLE_VALUES: usize = 16;

/// Buckets of the gradients of an IPv4 address: one for each value of each nibble.
pub const NUM_BUCKETS: usize = NUM_NIBBLES * NIBBLE_VALUES;

/// Floats of the buckets of a first layer, `[8, 16, padded width]`: its gradients, summed by nibble.
pub(crate) fn num_buckets(width: usize) -> usize {
    NUM_BUCKETS * width
}

/// Tables that are added to in one loop.
const TABLES_AT_ONCE: usize = 8;

/// Adds the gradient of one address's activations to its buckets, of which each of NUM nibbles has 16.
#[inline(always)]
pub(crate) fn add_to_buckets<S: Simd, const NUM: usize>(
    simd: S,
    buckets: &mut [f32],
    address: u64,
    gradient: &[S::f32s],
) {
    const { assert!(NUM.is_multiple_of(TABLES_AT_ONCE)) };
    let len = gradient.len();
    let mut tables = vectors_mut::<S>(buckets).chunks_exact_mut(NIBBLE_VALUES * len);
    for first in (0..NUM).step_by(TABLES_AT_ONCE) {
        let mut rows: [&mut [S::f32s]; TABLES_AT_ONCE] = Default::default();
        for (j, (row, table)) in rows.iter_mut().zip(&mut tables).enumerate() {
            *row = &mut table[digit::<4, NUM>(address, first + j) * len..][..len];
        }
        let [r0, r1, r2, r3, r4, r5, r6, r7] = rows;
        let low = r0.iter_mut().zip(r1).zip(r2.iter_mut().zip(r3));
        let high = r4.iter_mut().zip(r5).zip(r6.iter_mut().zip(r7));
        for ((((s0, s1), (s2, s3)), ((s4, s5), (s6, s7))), gradient) in low.zip(high).zip(gradient) {
            // All loads before any store: rows lie at the same place in their pages, and a load that follows
            // such a store waits for it.
            let sums = [*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7];
            for (place, sum) in [s0, s1, s2, s3, s4, s5, s6, s7].into_iter().zip(sums) {
                *place = simd.add_f32s(sum, *gradient);
            }
        }
    }
}

/// Folds buckets back into the gradients of weights, `[bits, d]`, and biases, `[d]`.
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

/// The layer by itself, on one thread.
impl FirstLayer<'_> {
    /// Fills the activations, `[N, d]`, of N addresses.
    ///
    /// # Panics
    ///
    /// Where d is not a multiple of 16: rows are padded by the caller.
    pub fn encode(&self, ips: &[u32], activations: &mut [f32]) {
        self.check();
        let tables = NibbleTables::of_layer(*self, 0.0);
        pulp::Arch::new().dispatch(Encode { tables: &tables, ips, activations });
    }

    /// The gradients of weights, `[32, d]`, and biases, `[d]`, from those of the activations, `[N, d]`, which
    /// are 0 where the activation is.
    ///
    /// # Panics
    ///
    /// Where d is not a multiple of 16: rows are padded by the caller.
    pub fn gradients(&self, ips: &[u32], gradients: &[f32]) -> (Vec<f32>, Vec<f32>) {
        self.check();
        let d = self.bias.len();
        let mut buckets = AlignedVec::zeros(num_buckets(d));
        pulp::Arch::new().dispatch(AddToBuckets { buckets: &mut buckets, ips, gradients });
        let (mut weight, mut bias) = (vec![0.0; NUM_BITS * d], vec![0.0; d]);
        fold_buckets(&buckets, &mut weight, &mut bias);
        (weight, bias)
    }

    fn check(&self) {
        let d = self.bias.len();
        assert!(padded(d) == d && self.weight.len() == NUM_BITS * d);
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
        for (ip, row) in self.ips.iter().zip(rows) {
            self.tables.encode(simd, u64::from(*ip), vectors_mut::<S>(row));
        }
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
            add_to_buckets::<S, NUM_NIBBLES>(simd, self.buckets, u64::from(*ip), vectors::<S>(row));
        }
    }
}
