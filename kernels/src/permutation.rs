//! A keyed pseudo-random permutation of `0..n` that needs no memory: a balanced Feistel network of four
//! rounds (Luby and Rackoff, 1988: four rounds of a pseudo-random function make a pseudo-random
//! permutation) over the smallest even number of bits that holds `n`, walked along its cycle until it
//! lands below `n` (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
//!
//! ```text
//! (l, r) -> (r, l ^ F(r, k_i)),  F(r, k) = fmix32(r·0x9E3779B1 + k) & mask
//! ```
//!
//! `fmix32` is MurmurHash3's finaliser. Any position is known at once, so resuming an epoch is a number.

#[cfg(feature = "wgpu")]
use cubecl::prelude::*;

use crate::philox::philox4x32_10;

/// A permutation of `0..len`.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    half_bits: u32,
    round_keys: [u32; 4],
}

impl Permutation {
    /// The permutation of `0..len` whose round keys are the Philox block of `counter` under `key`.
    pub fn new(len: u64, counter: [u32; 4], key: [u32; 2]) -> Self {
        Self { len, half_bits: half_bits(len), round_keys: philox4x32_10(counter, key) }
    }

    /// Where the indices from `start` on go, one by one as [`Permutation::apply`] has it, for lengths up to 2^32.
    ///
    /// The network runs over all of them at once, in the vectors of the CPU, and again over those that are not
    /// below the length yet: a loop for each would end where no CPU foresees it.
    pub fn apply_to_range(&self, start: u32, images: &mut [u32]) {
        debug_assert!(self.len <= 1 << 32);
        for (index, image) in (start..).zip(images.iter_mut()) {
            *image = index;
        }
        pulp::Arch::new().dispatch(Walk { permutation: self, images });
    }

    /// Where `index` goes; `index` must be below the length.
    pub fn apply(&self, index: u64) -> u64 {
        debug_assert!(index < self.len);
        let mask = ((1u64 << self.half_bits) - 1) as u32;
        let mut value = index;
        loop {
            let mut left = (value >> self.half_bits) as u32;
            let mut right = value as u32 & mask;
            for key in self.round_keys {
                (left, right) = (right, left ^ (round_function(right, key) & mask));
            }
            value = (left as u64) << self.half_bits | right as u64;
            if value < self.len {
                return value;
            }
        }
    }
}

struct Walk<'a> {
    permutation: &'a Permutation,
    images: &'a mut [u32],
}

impl pulp::WithSimd for Walk<'_> {
    type Output = ();

    /// Element by element, for the compiler to turn into the vectors of the instruction set.
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Permutation { len, half_bits, round_keys } = *self.permutation;
        let (mask, last) = (((1u64 << half_bits) - 1) as u32, (len - 1) as u32);
        let mut is_first = true;
        loop {
            let mut outside = 0;
            for image in self.images.iter_mut() {
                let (mut left, mut right) = (*image >> half_bits, *image & mask);
                for key in round_keys {
                    (left, right) = (right, left ^ (round_function(right, key) & mask));
                }
                let next = left << half_bits | right;
                let walks_on = is_first | (*image > last);
                *image = if walks_on { next } else { *image };
                outside |= u32::from(*image > last);
            }
            if outside == 0 {
                return;
            }
            is_first = false;
        }
    }
}

/// Half of the domain's bits: the smallest `h >= 1` with `4^h >= len`, at most 32.
pub(crate) fn half_bits(len: u64) -> u32 {
    let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
    bits.div_ceil(2).max(1)
}

#[inline(always)]
fn round_function(right: u32, key: u32) -> u32 {
    let mut x = right.wrapping_mul(0x9E37_79B1).wrapping_add(key);
    x ^= x >> 16;
    x = x.wrapping_mul(0x85EB_CA6B);
    x ^= x >> 13;
    x = x.wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

#[cfg(feature = "wgpu")]
#[cube]
fn round_function_on_device(right: u32, key: u32) -> u32 {
    let mut x = right * 0x9E37_79B1u32 + key;
    x ^= x >> 16u32;
    x *= 0x85EB_CA6Bu32;
    x ^= x >> 13u32;
    x *= 0xC2B2_AE35u32;
    x ^ (x >> 16u32)
}

/// [`Permutation::apply`] on the device, for lengths below 2^32.
#[cfg(feature = "wgpu")]
#[cube]
pub(crate) fn permute(index: u32, len: u32, half_bits: u32, keys: crate::philox::Block) -> u32 {
    let mask = (1u32 << half_bits) - 1u32;
    let mut value = index;
    let mut walking = true;
    while walking {
        let l0 = value >> half_bits;
        let r0 = value & mask;
        let r1 = l0 ^ (round_function_on_device(r0, keys.w0) & mask);
        let r2 = r0 ^ (round_function_on_device(r1, keys.w1) & mask);
        let r3 = r1 ^ (round_function_on_device(r2, keys.w2) & mask);
        let r4 = r2 ^ (round_function_on_device(r3, keys.w3) & mask);
        value = (r3 << half_bits) | r4;
        walking = value >= len;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_permutation_for_every_small_length_and_many_keys() {
        for len in (1..=70).chain([255, 256, 257, 1000, 4096, 4097, 10_000]) {
            for epoch in 0..4 {
                let permutation = Permutation::new(len, [0, 0, 0, epoch], [7, 9]);
                let mut seen = vec![false; len as usize];
                for index in 0..len {
                    let to = permutation.apply(index) as usize;
                    assert!(!std::mem::replace(&mut seen[to], true), "len {len} epoch {epoch}: {to} twice");
                }
            }
        }
    }

    #[test]
    fn a_range_goes_where_its_indices_go() {
        for len in [1, 2, 5, 64, 65, 1000, 10_000, 70_000, (1 << 32) - 1] {
            let permutation = Permutation::new(len, [1, 2, 3, 4], [5, 6]);
            for start in [0, len / 3] {
                let mut images = vec![0; (len - start).min(300) as usize];
                permutation.apply_to_range(start as u32, &mut images);
                for (index, image) in (start..).zip(images) {
                    assert_eq!(permutation.apply(index), image as u64, "{len}: {index}");
                }
            }
        }
    }

    #[test]
    fn huge_lengths_stay_in_range() {
        for len in [u32::MAX as u64, 1 << 32, (1 << 32) + 1, 5_000_000_007, 1 << 62] {
            let permutation = Permutation::new(len, [1, 2, 3, 4], [5, 6]);
            for index in [0, 1, len / 2, len - 1] {
                assert!(permutation.apply(index) < len);
            }
        }
    }

    #[test]
    fn it_mixes() {
        // Of a random permutation of n, about one element stays where it was, and neighbours part.
        let len = 10_000;
        let permutation = Permutation::new(len, [0; 4], [1, 2]);
        let image: Vec<u64> = (0..len).map(|i| permutation.apply(i)).collect();
        let fixed = image.iter().zip(0..).filter(|(to, from)| **to == *from).count();
        let neighbours = image.windows(2).filter(|w| w[0].abs_diff(w[1]) == 1).count();
        assert!(fixed < 10, "{fixed} fixed points");
        assert!(neighbours < 20, "{neighbours} neighbours kept");
    }
}
