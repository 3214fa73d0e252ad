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

use pulp::Simd;

use crate::bits::NUM_BITS;
use crate::encoder::EncoderShape;
use crate::simd::{AlignedVec, padded, vectors, vectors_mut};

/// Lookup tables of a first layer: NUM digits of BITS bits, NUM · BITS = 32.
pub(crate) struct Tables<const BITS: usize, const NUM: usize> {
    /// `[NUM, 2^BITS, padded width]`
    entries: AlignedVec,
    width: usize,
    /// What activations are cut off at: 0 for ReLU, minus infinity where there is no hidden layer.
    floor: f32,
}

/// Small tables, for a training step.
pub(crate) type NibbleTables = Tables<4, 8>;

/// Large tables, for scoring.
pub(crate) type ByteTables = Tables<8, 4>;

/// The digit's value.
#[inline(always)]
fn digit<const BITS: usize>(ip: u32, j: usize) -> usize {
    (ip >> (NUM_BITS - BITS * (j + 1))) as usize & ((1 << BITS) - 1)
}

impl<const BITS: usize, const NUM: usize> Tables<BITS, NUM> {
    /// The tables of an encoder: of its first hidden layer, or where there is none of the identity, so that a
    /// lookup gives the 32 bits.
    pub fn new(shape: &EncoderShape, parameters: &[f32]) -> Self {
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

    /// Floats of a padded row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Writes the activations of one address.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, simd: S, ip: u32, out: &mut [S::f32s]) {
        let len = self.width / S::F32_LANES;
        let tables = vectors::<S>(&self.entries);
        let mut rows: [&[S::f32s]; NUM] = [&[]; NUM];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = &tables[((j << BITS) + digit::<BITS>(ip, j)) * len..][..len];
        }
        let floor = simd.splat_f32s(self.floor);
        for (k, out) in out[..len].iter_mut().enumerate() {
            // Pairs of pairs: a chain of additions would wait for each.
            let mut sums = [floor; NUM];
            for (sum, row) in sums.iter_mut().zip(&rows) {
                *sum = row[k];
            }
            let mut num = NUM;
            while num > 1 {
                num /= 2;
                for j in 0..num {
                    sums[j] = simd.add_f32s(sums[2 * j], sums[2 * j + 1]);
                }
            }
            *out = simd.max_f32s(sums[0], floor);
        }
    }
}

const NUM_NIBBLES: usize = 8;
const NIBBLE_VALUES: usize = 16;

/// Floats of the buckets of a first layer, `[8, 16, padded width]`: its gradients, gathered by nibble.
pub(crate) fn num_buckets(width: usize) -> usize {
    NUM_NIBBLES * NIBBLE_VALUES * width
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
pub fn first_layer_reference(weight: &[f32], bias: &[f32], ip: u32, k: usize) -> f32 {
    let d = bias.len();
    let mut bits = [0.0; NUM_BITS];
    crate::bits::bits_on_slices(&[ip], &mut bits);
    (0..NUM_BITS).fold(bias[k], |sum, i| sum + bits[i] * weight[i * d + k]).max(0.0)
}
