//! Initial weights, uniform and the same on every backend, whatever the sharding of a table.
//!
//! ```text
//! u      = (word column mod 4 of philox((first_row + row, column div 4, tensor_id, 0), key) >> 8) · 2^-24
//! w[row, column] = (2u - 1) · bound
//! ```
//!
//! `u` has 24 bits, so it and `2u - 1` are exact in float32 and only the last product rounds: every
//! backend gets the same bits.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use crate::philox::{Stream, philox4x32_10, stream_key};

/// Which uniform numbers to draw.
#[derive(Clone, Copy, Debug)]
pub struct Uniform {
    key: [u32; 2],
    /// Tells the tensors of a model apart.
    pub tensor_id: u32,
    /// The row of the whole tensor that this part starts at.
    pub first_row: u32,
    /// Numbers lie in `-bound..bound`.
    pub bound: f32,
}

impl Uniform {
    /// The initial weights of tensor `tensor_id` of a model made from `seed`.
    pub fn init(seed: u64, tensor_id: u32, first_row: u32, bound: f32) -> Self {
        Self { key: stream_key(seed, Stream::Init), tensor_id, first_row, bound }
    }
}

fn scale(word: u32, bound: f32) -> f32 {
    let unit = (word >> 8) as f32 * (1.0 / 16_777_216.0);
    (2.0 * unit - 1.0) * bound
}

/// The reference: one element.
pub fn uniform_reference(uniform: &Uniform, row: usize, column: usize) -> f32 {
    let counter = [uniform.first_row + row as u32, (column / 4) as u32, uniform.tensor_id, 0];
    scale(philox4x32_10(counter, uniform.key)[column % 4], uniform.bound)
}

/// The CPU twin: fills `weights`, `[rows, num_columns]`.
pub fn uniform_on_slices(uniform: &Uniform, weights: &mut [f32], num_columns: usize) {
    weights.par_chunks_mut(num_columns).enumerate().with_min_len(64).for_each(|(row, weights)| {
        for (block, weights) in weights.chunks_mut(4).enumerate() {
            let counter = [uniform.first_row + row as u32, block as u32, uniform.tensor_id, 0];
            for (weight, word) in weights.iter_mut().zip(philox4x32_10(counter, uniform.key)) {
                *weight = scale(word, uniform.bound);
            }
        }
    });
}

/// Makes a tensor of uniform numbers on a device.
///
/// # Shapes
///
/// - output: `[shape[0], shape[1]]`
pub fn uniform(shape: [usize; 2], uniform: Uniform, device: &Device) -> Tensor<2> {
    let out = Tensor::<2>::empty(shape, device);
    Tensor::from_dispatch(Dispatch::fill_uniform(out.into_dispatch(), uniform))
}

/// The backend extension behind [`uniform()`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait UniformBackend: Backend {
    /// Overwrites `out`.
    fn fill_uniform(out: FloatTensor<Self>, uniform: Uniform) -> FloatTensor<Self>;
}

impl UniformBackend for burn_ndarray::NdArray {
    fn fill_uniform(out: FloatTensor<Self>, uniform: Uniform) -> FloatTensor<Self> {
        let mut out = crate::host::f32_array(out);
        let num_columns = out.shape()[1];
        uniform_on_slices(&uniform, crate::host::slice_mut(&mut out), num_columns);
        out.into()
    }
}

#[cfg(feature = "wgpu")]
#[allow(unsafe_code, reason = "a kernel is launched without bounds checks; see the SAFETY comment")]
mod device {
    use burn_cubecl::CubeBackend;
    use cubecl::prelude::*;

    use super::*;
    use crate::launch;
    use crate::philox::{philox_block, word};

    /// [`Uniform`] in a kernel.
    #[derive(CubeType, CubeLaunch)]
    struct Draws {
        first_row: u32,
        tensor_id: u32,
        key0: u32,
        key1: u32,
        bound: f32,
    }

    /// One unit per element.
    #[cube(launch_unchecked)]
    fn uniform_kernel(out: &mut [f32], len: u32, num_columns: u32, draws: &Draws) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let row = position as u32 / num_columns;
        let column = position as u32 % num_columns;
        let (key0, key1) = (draws.key0, draws.key1);
        let block = philox_block(draws.first_row + row, column / 4u32, draws.tensor_id, 0u32, key0, key1);
        let unit = f32::cast_from(word(block, column % 4u32) >> 8u32) * 5.9604645e-8f32;
        out[position] = (2.0f32 * unit - 1.0f32) * draws.bound;
    }

    impl UniformBackend for CubeBackend {
        fn fill_uniform(out: FloatTensor<Self>, uniform: Uniform) -> FloatTensor<Self> {
            let out = launch::owned(out);
            let shape = out.meta.shape();
            let (len, num_columns) = (shape[0] * shape[1], shape[1]);
            let (count, dim) = launch::one_unit_each(&out, len);
            let draws = DrawsLaunch {
                first_row: uniform.first_row,
                tensor_id: uniform.tensor_id,
                key0: uniform.key[0],
                key1: uniform.key[1],
                bound: uniform.bound,
            };
            launch::count_launch();
            // SAFETY: the kernel checks its position against the length of the output.
            unsafe {
                uniform_kernel::launch_unchecked(
                    &out.client.clone(),
                    count,
                    dim,
                    out.clone().into_buffer_arg(),
                    len as u32,
                    num_columns as u32,
                    draws,
                );
            }
            out
        }
    }
}
