//! The pairs of a mini-batch: each row's own address, R random addresses of its family and S shuffled ones.
//!
//! ```text
//! pair_ips[b, 0]         = ips[b]
//! pair_ips[b, 1 + r]     = word i mod 4 of philox((i div 4, 0, step, epoch), key)   i = b R + r, r in 0..R; IPv4
//!                        = the first l bits of ips[donors[m]], and random ones                          IPv6
//! pair_ips[b, 1 + R + s] = ips[permutation_s(b)]                                    s in 0..S; of any family
//! mask[b, p]             = 0 where p > 0 and pair_ips[b, p] = ips[b], else 1
//!
//! w = philox((i, 1, step, epoch), key)      m = w_0 M >> 32,  l = 24 + (37 w_1 >> 32), bits from w_2 and w_3
//! donors: the M rows of the mini-batch with IPv6 addresses
//! ```
//!
//! A random word is an IPv4 address with each octet uniform in 0..=255, as in the reference system. A negative
//! that equals its own positive would contradict it, so it is masked out of loss and accuracy.
//!
//! Nearly all of the IPv6 space is not allocated, so a uniform address is told from a real one by its first bits,
//! and teaches nothing about the networks of an entity. Measured on the IPv6 addresses of Tor relays, 80/20 in time,
//! entities seen, 3 epochs at d = 32, R = 3, S = 2, as AUC against addresses of other entities, of the same /32, of the
//! same /48 and uniform in 2000::/3:
//!
//! | random negatives | other | /32 | /48 | uniform |
//! |---|---|---|---|---|
//! | uniform in 2000::/3 | .973 | .893 | .723 | .997 |
//! | observed prefix of 24 to 60 bits | .979 | .970 | .938 | .989 |
//! | observed prefix of 16 to 48 bits | .979 | .975 | .928 | .992 |
//!
//! An observed prefix cut anywhere is better by far where it is hard. Lengths from 24 to 60 span what providers get and
//! what customers get, and a /64 that is drawn is hardly ever the donor's.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use crate::addresses::{Addresses, is_ipv6};
use crate::permutation::Permutation;
use crate::philox::{Stream, below, philox4x32_10, stream_key};
use crate::shape::Families;

/// Which negatives to make. The draws are a function of these fields and the row alone.
#[derive(Clone, Copy, Debug)]
pub struct Negatives {
    /// R, random negatives per row.
    pub num_random: usize,
    /// S, shuffled negatives per row.
    pub num_shuffled: usize,
    random_key: [u32; 2],
    shuffled_key: [u32; 2],
    /// Epoch, from 0.
    pub epoch: u32,
    /// Step within the epoch, from 0.
    pub step: u32,
}

impl Negatives {
    /// The negatives of training at step (`epoch`, `step`) of `seed`.
    pub fn training(num_random: usize, num_shuffled: usize, seed: u64, epoch: u32, step: u32) -> Self {
        Self {
            num_random,
            num_shuffled,
            random_key: stream_key(seed, Stream::RandomNegatives),
            shuffled_key: stream_key(seed, Stream::ShuffledNegatives),
            epoch,
            step,
        }
    }

    /// P = 1 + R + S, pairs per row.
    pub fn num_pairs(&self) -> usize {
        1 + self.num_random + self.num_shuffled
    }

    /// Four random IPv4 addresses.
    fn random_block(&self, block: usize) -> [u32; 4] {
        philox4x32_10([block as u32, 0, self.step, self.epoch], self.random_key)
    }

    /// Random IPv6 address `i`.
    fn random_ipv6(&self, i: usize, positives: Positives<'_>) -> u64 {
        let [donor, length, high, low] = philox4x32_10([i as u32, 1, self.step, self.epoch], self.random_key);
        let donor = positives.donors[below(donor, positives.donors.len() as u32) as usize];
        let donor = positives.ips.get(donor as usize);
        let length = MIN_PREFIX_BITS + below(length, NUM_PREFIX_LENGTHS);
        let is_kept = u64::MAX << (64 - length);
        let drawn = donor & is_kept | (u64::from(high) << 32 | u64::from(low)) & !is_kept;
        // An address below 2^32 would be IPv4.
        if is_ipv6(drawn) { drawn } else { donor & !u64::from(u32::MAX) | drawn }
    }

