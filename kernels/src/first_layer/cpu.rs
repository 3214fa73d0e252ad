//! The CPU twin of the first layer.

use std::ops::Deref;

use pulp::Simd;

use crate::addresses::{Addresses, is_ipv6};
use crate::shape::{Families, ModelShape, NIBBLE_BITS, NIBBLE_VALUES, NUM_IPV4_BITS, NUM_IPV6_BITS};
use crate::simd::{AlignedVec, padded, vectors, vectors_mut};

/// The parameters of a first layer.
#[derive(Clone, Copy)]
pub struct FirstLayer<'a> {
    /// `[n, d]`: a row for each bit, those of IPv4 first
    pub weight: &'a [f32],
    /// `[d]`
    pub bias: &'a [f32],
    /// The addresses that it takes.
    pub families: Families,
}

impl<'a> FirstLayer<'a> {
    /// The first layer of an encoder, whose parameters are laid out as [`ModelShape`] says.
    pub fn of_encoder(shape: &ModelShape, parameters: &'a [f32]) -> Self {
        Self {
            weight: &parameters[shape.weight(0)],
            bias: &parameters[shape.bias(0)],
            families: shape.families,
        }
    }

    /// The rows of weights of each family.
    fn by_family(&self) -> (&'a [f32], Option<&'a [f32]>) {
        let (ipv4, ipv6) = self.weight.split_at(NUM_IPV4_BITS * self.bias.len());
        (ipv4, (self.families == Families::Both).then_some(ipv6))
    }
}

/// Lookup tables of one family's part of a first layer: NUM digits of BITS bits, which are the lowest of an
/// address's 64.
struct Tables<E, const BITS: usize, const NUM: usize> {
    /// `[NUM, 2^BITS, padded width]`
    entries: E,
    width: usize,
    /// What activations are cut off at: 0 for ReLU, minus infinity where there is no hidden layer.
    floor: f32,
}

/// Lookup tables of a first layer: NUM digits of BITS bits for IPv4, NUM_IPV6 for IPv6.
pub(crate) struct EncoderTables<E, const BITS: usize, const NUM: usize, const NUM_IPV6: usize> {
    ipv4: Tables<E, BITS, NUM>,
    ipv6: Option<Tables<E, BITS, NUM_IPV6>>,
}

/// Nibbles of an address of each family.
const NUM_IPV4_NIBBLES: usize = NUM_IPV4_BITS / NIBBLE_BITS;
const NUM_IPV6_NIBBLES: usize = NUM_IPV6_BITS / NIBBLE_BITS;

/// Small tables, for a training step.
pub(crate) type NibbleTables = EncoderTables<AlignedVec, NIBBLE_BITS, NUM_IPV4_NIBBLES, NUM_IPV6_NIBBLES>;

/// Large tables, for scoring.
pub(crate) type ByteTables<E> = EncoderTables<E, 8, { NUM_IPV4_BITS / 8 }, { NUM_IPV6_BITS / 8 }>;

/// The value of digit `j`, the most significant one first.
#[inline(always)]
fn digit<const BITS: usize, const NUM: usize>(address: u64, j: usize) -> usize {
    (address >> (BITS * (NUM - 1 - j))) as usize & ((1 << BITS) - 1)
}

impl<const BITS: usize, const NUM: usize, const NUM_IPV6: usize>
    EncoderTables<AlignedVec, BITS, NUM, NUM_IPV6>
{
    /// The tables of an encoder: of its first hidden layer, or where there is none of the identity, so that a
    /// lookup gives the bits.
    pub fn new(shape: &ModelShape, parameters: &[f32]) -> Self {
        match shape.num_hidden {
            0 => Self::of_identity(shape.families),
            _ => Self::of_layer(FirstLayer::of_encoder(shape, parameters), 0.0),
        }
    }

    fn of_identity(families: Families) -> Self {
        let num_bits = families.num_bits();
        let mut identity = vec![0.0; num_bits * num_bits];
        identity.iter_mut().step_by(num_bits + 1).for_each(|element| *element = 1.0);
        let bias = vec![0.0; num_bits];
        Self::of_layer(FirstLayer { weight: &identity, bias: &bias, families }, f32::NEG_INFINITY)
    }

    fn of_layer(layer: FirstLayer<'_>, floor: f32) -> Self {
        let (ipv4, ipv6) = layer.by_family();
        Self {
            ipv4: Tables::new(ipv4, layer.bias, floor),
            ipv6: ipv6.map(|ipv6| Tables::new(ipv6, layer.bias, floor)),
        }
    }
}

