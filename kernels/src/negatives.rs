//! The pairs of a mini-batch: each row's own IP, R random IPv4 addresses and S shuffled ones.
//!
//! ```text
//! pair_ips[b, 0]         = ips[b]
//! pair_ips[b, 1 + r]     = word i mod 4 of philox((i div 4, 0, step, epoch), key)   i = b R + r, r in 0..R
//! pair_ips[b, 1 + R + s] = ips[permutation_s(b)]                                        s in 0..S
//! mask[b, p]             = 0 where p > 0 and pair_ips[b, p] = ips[b], else 1
//! ```
//!
//! A random word is an address with each octet uniform in 0..=255, as in the reference system. A negative
//! that equals its own positive would contradict it, so it is masked out of loss and accuracy.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

use crate::permutation::Permutation;
use crate::philox::{Stream, philox4x32_10, stream_key};

/// Which negatives to make. The draws are a function of these fields and the row alone.
#[derive(Clone, Copy, Debug)]
pub struct Negatives {
    /// R, random IPv4 negatives per row.
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

    /// Four random addresses.
    fn random_block(&self, block: usize) -> [u32; 4] {
        philox4x32_10([block as u32, 0, self.step, self.epoch], self.random_key)
    }

    /// The permutation of a mini-batch of `len` rows for shuffled negative `s`.
    fn permutation(&self, s: usize, len: usize) -> Permutation {
        Permutation::new(len as u64, [s as u32, 0, self.step, self.epoch], self.shuffled_key)
    }
}

/// The reference: pair `column` of `row`, and whether it counts.
pub fn pair_reference(negatives: &Negatives, ips: &[u32], row: usize, column: usize) -> (u32, f32) {
    let ip = if column == 0 {
        return (ips[row], 1.0);
    } else if column <= negatives.num_random {
        let i = row * negatives.num_random + column - 1;
        negatives.random_block(i / 4)[i % 4]
    } else {
        let s = column - 1 - negatives.num_random;
        ips[negatives.permutation(s, ips.len()).apply(row as u64) as usize]
    };
    (ip, if ip == ips[row] { 0.0 } else { 1.0 })
}

/// Rows of a task of the CPU twin: a multiple of 4, so that its first random address begins a block.
const ROWS_PER_TASK: usize = 512;

/// The CPU twin: fills `pair_ips` and `mask`, both `[ips.len(), P]`.
pub fn pairs_on_slices(negatives: &Negatives, ips: &[u32], pair_ips: &mut [u32], mask: &mut [f32]) {
    let permutations: Vec<_> =
        (0..negatives.num_shuffled).map(|s| negatives.permutation(s, ips.len())).collect();
    let num_pairs = negatives.num_pairs();
    let tasks = pair_ips
        .par_chunks_mut(ROWS_PER_TASK * num_pairs)
        .zip(mask.par_chunks_mut(ROWS_PER_TASK * num_pairs));
    tasks.enumerate().for_each(|(task, (pair_ips, mask))| {
        let images: Vec<Vec<u32>> = permutations
            .iter()
            .map(|permutation| {
                let mut images = vec![0; pair_ips.len() / num_pairs];
                permutation.apply_to_range((task * ROWS_PER_TASK) as u32, &mut images);
                images
            })
            .collect();
        let mut words = [0; 4];
        let rows = pair_ips.chunks_exact_mut(num_pairs).zip(mask.chunks_exact_mut(num_pairs));
        for (row, (pair_ips, mask)) in (task * ROWS_PER_TASK..).zip(rows) {
            let (own, others) = pair_ips.split_first_mut().expect("P >= 1");
            *own = ips[row];
            let (random, shuffled) = others.split_at_mut(negatives.num_random);
            for (i, ip) in (row * negatives.num_random..).zip(random) {
                if i % 4 == 0 {
                    words = negatives.random_block(i / 4);
                }
                *ip = words[i % 4];
            }
            for (ip, images) in shuffled.iter_mut().zip(&images) {
                *ip = ips[images[row - task * ROWS_PER_TASK] as usize];
            }
            mask[0] = 1.0;
            for (counts, ip) in mask[1..].iter_mut().zip(others.iter()) {
                *counts = if *ip == ips[row] { 0.0 } else { 1.0 };
            }
        }
    });
}