    /// The permutation of a mini-batch of `len` rows for shuffled negative `s`.
    fn permutation(&self, s: usize, len: usize) -> Permutation {
        Permutation::new(len as u64, [s as u32, 0, self.step, self.epoch], self.shuffled_key)
    }
}

/// Bits of an observed prefix that a random IPv6 negative has, at least, and how many numbers of them there are.
const MIN_PREFIX_BITS: u32 = 24;
const NUM_PREFIX_LENGTHS: u32 = 37;

/// The positives of a mini-batch, as slices.
#[derive(Clone, Copy)]
pub struct Positives<'a> {
    /// `[B]`
    pub ips: Addresses<'a>,
    /// `[M]`, ascending: the rows with IPv6 addresses, as [`donors`] finds them.
    pub donors: &'a [u32],
}

/// The rows of a mini-batch whose prefixes random IPv6 negatives have: those with IPv6 addresses.
pub fn donors(ips: Addresses<'_>) -> Vec<u32> {
    (0..).zip(ips.iter()).filter(|(_, ip)| is_ipv6(*ip)).map(|(row, _)| row).collect()
}

/// The reference: pair `column` of `row`, and whether it counts.
pub fn pair_reference(
    negatives: &Negatives,
    positives: Positives<'_>,
    row: usize,
    column: usize,
) -> (u64, f32) {
    let ips = positives.ips;
    let own = ips.get(row);
    let ip = if column == 0 {
        return (own, 1.0);
    } else if column <= negatives.num_random {
        let i = row * negatives.num_random + column - 1;
        match is_ipv6(own) {
            true => negatives.random_ipv6(i, positives),
            false => negatives.random_block(i / 4)[i % 4].into(),
        }
    } else {
        let s = column - 1 - negatives.num_random;
        ips.get(negatives.permutation(s, ips.len()).apply(row as u64) as usize)
    };
    (ip, if ip == own { 0.0 } else { 1.0 })
}

/// Rows of a task of the CPU twin: a multiple of 4, so that its first random address begins a block.
const ROWS_PER_TASK: usize = 512;

/// The CPU twin: fills `pair_ips`, `[B, P · words]`, and `mask`, `[B, P]`.
pub fn pairs_on_slices(
    negatives: &Negatives,
    positives: Positives<'_>,
    pair_ips: &mut [u32],
    mask: &mut [f32],
) {
    let ips = positives.ips;
    let permutations: Vec<_> =
        (0..negatives.num_shuffled).map(|s| negatives.permutation(s, ips.len())).collect();
    let (num_pairs, num_words) = (negatives.num_pairs(), ips.families().num_words());
    let tasks = pair_ips
        .par_chunks_mut(ROWS_PER_TASK * num_pairs * num_words)
        .zip(mask.par_chunks_mut(ROWS_PER_TASK * num_pairs));
    tasks.enumerate().for_each(|(task, (pair_ips, mask))| {
        let first_row = task * ROWS_PER_TASK;
        let images: Vec<Vec<u32>> = permutations
            .iter()
            .map(|permutation| {
                let mut images = vec![0; mask.len() / num_pairs];
                permutation.apply_to_range(first_row as u32, &mut images);
                images
            })
            .collect();
        let task = Task { negatives, positives, first_row, images: &images };
        match ips.families() {
            Families::Ipv4 => task.fill_ipv4(pair_ips, mask),
            Families::Both => task.fill_both(pair_ips, mask),
        }
    });
}

/// Some rows of a mini-batch.
struct Task<'a> {
    negatives: &'a Negatives,
    positives: Positives<'a>,
    first_row: usize,
    /// For each shuffled negative where the rows go.
    images: &'a [Vec<u32>],
}

