//! IPv4 addresses as the encoder's input.
//!
//! ```text
//! bits[n, k] = 2 · ((ips[n] >> (31 - k)) & 1) - 1,  k in 0..32: the most significant bit first
//! ```
//!
//! A bit is -1 or +1, not 0 or 1: inputs that are centred on zero train much faster (LeCun et al.,
//! "Efficient BackProp", 1998). The functions that the first layer can express are the same.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};

use crate::shape::NUM_BITS;

/// The reference, and the CPU twin: fills `bits`, `[ips.len(), 32]`.
pub fn bits_on_slices(ips: &[u32], bits: &mut [f32]) {
    for (ip, bits) in ips.iter().zip(bits.chunks_exact_mut(NUM_BITS)) {
        for (k, bit) in bits.iter_mut().enumerate() {
            *bit = 2.0 * ((ip >> (31 - k)) & 1) as f32 - 1.0;
        }
    }
}

/// Spreads addresses into bits on the device that holds them.
///
/// # Shapes
///
/// - `ips`: `[N]`, unsigned 32-bit integers
/// - output: `[N, 32]`, -1.0 or 1.0
pub fn ip_bits(ips: Tensor<1, Int>) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::ip_bits(ips.into_dispatch()))
}

/// The backend extension behind [`ip_bits`].
#[backend_extension(NdArray, Cube: cfg(feature = "wgpu"))]
pub trait BitsBackend: Backend {
    /// See [`ip_bits`].
    fn ip_bits(ips: IntTensor<Self>) -> FloatTensor<Self>;
}

impl BitsBackend for burn_ndarray::NdArray {
    fn ip_bits(ips: IntTensor<Self>) -> FloatTensor<Self> {
        let ips = crate::host::u32_array(ips);
        let ips = crate::host::slice(&ips);
        let mut bits = vec![0.0; ips.len() * NUM_BITS];
        bits_on_slices(ips, &mut bits);
        crate::host::tensor(bits, &[ips.len(), NUM_BITS])
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

    /// One unit per bit.
    #[cube(launch_unchecked)]
    fn bits_kernel(ips: &[u32], bits: &mut [f32], len: u32) {
        let position = ABSOLUTE_POS;
        if position >= len as usize {
            terminate!();
        }
        let shift = 31u32 - position as u32 % 32u32;
        bits[position] = 2.0f32 * f32::cast_from((ips[position / 32] >> shift) & 1u32) - 1.0f32;
    }

    impl BitsBackend for CubeBackend {
        fn ip_bits(ips: IntTensor<Self>) -> FloatTensor<Self> {
            let ips = launch::contiguous(ips);
            let num_ips = ips.meta.shape()[0];
            let bits = launch::empty_like(&ips, Shape::new([num_ips, NUM_BITS]), DType::F32);
            let len = num_ips * NUM_BITS;
            let (count, dim) = launch::one_unit_each(&ips, len);
            launch::count_launch();
            // SAFETY: the kernel checks its position against 32·N, the length of the output, and reads
            // `ips` at a thirty-second of it.
            unsafe {
                bits_kernel::launch_unchecked(
                    &ips.client.clone(),
                    count,
                    dim,
                    ips.into_buffer_arg(),
                    bits.clone().into_buffer_arg(),
                    len as u32,
                );
            }
            bits
        }
    }
}