impl<const BITS: usize, const NUM: usize> Tables<AlignedVec, BITS, NUM> {
    /// The tables of a layer from its weights, `[bits, d]`, and biases, `[d]`.
    ///
    /// # Panics
    ///
    /// Where the layer is for addresses of another number of bits than BITS · NUM.
    fn new(weight: &[f32], bias: &[f32], floor: f32) -> Self {
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

impl<'a, const BITS: usize, const NUM: usize, const NUM_IPV6: usize>
    EncoderTables<&'a [f32], BITS, NUM, NUM_IPV6>
{
    /// The tables of an encoder from [`EncoderTables::entries`].
    pub fn from_entries(shape: &ModelShape, entries: &'a [f32]) -> Self {
        let floor = if shape.num_hidden == 0 { f32::NEG_INFINITY } else { 0.0 };
        let width = padded(shape.output_width());
        let (ipv4, ipv6) = entries.split_at((NUM << BITS) * width);
        Self {
            ipv4: Tables { entries: ipv4, width, floor },
            ipv6: (shape.families == Families::Both).then_some(Tables { entries: ipv6, width, floor }),
        }
    }
}

impl<E: Deref<Target = [f32]>, const BITS: usize, const NUM: usize, const NUM_IPV6: usize>
    EncoderTables<E, BITS, NUM, NUM_IPV6>
{
    /// All entries: `[NUM, 2^BITS, padded width]` and, where there is IPv6, `[NUM_IPV6, 2^BITS, padded width]`.
    pub fn entries(&self) -> Vec<f32> {
        let ipv6 = self.ipv6.as_ref().map_or(&[][..], |ipv6| &*ipv6.entries);
        [&*self.ipv4.entries, ipv6].concat()
    }

    /// Floats of a padded row.
    pub fn width(&self) -> usize {
        self.ipv4.width
    }

    /// Writes the activations of one address.
    #[inline(always)]
    pub fn encode<S: Simd>(&self, simd: S, address: u64, out: &mut [S::f32s]) {
        match &self.ipv6 {
            Some(ipv6) if is_ipv6(address) => ipv6.encode(simd, address, out),
            _ => self.ipv4.encode(simd, address, out),
        }
    }

    /// The dot product of a row, which need not be padded, and the activations of one address, which are not
    /// kept.
    #[inline(always)]
    pub fn dot<S: Simd>(&self, simd: S, q: &[f32], address: u64) -> f32 {
        match &self.ipv6 {
            Some(ipv6) if is_ipv6(address) => ipv6.dot(simd, q, address),
            _ => self.ipv4.dot(simd, q, address),
        }
    }
}

impl<E: Deref<Target = [f32]>, const BITS: usize, const NUM: usize> Tables<E, BITS, NUM> {
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

    #[inline(always)]
    fn encode<S: Simd>(&self, simd: S, address: u64, out: &mut [S::f32s]) {
        let rows = self.rows(address).map(vectors::<S>);
        let floor = simd.splat_f32s(self.floor);
        for (k, out) in out[..rows[0].len()].iter_mut().enumerate() {
            *out = simd.max_f32s(sum_of_rows::<S, NUM>(simd, &rows, k), floor);
        }
    }

    #[inline(always)]
    fn dot<S: Simd>(&self, simd: S, q: &[f32], address: u64) -> f32 {
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

/// Tables that are added to in one loop.
const TABLES_AT_ONCE: usize = 8;

/// Adds the gradient of one address's activations to its buckets: `[8, 16, padded width]` for IPv4 and behind them,
/// where the encoder takes IPv6, `[16, 16, padded width]`.
#[inline(always)]
pub(crate) fn add_to_buckets<S: Simd>(
    simd: S,
    buckets: &mut [f32],
    families: Families,
    address: u64,
    gradient: &[S::f32s],
) {
    if families == Families::Both && is_ipv6(address) {
        let (_, ipv6) =
            buckets.split_at_mut(Families::Ipv4.num_nibble_rows() * gradient.len() * S::F32_LANES);
        add_to_digits::<S, NUM_IPV6_NIBBLES>(simd, ipv6, address, gradient);
    } else {
        add_to_digits::<S, NUM_IPV4_NIBBLES>(simd, buckets, address, gradient);
    }
}

/// Adds a gradient to one bucket of each of NUM nibbles.
#[inline(always)]
fn add_to_digits<S: Simd, const NUM: usize>(
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

/// Folds buckets back into the gradients of weights, `[n, d]`, and biases, `[d]`.
pub(crate) fn fold_buckets(buckets: &[f32], weight: &mut [f32], bias: &mut [f32]) {
    let (d, width) = (bias.len(), padded(bias.len()));
    weight.fill(0.0);
    bias.fill(0.0);
    for (j, table) in buckets.chunks_exact(NIBBLE_VALUES * width).enumerate() {
        // Every address has one first nibble.
        let is_first = [0, NUM_IPV4_NIBBLES].contains(&j);
        for (value, bucket) in table.chunks_exact(width).enumerate() {
            if is_first {
                bias.iter_mut().zip(bucket).for_each(|(sum, g)| *sum += g);
            }
            let rows = &mut weight[NIBBLE_BITS * j * d..NIBBLE_BITS * (j + 1) * d];
            for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                let sign = if (value >> (NIBBLE_BITS - 1 - i)) & 1 == 1 { 1.0 } else { -1.0 };
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
    pub fn encode(&self, ips: Addresses<'_>, activations: &mut [f32]) {
        self.check();
        let tables = NibbleTables::of_layer(*self, 0.0);
        pulp::Arch::new().dispatch(Encode { tables: &tables, ips, activations });
    }

    /// The gradients of weights, `[n, d]`, and biases, `[d]`, from those of the activations, `[N, d]`, which
    /// are 0 where the activation is.
    ///
    /// # Panics
    ///
    /// Where d is not a multiple of 16: rows are padded by the caller.
    pub fn gradients(&self, ips: Addresses<'_>, gradients: &[f32]) -> (Vec<f32>, Vec<f32>) {
        self.check();
        let (d, families) = (self.bias.len(), self.families);
        let mut buckets = AlignedVec::zeros(families.num_nibble_rows() * d);
        pulp::Arch::new().dispatch(AddToBuckets { buckets: &mut buckets, families, ips, gradients });
        let (mut weight, mut bias) = (vec![0.0; self.weight.len()], vec![0.0; d]);
        fold_buckets(&buckets, &mut weight, &mut bias);
        (weight, bias)
    }

    fn check(&self) {
        let d = self.bias.len();
        assert!(padded(d) == d && self.weight.len() == self.families.num_bits() * d);
    }
}

struct Encode<'a> {
    tables: &'a NibbleTables,
    ips: Addresses<'a>,
    activations: &'a mut [f32],
}

impl pulp::WithSimd for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.activations.chunks_exact_mut(self.tables.width());
        for (ip, row) in self.ips.iter().zip(rows) {
            self.tables.encode(simd, ip, vectors_mut::<S>(row));
        }
    }
}

struct AddToBuckets<'a> {
    buckets: &'a mut [f32],
    families: Families,
    ips: Addresses<'a>,
    gradients: &'a [f32],
}

impl pulp::WithSimd for AddToBuckets<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.gradients.chunks_exact(self.gradients.len() / self.ips.len());
        for (ip, row) in self.ips.iter().zip(rows) {
            add_to_buckets::<S>(simd, self.buckets, self.families, ip, vectors::<S>(row));
        }
    }
}