impl Task<'_> {
    fn fill_ipv4(&self, pair_ips: &mut [u32], mask: &mut [f32]) {
        let Self { negatives, first_row, images, .. } = *self;
        let (ips, num_pairs) = (self.positives.ips.words(), negatives.num_pairs());
        let mut words = [0; 4];
        let rows = pair_ips.chunks_exact_mut(num_pairs).zip(mask.chunks_exact_mut(num_pairs));
        for (row, (pair_ips, mask)) in (first_row..).zip(rows) {
            let (own, others) = pair_ips.split_first_mut().expect("P >= 1");
            *own = ips[row];
            let (random, shuffled) = others.split_at_mut(negatives.num_random);
            for (i, ip) in (row * negatives.num_random..).zip(random) {
                if i % 4 == 0 {
                    words = negatives.random_block(i / 4);
                }
                *ip = words[i % 4];
            }
            for (ip, images) in shuffled.iter_mut().zip(images) {
                *ip = ips[images[row - first_row] as usize];
            }
            mask[0] = 1.0;
            for (counts, ip) in mask[1..].iter_mut().zip(others.iter()) {
                *counts = if *ip == ips[row] { 0.0 } else { 1.0 };
            }
        }
    }

    fn fill_both(&self, pair_ips: &mut [u32], mask: &mut [f32]) {
        let Self { negatives, positives, first_row, images } = *self;
        let num_pairs = negatives.num_pairs();
        let rows = pair_ips.chunks_exact_mut(2 * num_pairs).zip(mask.chunks_exact_mut(num_pairs));
        let mut words = (usize::MAX, [0; 4]);
        for (row, (pair_ips, mask)) in (first_row..).zip(rows) {
            let own = positives.ips.get(row);
            let random = (row * negatives.num_random..(row + 1) * negatives.num_random).map(|i| {
                if is_ipv6(own) {
                    return negatives.random_ipv6(i, positives);
                }
                if words.0 != i / 4 {
                    words = (i / 4, negatives.random_block(i / 4));
                }
                u64::from(words.1[i % 4])
            });
            let shuffled = images.iter().map(|images| positives.ips.get(images[row - first_row] as usize));
            let all = std::iter::once(own).chain(random).chain(shuffled);
            let (pair_ips, _) = pair_ips.as_chunks_mut::<2>();
            for ((pair_ip, counts), ip) in pair_ips.iter_mut().zip(mask.iter_mut()).zip(all) {
                *pair_ip = [ip as u32, (ip >> 32) as u32];
                *counts = if ip == own { 0.0 } else { 1.0 };
            }
            mask[0] = 1.0;
        }
    }
}

/// Makes a mini-batch's pairs on the device that holds `ips`.
///
/// # Shapes
///
/// - `ips`: `[B · words]`, unsigned 32-bit integers as in [`crate::addresses`]
/// - `donors`: `[M]`, of the same type, as [`donors`] finds them; any one number where there are none
/// - output: pair IPs `[B, P · words]` of the same type, and the mask `[B, P]`, 1.0 or 0.0
pub fn pairs(
    ips: Tensor<1, Int>,
    donors: Tensor<1, Int>,
    families: Families,
    negatives: Negatives,
) -> (Tensor<2, Int>, Tensor<2>) {
    let (pair_ips, mask) = Dispatch::pairs(ips.into_dispatch(), donors.into_dispatch(), families, negatives);
    (Tensor::from_dispatch(pair_ips), Tensor::from_dispatch(mask))
}

/// The backend extension behind [`pairs`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait NegativesBackend: Backend {
    /// See [`pairs`].
    fn pairs(
        ips: IntTensor<Self>,
        donors: IntTensor<Self>,
        families: Families,
        negatives: Negatives,
    ) -> (IntTensor<Self>, FloatTensor<Self>);
}