/// Makes a mini-batch's pairs on the device that holds `ips`.
///
/// # Shapes
///
/// - `ips`: `[B]`, unsigned 32-bit integers
/// - output: pair IPs `[B, P]` of the same type, and the mask `[B, P]`, 1.0 or 0.0
pub fn pairs(ips: Tensor<1, Int>, negatives: Negatives) -> (Tensor<2, Int>, Tensor<2>) {
    let (pair_ips, mask) = Dispatch::pairs(ips.into_dispatch(), negatives);
    (Tensor::from_dispatch(pair_ips), Tensor::from_dispatch(mask))
}

/// The backend extension behind [`pairs`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait NegativesBackend: Backend {
    /// See [`pairs`].
    fn pairs(ips: IntTensor<Self>, negatives: Negatives) -> (IntTensor<Self>, FloatTensor<Self>);
}

impl NegativesBackend for burn_ndarray::NdArray {
    fn pairs(ips: IntTensor<Self>, negatives: Negatives) -> (IntTensor<Self>, FloatTensor<Self>) {
        let ips = crate::host::u32_array(ips);
        let ips = crate::host::slice(&ips);
        let shape = [ips.len(), negatives.num_pairs()];
        let mut pair_ips = vec![0; shape[0] * shape[1]];
        let mut mask = vec![0.0; pair_ips.len()];
        pairs_on_slices(&negatives, ips, &mut pair_ips, &mut mask);
        (crate::host::tensor(pair_ips, &shape), crate::host::tensor(mask, &shape))
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

    /// One unit per pair.
    #[cube(launch_unchecked)]
    fn pairs_kernel(ips: &[u32], pair_ips: &mut [u32], mask: &mut [f32], draws: &Draws) {
        let position = ABSOLUTE_POS;
        let num_rows = draws.num_rows;
        let num_random = draws.num_random;
        let num_pairs = draws.num_pairs;
        if position >= (num_rows * num_pairs) as usize {
            terminate!();
        }
        let row = position as u32 / num_pairs;
        let column = position as u32 % num_pairs;
        let own = ips[row as usize];
        let mut ip = own;
        if column > 0u32 {
            if column <= num_random {
                let i = row * num_random + column - 1u32;
                let (key0, key1) = (draws.random_key0, draws.random_key1);
                let block = philox_block(i / 4u32, 0u32, draws.step, draws.epoch, key0, key1);
                ip = word(block, i % 4u32);
            } else {
                let s = column - 1u32 - num_random;
                let (key0, key1) = (draws.shuffled_key0, draws.shuffled_key1);
                let keys = philox_block(s, 0u32, draws.step, draws.epoch, key0, key1);
                ip = ips[permute(row, num_rows, draws.half_bits, keys) as usize];
            }
        }
        pair_ips[position] = ip;
        mask[position] = select(column > 0u32 && ip == own, 0.0f32, 1.0f32);
    }

    impl NegativesBackend for CubeBackend {
        fn pairs(ips: IntTensor<Self>, negatives: Negatives) -> (IntTensor<Self>, FloatTensor<Self>) {
            let ips = launch::contiguous(ips);
            let num_rows = ips.meta.shape()[0];
            let shape = Shape::new([num_rows, negatives.num_pairs()]);
            let pair_ips = launch::empty_like(&ips, shape.clone(), DType::U32);
            let mask = launch::empty_like(&ips, shape, DType::F32);
            let (count, dim) = launch::one_unit_each(&ips, num_rows * negatives.num_pairs());
            let draws = DrawsLaunch {
                num_rows: num_rows as u32,
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
            // SAFETY: the kernel checks its position against B·P, the length of both outputs, and reads
            // `ips` at `row < B` and at a permutation of `0..B`.
            unsafe {
                pairs_kernel::launch_unchecked(
                    &ips.client.clone(),
                    count,
                    dim,
                    ips.into_buffer_arg(),
                    pair_ips.clone().into_buffer_arg(),
                    mask.clone().into_buffer_arg(),
                    draws,
                );
            }
            (pair_ips, mask)
        }
    }
}
