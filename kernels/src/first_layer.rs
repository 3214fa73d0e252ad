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
use crate::simd::{padded, vectors, vectors_mut};

/// Lookup tables of a first layer: NUM digits of BITS bits, NUM · BITS = 32.
pub(crate) struct Tables<const BITS: usize, const NUM: usize> {
    /// `[NUM, 2^BITS, padded width]`
    entries: Vec<f32>,
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
        let mut entries = vec![0.0; NUM * (1 << BITS) * width];
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
        let rows: [&[S::f32s]; NUM] =
            std::array::from_fn(|j| &tables[((j << BITS) + digit::<BITS>(ip, j)) * len..][..len]);
        let floor = simd.splat_f32s(self.floor);
        for (k, out) in out[..len].iter_mut().enumerate() {
            // Pairs of pairs: a chain of additions would wait for each.
            let mut sums: [S::f32s; NUM] = std::array::from_fn(|j| rows[j][k]);
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

/// Gradients of a first layer, gathered by nibble: `[8, 16, padded width]`.
pub(crate) struct Buckets {
    sums: Vec<f32>,
    width: usize,
}

const NUM_NIBBLES: usize = 8;
const NIBBLE_VALUES: usize = 16;

impl Buckets {
    pub fn zeros(width: usize) -> Self {
        Self { sums: vec![0.0; NUM_NIBBLES * NIBBLE_VALUES * width], width }
    }

    /// Adds the gradient of one address's activations.
    #[inline(always)]
    pub fn add<S: Simd>(&mut self, simd: S, ip: u32, gradient: &[S::f32s]) {
        let len = gradient.len();
        let mut tables = vectors_mut::<S>(&mut self.sums).chunks_exact_mut(NIBBLE_VALUES * len);
        let rows: [&mut [S::f32s]; NUM_NIBBLES] = std::array::from_fn(|j| {
            &mut tables.next().expect("eight tables")[digit::<4>(ip, j) * len..][..len]
        });
        for row in rows {
            for (sum, gradient) in row.iter_mut().zip(gradient) {
                *sum = simd.add_f32s(*sum, *gradient);
            }
        }
    }

    pub fn add_all(&mut self, other: &Buckets) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
    }

    /// Folds the buckets back into the gradients of weights `[32, d]` and biases `[d]`.
    pub fn fold(&self, weight: &mut [f32], bias: &mut [f32]) {
        let d = bias.len();
        weight.fill(0.0);
        bias.fill(0.0);
        for (j, table) in self.sums.chunks_exact(NIBBLE_VALUES * self.width).enumerate() {
            for (value, bucket) in table.chunks_exact(self.width).enumerate() {
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
}

/// The reference of the forward pass: activation `k` of an address.
pub fn first_layer_reference(weight: &[f32], bias: &[f32], ip: u32, k: usize) -> f32 {
    let d = bias.len();
    let mut bits = [0.0; NUM_BITS];
    crate::bits::bits_on_slices(&[ip], &mut bits);
    (0..NUM_BITS).fold(bias[k], |sum, i| sum + bits[i] * weight[i * d + k]).max(0.0)
}