impl NegativesBackend for burn_ndarray::NdArray {
    fn pairs(
        ips: IntTensor<Self>,
        donors: IntTensor<Self>,
        families: Families,
        negatives: Negatives,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (ips, donors) = (crate::host::u32_array(ips), crate::host::u32_array(donors));
        let ips = Addresses::new(crate::host::slice(&ips), families);
        let positives = Positives { ips, donors: crate::host::slice(&donors) };
        let (num_rows, num_pairs) = (ips.len(), negatives.num_pairs());
        let mut pair_ips = vec![0; num_rows * num_pairs * families.num_words()];
        let mut mask = vec![0.0; num_rows * num_pairs];
        pairs_on_slices(&negatives, positives, &mut pair_ips, &mut mask);
        (
            crate::host::tensor(pair_ips, &[num_rows, num_pairs * families.num_words()]),
            crate::host::tensor(mask, &[num_rows, num_pairs]),
        )
    }
}

#[cfg(feature = "wgpu")]
#[allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment")]
mod device {
    use burn::tensor::{DType, Shape};
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::launch;
    use crate::permutation::{half_bits, permute};
    use crate::philox::{philox_block, word};

    /// [`Negatives`] of a mini-batch in a kernel.
    #[derive(CubeType, CubeLaunch)]
    struct Draws {
        num_rows: u32,
        num_donors: u32,
        num_random: u32,
        num_pairs: u32,
        /// Of the permutation of the rows.
        half_bits: u32,
        random_key0: u32,
        random_key1: u32,
        shuffled_key0: u32,
        shuffled_key1: u32,
        epoch: u32,
        step: u32,
    }

    /// An address on the device.
    #[derive(CubeType, Clone, Copy)]
    struct Address {
        low: u32,
        /// 0 for IPv4.
        high: u32,
    }

    /// Address `n` of words.
    #[cube]
    fn address(ips: &[u32], n: usize, #[comptime] families: Families) -> Address {
        match comptime!(families) {
            Families::Ipv4 => Address { low: ips[n], high: 0u32 },
            Families::Both => Address { low: ips[2 * n], high: ips[2 * n + 1] },
        }
    }

    /// [`super::below`] in a kernel.
    #[cube]
    fn below(word: u32, bound: u32) -> u32 {
        u32::mul_hi(word, bound)
    }

    /// The bits of a word that the first `length` of its 32 are.
    #[cube]
    fn kept(length: u32) -> u32 {
        // A shift by 32 is none.
        select(length == 0u32, 0u32, 0xFFFF_FFFFu32 << (32u32 - max(length, 1u32)))
    }

    /// Random address `i`, of either family.
    #[cube]
    fn random(
        ips: &[u32],
        donors: &[u32],
        is_ipv6: bool,
        i: u32,
        draws: &Draws,
        #[comptime] families: Families,
    ) -> Address {
        let (key0, key1) = (draws.random_key0, draws.random_key1);
        match comptime!(families) {
            Families::Ipv4 => {
                let block = philox_block(i / 4u32, 0u32, draws.step, draws.epoch, key0, key1);
                Address { low: word(block, i % 4u32), high: 0u32 }
            }
            Families::Both => {
                // One block for both, so that the units of a cube need not part.
                let position = select(is_ipv6, i, i / 4u32);
                let family = select(is_ipv6, 1u32, 0u32);
                let block = philox_block(position, family, draws.step, draws.epoch, key0, key1);
                let donor = donors[below(block.w0, draws.num_donors) as usize];
                let donor = address(ips, donor as usize, families);
                let length = MIN_PREFIX_BITS + below(block.w1, NUM_PREFIX_LENGTHS);
                let high_kept = kept(min(length, 32u32));
                let low_kept = kept(max(length, 32u32) - 32u32);
                let high = (donor.high & high_kept) | (block.w2 & (high_kept ^ 0xFFFF_FFFFu32));
                let low = (donor.low & low_kept) | (block.w3 & (low_kept ^ 0xFFFF_FFFFu32));
                // An address below 2^32 would be IPv4.
                let high = select(high == 0u32, donor.high, high);
                Address {
                    low: select(is_ipv6, low, word(block, i % 4u32)),
                    high: select(is_ipv6, high, 0u32),
                }
            }
        }
    }

    /// One unit per pair.
    #[cube(launch_unchecked)]
    fn pairs_kernel(
        ips: &[u32],
        donors: &[u32],
        pair_ips: &mut [u32],
        mask: &mut [f32],
        draws: &Draws,
        #[comptime] families: Families,
    ) {
        let position = ABSOLUTE_POS;
        let num_rows = draws.num_rows;
        let num_random = draws.num_random;
        let num_pairs = draws.num_pairs;
        if position >= (num_rows * num_pairs) as usize {
            terminate!();
        }
        let row = position as u32 / num_pairs;
        let column = position as u32 % num_pairs;
        let own = address(ips, row as usize, families);
        let mut low = own.low;
        let mut high = own.high;
        if column > 0u32 {
            if column <= num_random {
                let i = row * num_random + column - 1u32;
                let drawn = random(ips, donors, own.high != 0u32, i, draws, families);
                low = drawn.low;
                high = drawn.high;
            } else {
                let s = column - 1u32 - num_random;
                let (key0, key1) = (draws.shuffled_key0, draws.shuffled_key1);
                let keys = philox_block(s, 0u32, draws.step, draws.epoch, key0, key1);
                let other = permute(row, num_rows, draws.half_bits, keys) as usize;
                let other = address(ips, other, families);
                low = other.low;
                high = other.high;
            }
        }
        match comptime!(families) {
            Families::Ipv4 => pair_ips[position] = low,
            Families::Both => {
                pair_ips[2 * position] = low;
                pair_ips[2 * position + 1] = high;
            }
        }
        let is_own = low == own.low && high == own.high;
        mask[position] = select(column > 0u32 && is_own, 0.0f32, 1.0f32);
    }

    impl NegativesBackend for CubeBackend {
        fn pairs(
            ips: IntTensor<Self>,
            donors: IntTensor<Self>,
            families: Families,
            negatives: Negatives,
        ) -> (IntTensor<Self>, FloatTensor<Self>) {
            let (ips, donors) = (launch::contiguous(ips), launch::contiguous(donors));
            let num_rows = ips.meta.shape()[0] / families.num_words();
            let [of_words, of_pairs] = [families.num_words(), 1]
                .map(|num_words| Shape::new([num_rows, negatives.num_pairs() * num_words]));
            let pair_ips = launch::empty_like(&ips, of_words, DType::U32);
            let mask = launch::empty_like(&ips, of_pairs, DType::F32);
            let (count, dim) = launch::one_unit_each(&ips, num_rows * negatives.num_pairs());
            let draws = DrawsLaunch {
                num_rows: num_rows as u32,
                num_donors: donors.meta.shape()[0] as u32,
                num_random: negatives.num_random as u32,
                num_pairs: negatives.num_pairs() as u32,
                half_bits: half_bits(num_rows as u64),
                random_key0: negatives.random_key[0],
                random_key1: negatives.random_key[1],
                shuffled_key0: negatives.shuffled_key[0],
                shuffled_key1: negatives.shuffled_key[1],
                epoch: negatives.epoch,
                step: negatives.step,
            };
            launch::count_launch();
            // SAFETY: the kernel checks its position against B·P, the number of pairs of both outputs, and reads
            // `ips` at `row < B`, at a permutation of `0..B`, and at a donor's row, which the caller promises to be
            // below B; `donors` at a number below its length.
            unsafe {
                pairs_kernel::launch_unchecked(
                    &ips.client.clone(),
                    count,
                    dim,
                    ips.into_buffer_arg(),
                    donors.into_buffer_arg(),
                    pair_ips.clone().into_buffer_arg(),
                    mask.clone().into_buffer_arg(),
                    draws,
                    families,
                );
            }
            (pair_ips, mask)
        }
    }
}
